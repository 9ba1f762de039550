"""The keys this server signs with and publishes, kept current while it runs (docs/federation.md 3)."""

import asyncio
import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from less_sync.auth import InvalidKeyId, b64url_encode, canonicalize_domain, key_id_domain, sign_request
from less_sync.federation.signing import Signing
from less_sync.storage import ActiveKey, StorageError

KEY_BYTES: Final = 32
JWKS_PATH: Final = "/.well-known/jwks.json"

_log = structlog.get_logger(__name__)


class KeyFault(ValueError):
    """A stored key cannot be used. The text is for the operator and holds nothing private."""


class ActiveKeys(Protocol):
    """Where the keys come from: `storage.FederationKeyStore`, as far as reading them goes."""

    async def active(self) -> Sequence[ActiveKey]: ...


@dataclass(frozen=True, slots=True)
class KeySet:
    """The active keys as one look into the database saw them, checked."""

    jwks: bytes
    """The published document (RFC 7517), compact, oldest key first."""
    signer: Signing | None
    hosts: frozenset[str]
    """The hosts of those key ids that are URLs: canonical, without port or brackets."""
    count: int


NO_KEYS: Final = KeySet(b'{"keys":[]}', None, frozenset(), 0)


def full_key_id(kid: str, domain: str | None) -> str:
    """The key id that requests are signed under: a stored fragment is completed by our own domain.

    Raises:
        KeyFault: it is a fragment, and there is no domain.
    """
    if "://" in kid:
        return kid
    if domain is None:
        raise KeyFault(f'stored federation key id "{kid}" is no URL: FEDERATION_DOMAIN must be set')
    return f"https://{domain}{JWKS_PATH}#{kid}"


def check_keys(rows: Sequence[ActiveKey], domain: str | None) -> KeySet:
    """Make a key set of the active rows, oldest first.

    Args:
        domain: our own, `host` or `host:port`.

    Raises:
        KeyFault: the first thing that is wrong. A single bad key stops all: what is published must be what
            peers were told.
    """
    for row in rows:
        if len(row.public_key) != KEY_BYTES:
            raise KeyFault(f'stored federation public key "{row.kid}" is not 32 bytes')
        if not _is_sound_point(row.public_key):
            raise KeyFault(f'stored federation public key "{row.kid}" is invalid')
    signers = [_signer(row, row.private_key, domain) for row in rows if row.private_key is not None]
    # Compact, members in this order: operators' scripts cut lines for their peers out of it.
    document = json.dumps(
        {"keys": [_jwk(row) for row in rows]}, separators=(",", ":"), ensure_ascii=False
    ).encode()
    return KeySet(document, signers[-1] if signers else None, frozenset(_hosts(rows)), len(rows))


def _is_sound_point(key: bytes) -> bool:
    from nacl.bindings import crypto_core_ed25519_is_valid_point  # few servers have keys

    return crypto_core_ed25519_is_valid_point(key)


def _signer(row: ActiveKey, private_key: bytes, domain: str | None) -> Signing:
    from nacl.signing import SigningKey

    seed, rest = private_key[:KEY_BYTES], private_key[KEY_BYTES:]
    # Go's standard library keeps the public key behind the seed.
    if len(seed) != KEY_BYTES or len(rest) not in (0, KEY_BYTES):
        raise KeyFault(f'stored federation private key "{row.kid}" is not 32 bytes')
    key = SigningKey(seed)
    if bytes(key.verify_key) != row.public_key or rest not in (b"", row.public_key):
        raise KeyFault(f'stored federation key pair mismatch for "{row.kid}"')
    key_id = full_key_id(row.kid, domain)
    try:
        key_id_domain(key_id)
        sign_request(key, key_id=key_id, created=0, method="", target_uri="", host="")
    except InvalidKeyId:
        raise KeyFault(f'stored federation key id "{row.kid}" cannot be signed with') from None
    return Signing(key, key_id)


def _jwk(row: ActiveKey) -> dict[str, str]:
    return {
        "kid": row.kid,
        "kty": "OKP",
        "alg": "EdDSA",
        "use": "federation",
        "crv": "Ed25519",
        "x": b64url_encode(row.public_key),
    }


def _hosts(rows: Sequence[ActiveKey]) -> list[str]:
    hosts = []
    for row in rows:
        with suppress(InvalidKeyId):
            hosts.append(canonicalize_domain(key_id_domain(row.kid)))
    return hosts


class OwnKeys:
    """The current key set, read again from time to time and when asked to.

    What cannot be used is not taken over: the set before it stays, and an error is logged. The same when the
    database is away. Connections that are open are not touched by a change.

    Args:
        domain: our own, `host` or `host:port`.
        reload_s: between two looks; 0: only when asked to.
    """

    def __init__(self, store: ActiveKeys, *, domain: str | None, reload_s: float) -> None:
        self._store = store
        self._domain = domain
        self._reload_s = reload_s
        self._keys = NO_KEYS

    async def load(self) -> None:
        """Read the keys for the first time.

        Raises:
            KeyFault: one of them cannot be used.
            StorageError: they could not be read.
        """
        self._keys = check_keys(await self._store.active(), self._domain)

    def primary(self) -> Signing | None:
        """What to sign with just now; None: this server reaches out to nobody."""
        return self._keys.signer

    def names(self) -> Collection[str]:
        """This server as peers know it: its domain, else the hosts of its key ids, good for any port."""
        return self._keys.hosts if self._domain is None else (self._domain,)

    async def jwks(self) -> bytes:
        """The document to publish; at most `reload_s` behind the database."""
        return self._keys.jwks

    async def keep_current(self, asked: asyncio.Event) -> None:
        """Look again every `reload_s`, and when `asked` is set, which is cleared then; until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._reload_s or None):
                    await asked.wait()
            asked.clear()
            await self._reload()

    async def _reload(self) -> None:
        try:
            keys = check_keys(await self._store.active(), self._domain)
        except KeyFault as fault:
            _log.error("federation keys are not taken over", reason=str(fault))
        except StorageError as error:
            _log.warning("federation keys could not be read again", reason=str(error))
        except Exception:
            _log.exception("reading the federation keys again failed")
        else:
            if keys.jwks != self._keys.jwks or _key_id(keys) != _key_id(self._keys):
                _log.info("federation keys have changed", active=keys.count, signs=_key_id(keys))
            self._keys = keys


def _key_id(keys: KeySet) -> str | None:
    return None if keys.signer is None else keys.signer.key_id
