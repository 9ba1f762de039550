"""How a node reaches the bus: plain data, which a supervisor hands to its workers, and what is made of it."""

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from less_sync.bins.errors import CommandError, os_error_text
from less_sync.bins.installed import cluster_parts
from less_sync.bins.settings.cluster import BusSettings
from less_sync.bins.settings.regular_file import NotRegular, read_regular_file

if TYPE_CHECKING:
    from less_sync.sync.live.nats_link import NatsAccess, NatsAddress, NatsCredentials

DEFAULT_PORT: Final = 4222
FILE_BYTES_MAX: Final = 64 * 1024
"""Of a credentials file or a token: a larger one is something else."""

_JWT: Final = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
_JWT_PARTS: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}")
_SEED: Final = re.compile(r"-+BEGIN USER NKEY SEED-+\s+(\S+)\s+-+END USER NKEY SEED-+")


@dataclass(frozen=True, slots=True)
class BusAccess:
    """How the NATS of this cluster is reached. It names files with secrets; a URL may hold a password."""

    urls: tuple[str, ...] = field(repr=False)
    """All `tls://` or all `nats://`."""
    prefix: str
    """What every subject begins with."""
    handshake_first: bool = False
    """The server expects TLS before it says anything."""
    ca_file: str | None = None
    """Certificates that the servers' are checked with; None: the system's."""
    credentials_file: str | None = None
    token_file: str | None = None


def configured_access(settings: BusSettings) -> BusAccess:
    """The operator's NATS."""
    return BusAccess(
        urls=settings.urls,
        prefix=settings.prefix,
        ca_file=None if settings.ca is None else str(settings.ca),
        credentials_file=None if settings.credentials is None else str(settings.credentials),
    )


def nats_access(access: BusAccess) -> "NatsAccess":
    """What a connection needs. Credentials and token are read again at each connect, so they may be replaced.

    Raises:
        CommandError: a file is missing or not what it should be, or the extra is not installed.
    """
    with cluster_parts("NATS_URL"):
        from less_sync.sync.live.nats_link import NatsAccess
    credentials, token = access.credentials_file, access.token_file
    if credentials is not None:
        read_credentials(Path(credentials))
    return NatsAccess(
        servers=tuple(_address(url) for url in access.urls),
        tls=_trust(access) if access.urls[0].startswith("tls://") else None,
        handshake_first=access.handshake_first,
        token=None if token is None else lambda: _text_of(Path(token), "the token of the bus").strip(),
        credentials=None if credentials is None else lambda: read_credentials(Path(credentials)),
    )


def _address(url: str) -> "NatsAddress":
    from less_sync.sync.live.nats_link import NatsAddress

    parts = urlsplit(url)
    assert parts.hostname is not None
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return NatsAddress(parts.hostname, parts.port or DEFAULT_PORT, user, password)


def _trust(access: BusAccess) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.ca_file)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else os_error_text(error)
        raise CommandError(f"cannot use NATS_CA_FILE {access.ca_file}: {why}") from error
    return context


def read_credentials(path: Path) -> "NatsCredentials":
    """What a NATS credentials file says: a user's JWT and the seed of the key that belongs to it.

    Raises:
        CommandError: it cannot be read, or holds something else. Nothing of what it holds is in the text.
    """
    with cluster_parts("NATS_CREDENTIALS_FILE"):
        import nkeys  # type: ignore[import-untyped]  # it has no types

        from less_sync.sync.live.nats_link import NatsCredentials
    text = _text_of(path, "NATS_CREDENTIALS_FILE")
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        raise CommandError(
            f"NATS_CREDENTIALS_FILE {path} is not a credentials file of NATS: it has no "
            f"{'user JWT' if jwt is None else 'user NKEY seed'} between BEGIN and END lines"
        )
    try:
        key = nkeys.from_seed(bytearray(seed[1].encode()))
        proof = key.sign(b"")
    except Exception as error:  # nkeys raises many kinds for what is no seed
        raise CommandError(f"NATS_CREDENTIALS_FILE {path} holds a seed that is none") from error
    if _JWT_PARTS.fullmatch(jwt[1]) is None or not proof:
        raise CommandError(f"NATS_CREDENTIALS_FILE {path} holds a user JWT that is none")
    return NatsCredentials(jwt[1], key.sign)


def _text_of(path: Path, what: str) -> str:
    try:
        content = read_regular_file(path, FILE_BYTES_MAX)
    except NotRegular as error:
        raise CommandError(f"cannot read {what} {path}: {error}") from error
    except OSError as error:
        raise CommandError(f"cannot read {what} {path}: {os_error_text(error)}") from error
    if len(content) > FILE_BYTES_MAX:
        raise CommandError(f"cannot read {what} {path}: it is longer than {FILE_BYTES_MAX} bytes")
    return content.decode("utf-8", "replace")
