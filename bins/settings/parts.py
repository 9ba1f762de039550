"""Settings whose text has a form of its own: addresses, URLs, keys, levels, and the table of limits."""

import re
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from less_sync.auth import Permission
from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.bins.settings.reader import SettingsReader, quoted
from less_sync.bins.settings.slips import LIMIT_PREFIX
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.codes import SUBPROTOCOLS

LOG_LEVELS: Final = ("off", "error", "warn", "info", "debug", "trace")
"""In the order of the digits 0 to 5 that `RUST_LOG` may hold."""
LIMITS_NAMED_ELSEWHERE: Final = frozenset({"record_blob_bytes"})
"""Fields of `Limits` whose variable has a name of its own, known from existing servers."""
DEV_PERSONAL_LIMIT: Final = 1000
UNLIMITED: Final = 2**31 - 1
"""As good as no limit, and still what the database takes for an integer."""

_HOST_NAME: Final = re.compile(r"(?!.*\.[0-9]+\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?\Z", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,5}\Z", re.ASCII)
_ADMIN_TOKEN: Final = re.compile(r"[!-~]{16,256}\Z", re.ASCII)
_HEX: Final = re.compile(r"([0-9A-Fa-f]{2})*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen. `host` is an address, a name, or empty for all interfaces; port 0 picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True when no other machine can connect."""
        address = _ip_address(self.host)
        return self.host.lower() == "localhost" if address is None else address.is_loopback


ANY_ADDRESS: Final = ListenAddress("0.0.0.0", 5379)
DEV_ADDRESS: Final = ListenAddress("127.0.0.1", 5379)
DEV_ADMIN_ADDRESS: Final = ListenAddress("127.0.0.1", 0)


def parse_listen_address(reader: SettingsReader, *, dev: bool) -> ListenAddress:
    """`LISTEN_ADDR`: `ipv4:port`, `[ipv6]:port`, `host:port`, or `:port` for all interfaces.

    Dev mode accepts tokens anybody on this machine can mint, so it listens on loopback only.
    """
    raw = reader.text("LISTEN_ADDR")
    if raw is None:
        return DEV_ADDRESS if dev else ANY_ADDRESS
    address = _split_address(raw.strip())
    if address is None:
        reader.problems.append(f"invalid LISTEN_ADDR {quoted(raw)}: invalid socket address syntax")
        return ANY_ADDRESS
    if dev and not address.is_loopback:
        reader.problems.append(
            f"dev mode listens on loopback only, not on {quoted(raw)}: "
            "set TRUSTED_ISSUERS to serve other machines, or listen on 127.0.0.1"
        )
    return address


def parse_admin_address(
    reader: SettingsReader, *, dev: bool, name: str = "ADMIN_ADDR"
) -> ListenAddress | None:
    """`ADMIN_ADDR`, as `LISTEN_ADDR`; empty means off, and so does unset but in dev mode."""
    raw = reader.text(name)
    if raw is None:
        return DEV_ADMIN_ADDRESS if dev else None
    return optional_address(reader, name, raw.strip())


def parse_profiler_address(reader: SettingsReader) -> ListenAddress | None:
    """`PPROF_ADDR`: nobody is asked who he is there, so it is on loopback or nowhere."""
    address = optional_address(reader, "PPROF_ADDR", reader.trimmed("PPROF_ADDR"))
    if address is not None and not address.is_loopback:
        reader.problems.append("PPROF_ADDR must be a loopback address")
    return address


def optional_address(reader: SettingsReader, name: str, raw: str | None) -> ListenAddress | None:
    """An address in the form of `LISTEN_ADDR`, trimmed; None: there is none, or none that can be used."""
    if not raw:
        return None
    address = _split_address(raw)
    if address is None:
        reader.problems.append(f"invalid {name} {quoted(raw)}: invalid socket address syntax")
    return address


def parse_admin_token(reader: SettingsReader) -> str | None:
    """`ADMIN_TOKEN`: what travels in a header and cannot be guessed; empty counts as unset."""
    raw = reader.trimmed("ADMIN_TOKEN")
    if raw is not None and not is_admin_token(raw):
        # Not quoted: it is a secret, if a bad one.
        reader.problems.append("ADMIN_TOKEN must have 16 to 256 printable ASCII characters and no blanks")
    return raw


def is_admin_token(text: str) -> bool:
    """Whether this can travel in a header and is long enough not to be guessed."""
    return _ADMIN_TOKEN.match(text) is not None


def _split_address(text: str) -> ListenAddress | None:
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.match(port) or int(port) > 65_535:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        return ListenAddress(host, int(port)) if isinstance(_ip_address(host), IPv6Address) else None
    return ListenAddress(host, int(port)) if not host or is_host(host) else None


def is_host(text: str) -> bool:
    """Whether this is an IPv4 address or can be the name of a host."""
    return isinstance(_ip_address(text), IPv4Address) or _HOST_NAME.match(text) is not None


def _ip_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def parse_database_url(reader: SettingsReader) -> str:
    """`DATABASE_URL`: checked as far as it can be without connecting, and made into what the driver takes."""
    raw = reader.text("DATABASE_URL")
    if raw is None:
        reader.problems.append("DATABASE_URL must be set")
        return ""
    try:
        return driver_url(raw)
    except DatabaseUrlError as error:
        reader.problems.append(str(error))
        return raw


def parse_hex_key(reader: SettingsReader, name: str) -> bytes | None:
    """`IDENTITY_HASH_KEY` and the like: 64 hex digits, trimmed; empty counts as unset."""
    raw = reader.trimmed(name)
    if raw is None:
        return None
    if not _HEX.match(raw):
        reader.problems.append(f"{name} must be valid hex")
        return None
    key = bytes.fromhex(raw)
    if len(key) != 32:
        reader.problems.append(f"{name} must be 64 hex characters (32 bytes), got {len(key)} bytes")
        return None
    return key


def parse_log_level(reader: SettingsReader) -> str:
    """`LOG_LEVEL`; if unset, the global level in `RUST_LOG`, of which unusable parts are passed over."""
    directives = reader.text("RUST_LOG") or ""
    reader.found.pop("RUST_LOG", None)
    if reader.is_set("LOG_LEVEL"):
        return reader.choice("LOG_LEVEL", "info", LOG_LEVELS)
    level = None
    for directive in directives.split(","):
        name = directive.strip().lower()
        if name in LOG_LEVELS:
            level = name
        elif name in tuple("012345"):
            level = LOG_LEVELS[int(name)]
    if level is not None:
        reader.found["LOG_LEVEL"] = "RUST_LOG"
    return level or "info"


def parse_subprotocols(reader: SettingsReader) -> tuple[str, ...]:
    """`SUBPROTOCOLS`: the accepted names, preferred first, between commas."""
    raw = reader.text("SUBPROTOCOLS")
    if raw is None:
        return SUBPROTOCOLS
    names = tuple(dict.fromkeys(item.strip() for item in raw.split(",") if item.strip()))
    if not names or not set(names) <= set(SUBPROTOCOLS):
        listed = " and ".join(quoted(name) for name in SUBPROTOCOLS)
        reader.reject("SUBPROTOCOLS", raw, f"expected one or both of {listed}")
        return SUBPROTOCOLS
    return names


def limit_variable(name: str) -> str:
    """The variable that sets a field of `Limits`: `LIMIT_FRAME_BYTES` for `frame_bytes`."""
    return f"{LIMIT_PREFIX}{name.upper()}"


def parse_admin_operations(reader: SettingsReader) -> Permission:
    """What revoking and epochs take on a shared space: `admin`, or `write` as existing servers ask."""
    name = reader.choice("ADMIN_OPS_PERMISSION", "admin", ("admin", "write"))
    return Permission.WRITE if name == "write" else Permission.ADMIN


def read_limits(
    reader: SettingsReader, *, record_blob_bytes: int, perf_mode: bool, dev: bool = False
) -> Limits:
    """Every field of `Limits` from its variable.

    Perf mode lifts the connections of a mailbox and what one person may do in an hour; dev mode allows a
    thousand of the latter, for tests that go through a space's life over and over.
    """
    defaults = Limits()
    if dev:
        defaults = _per_person(defaults, DEV_PERSONAL_LIMIT)
    values: dict[str, int | float | bool] = {"record_blob_bytes": record_blob_bytes}
    for field in fields(Limits):
        if field.name not in LIMITS_NAMED_ELSEWHERE:
            values[field.name] = _read_limit(reader, field.name, getattr(defaults, field.name))
    limits = replace(defaults, **values)  # type: ignore[arg-type]  # each value has the type of its default
    if perf_mode:
        return replace(_per_person(limits, UNLIMITED), connections_per_mailbox=UNLIMITED)
    return limits


def _per_person(limits: Limits, count: int) -> Limits:
    """What one person may do in a window, each as often."""
    return replace(limits, invitations_per_window=count, membership_appends_per_window=count)


def _read_limit(reader: SettingsReader, name: str, default: int | float | bool) -> int | float | bool:
    variable = limit_variable(name)
    if isinstance(default, bool):
        return reader.flag(variable, default)
    if isinstance(default, int):
        return reader.count(variable, default)
    return reader.seconds(variable, default) if name.endswith("_s") else reader.fraction(variable, default)
