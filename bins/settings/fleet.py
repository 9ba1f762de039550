"""Settings of a fleet plane's process: read from the environment, checked, all problems told at once.

What means the same to a sync server has the same name, so that both may share one file of variables; where
they listen has not. docs/settings.md lists what is read here; a test compares the two.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from less_sync.bins.settings.config import (
    YEAR_S,
    AdminSettings,
    ConfigError,
    LogSettings,
    environment,
    read_log,
)
from less_sync.bins.settings.env_file import EnvFileError
from less_sync.bins.settings.fleet_schema import fleet_directory, read_fleet_schema
from less_sync.bins.settings.given import Given
from less_sync.bins.settings.parts import (
    ANY_ADDRESS,
    DEV_ADDRESS,
    ListenAddress,
    is_host,
    optional_address,
    parse_admin_address,
    parse_admin_token,
    parse_database_url,
    parse_hex_key,
)
from less_sync.bins.settings.reader import SettingsReader, quoted
from less_sync.bins.settings.slips import LIMIT_PREFIX, slips
from less_sync.fleet.settings import (
    FleetSettings,
    HealthSettings,
    Network,
    RetentionSettings,
    WebhookSettings,
)

PORT_DEFAULT: Final = 5380
KEY_CHARS_MIN: Final = 32
DAYS_MAX: Final = 3650

_KEY: Final = re.compile(r"[!-~]+\Z", re.ASCII)
_ORIGIN_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*\Z", re.ASCII)
_ALL_INTERFACES: Final = ("0.0.0.0", "::", "")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LATER: Final = ("GCS_BUCKET", "SIGNED_URL_TTL_MINUTES")
"""What only releases need, which this version has none of."""

_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True)
class FleetServer:
    """Everything an operator can set of one process of the plane. Secrets are left out of `repr`."""

    data_dir: Path
    """`fleet` below `DATA_DIR`: nothing in it is a sync server's."""
    listen: ListenAddress
    database_url: str | None = field(repr=False)
    """None: dev mode, with a Postgres of the plane's own under `data_dir`."""
    plane: FleetSettings
    """In dev mode an empty public address and empty keys in front stand for those that the start makes."""
    admin: AdminSettings
    log: LogSettings
    shutdown_grace_s: int
    warnings: tuple[str, ...]
    """What deserves a WARN line at start, though the plane does start."""
    asked: frozenset[str] = field(repr=False, compare=False)
    """Every variable that was asked for."""

    @property
    def dev(self) -> bool:
        """Whether nobody gave a database, so that everything that is missing is made."""
        return self.database_url is None

    def public_url(self, bound: ListenAddress) -> str:
        """How browsers and agents reach the plane that listens there, unless it is set."""
        host = "127.0.0.1" if bound.host in _ALL_INTERFACES else bound.host
        return self.plane.public_url or f"http://{ListenAddress(host, bound.port)}"


@dataclass(frozen=True, slots=True)
class SealedSettings:
    """What is needed to give the secrets in the database another key, whatever else is unset or wrong."""

    data_dir: Path
    """As `FleetServer.data_dir`."""
    database_url: str | None = field(repr=False)
    schema: str
    secret_keys: tuple[bytes, ...] = field(repr=False)
    """As `FleetSettings.secret_keys`; in dev mode empty in front."""


def read_sealed_settings(options: Mapping[str, str]) -> SealedSettings:
    """Read these settings as `read_fleet_settings` does.

    Raises:
        ConfigError: with all problems at once.
    """
    reader = SettingsReader(_given(options))
    dev = not reader.is_set("DATABASE_URL")
    database_url = None if dev else parse_database_url(reader)
    found = SealedSettings(
        data_dir=fleet_directory(Path(reader.text("DATA_DIR") or "data")),
        database_url=database_url,
        secret_keys=_secret_keys(reader, dev=dev),
        schema=read_fleet_schema(reader),
    )
    if reader.problems:
        raise ConfigError(reader.problems)
    return found


def read_fleet_settings(options: Mapping[str, str]) -> FleetServer:
    """What a plane started now with these options, by variable, would work with; `ENV_FILE` is read.

    Raises:
        ConfigError: with all problems at once.
    """
    return fleet_settings(_given(options))


def _given(options: Mapping[str, str]) -> dict[str, str]:
    try:
        return Given(dict(environment()), options).with_file().values()
    except EnvFileError as error:
        raise ConfigError(error.problems) from error


def fleet_settings(variables: Mapping[str, str]) -> FleetServer:
    """Read and check all settings; pure.

    Raises:
        ConfigError: with all problems at once, in the order of docs/settings.md.
    """
    reader = SettingsReader(variables)
    dev = not reader.is_set("DATABASE_URL")
    # One statement per part: the order in which they stand is the order of the messages.
    database_url = None if dev else parse_database_url(reader)
    listen = _listen_address(reader, dev=dev)
    management_keys = _management_keys(reader, dev=dev)
    cors_origins = _entries(reader, "CORS_ORIGINS", _origin, "an origin", alone="*")
    log = read_log(reader)
    later = [name for name in _LATER if reader.trimmed(name) is not None]
    reader.between("SIGNED_URL_TTL_MINUTES", 15, 1, 10_080)
    heartbeat_interval_s = reader.between("HEARTBEAT_INTERVAL_SECONDS", 60, 5, 3600)
    health = _health(reader)
    webhooks = _webhooks(reader)
    secret_keys = _secret_keys(reader, dev=dev)
    plane = FleetSettings(
        public_url=_public_url(reader, dev=dev),
        management_keys=management_keys,
        secret_keys=secret_keys,
        schema=read_fleet_schema(reader),
        database_connections_max=reader.count("DATABASE_MAX_CONNECTIONS", 10, at_most=10_000),
        cors_origins=cors_origins,
        heartbeat_interval_s=heartbeat_interval_s,
        heartbeat_sample_s=reader.between("HEARTBEAT_SAMPLE_SECONDS", 300, 1, 86_400),
        request_timeout_s=reader.between("REQUEST_TIMEOUT_SECONDS", 30, 1, 3600),
        session_idle_minutes=reader.between("SESSION_IDLE_MINUTES", 60, 1, 10_080),
        session_max_hours=reader.between("SESSION_MAX_HOURS", 168, 1, 8760),
        trusted_proxies=_networks(reader, "TRUSTED_PROXY_CIDRS"),
        webhooks=webhooks,
        health=health,
        retention=_retention(reader),
    )
    admin = _admin(reader, dev=dev)
    shutdown_grace_s = reader.count("SHUTDOWN_GRACE_SECONDS", 8, at_most=YEAR_S)
    data_dir = fleet_directory(Path(reader.text("DATA_DIR") or "data"))
    if reader.text("DATA_DIR") == "":
        reader.problems.append("DATA_DIR must not be empty")
    reader.text_or_empty("ENV_FILE")
    if reader.problems:
        raise ConfigError(reader.problems)
    return FleetServer(
        data_dir=data_dir,
        listen=listen,
        database_url=database_url,
        plane=plane,
        admin=admin,
        log=log,
        shutdown_grace_s=shutdown_grace_s,
        warnings=(*_warnings(plane, listen, later, dev=dev), *_slips(variables, reader)),
        asked=frozenset(reader.names),
    )


def _listen_address(reader: SettingsReader, *, dev: bool) -> ListenAddress:
    """`FLEET_LISTEN_ADDR`, in the form of `LISTEN_ADDR`; else `PORT`, on loopback alone in dev mode."""
    port = reader.between("PORT", PORT_DEFAULT, 0, 65_535)
    usual = ListenAddress((DEV_ADDRESS if dev else ANY_ADDRESS).host, port)
    raw = reader.text("FLEET_LISTEN_ADDR")
    if raw is None:
        return usual
    address = optional_address(reader, "FLEET_LISTEN_ADDR", raw.strip())
    if not raw.strip():
        reader.problems.append(f"invalid FLEET_LISTEN_ADDR {quoted(raw)}: invalid socket address syntax")
    return address or usual


def _management_keys(reader: SettingsReader, *, dev: bool) -> tuple[str, ...]:
    """`MANAGEMENT_KEY`, which dev mode makes if it is unset, and the one before. Secrets: never quoted."""
    keys = [""]
    if reader.is_set("MANAGEMENT_KEY"):
        keys = [_key(reader, "MANAGEMENT_KEY", reader.trimmed("MANAGEMENT_KEY") or "")]
    elif not dev:
        reader.problems.append("MANAGEMENT_KEY must be set")
    previous = reader.trimmed("MANAGEMENT_KEY_PREVIOUS")
    if previous is not None:
        keys.append(_key(reader, "MANAGEMENT_KEY_PREVIOUS", previous))
    return tuple(keys)


def _key(reader: SettingsReader, name: str, key: str) -> str:
    fault = key_fault(key)
    if fault is not None:
        reader.problems.append(f"{name} {fault}")
    return key


def key_fault(key: str) -> str | None:
    """What a management key must be that this one is not; None: it can be one."""
    if len(key) < KEY_CHARS_MIN:
        return f"must be at least {KEY_CHARS_MIN} characters"
    return None if _KEY.match(key) else "must have printable ASCII characters and no blanks"


def _secret_keys(reader: SettingsReader, *, dev: bool) -> tuple[bytes, ...]:
    """`FLEET_SECRET_KEY`, which dev mode makes if it is unset, and the one before."""
    problems = len(reader.problems)
    key = parse_hex_key(reader, "FLEET_SECRET_KEY")
    if key is None and not dev and len(reader.problems) == problems:
        reader.problems.append("FLEET_SECRET_KEY must be set")
    previous = parse_hex_key(reader, "FLEET_SECRET_KEY_PREVIOUS")
    return (key or b"",) if previous is None else (key or b"", previous)


def _health(reader: SettingsReader) -> HealthSettings:
    interval_s = reader.between("HEALTH_CHECK_INTERVAL_SECONDS", 30, 1, 3600)
    problems = len(reader.problems)
    stale = reader.decimal_between("STALE_THRESHOLD_MULTIPLIER", 3.0, 1.5, 1000)
    inactive = reader.decimal_between("INACTIVE_THRESHOLD_MULTIPLIER", 10.0, 0, 10_000)
    # Beside a multiplier that cannot be used, nothing is said of how they compare.
    if len(reader.problems) == problems and inactive <= stale:
        reader.problems.append(
            "INACTIVE_THRESHOLD_MULTIPLIER must be greater than STALE_THRESHOLD_MULTIPLIER"
        )
    return HealthSettings(interval_s, stale, inactive)


def _webhooks(reader: SettingsReader) -> WebhookSettings:
    return WebhookSettings(
        interval_s=reader.between("WEBHOOK_WORKER_INTERVAL_SECONDS", 5, 1, 3600),
        batch_size=reader.between("WEBHOOK_WORKER_BATCH_SIZE", 20, 1, 500),
        timeout_s=reader.between("WEBHOOK_TIMEOUT_SECONDS", 15, 1, 30),
        allow_http=reader.flag("WEBHOOK_ALLOW_HTTP", False),
        allow_networks=_networks(reader, "WEBHOOK_ALLOW_CIDRS"),
    )


def _retention(reader: SettingsReader) -> RetentionSettings:
    return RetentionSettings(
        heartbeat_days=reader.between("HEARTBEAT_RETENTION_DAYS", 7, 1, DAYS_MAX),
        delivery_days=reader.between("DELIVERY_RETENTION_DAYS", 30, 1, DAYS_MAX),
        event_days=reader.between("EVENT_RETENTION_DAYS", 90, 1, DAYS_MAX),
    )


def _admin(reader: SettingsReader, *, dev: bool) -> AdminSettings:
    """`FLEET_ADMIN_ADDR`, which wins over `ADMIN_ADDR` where one file serves both; and `ADMIN_TOKEN`."""
    name = "FLEET_ADMIN_ADDR" if reader.is_set("FLEET_ADMIN_ADDR") else "ADMIN_ADDR"
    listen = parse_admin_address(reader, dev=dev, name=name)
    reader.names.add("ADMIN_ADDR")
    return AdminSettings(listen, parse_admin_token(reader), profiler=None)


def _public_url(reader: SettingsReader, *, dev: bool) -> str:
    raw = reader.trimmed("FLEET_PUBLIC_URL")
    if raw is None:
        if not dev:
            reader.problems.append("FLEET_PUBLIC_URL must be set")
        return ""
    url = raw.removesuffix("/")
    origin = _origin(url)
    if origin is None or not origin.startswith(("http://", "https://")):
        reader.reject("FLEET_PUBLIC_URL", raw, "expected http:// or https:// and a host, without a path")
        return ""
    return origin


def _origin(text: str) -> str | None:
    """An origin as browsers send it, in lower case and without the scheme's own port; None: it is none."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    scheme, colon, rest = text.partition("://")
    if not colon or _ORIGIN_SCHEME.match(scheme.lower()) is None or rest != parts.netloc or "@" in rest:
        return None
    host = (parts.hostname or "").lower()
    address = f"[{host}]" if ":" in host else host
    if not host or rest.endswith(":") or (":" not in host and not is_host(host)):
        return None
    shown = "" if port is None or port == _DEFAULT_PORTS.get(scheme.lower()) else f":{port}"
    return f"{scheme.lower()}://{address}{shown}"


def _networks(reader: SettingsReader, name: str) -> tuple[Network, ...]:
    return _entries(reader, name, _network, "a network such as 10.0.0.0/8")


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _entries(
    reader: SettingsReader,
    name: str,
    parse: Callable[[str], _Entry | None],
    expected: str,
    *,
    alone: _Entry | None = None,
) -> tuple[_Entry, ...]:
    """What stands between commas, without blanks around it and without what is empty.

    Args:
        alone: what is taken as it stands if there is nothing else.
    """
    texts = [text.strip() for text in (reader.text(name) or "").split(",") if text.strip()]
    if alone is not None and texts == [alone]:
        return (alone,)
    found: dict[_Entry, None] = {}
    for text in texts:
        entry = parse(text)
        if entry is None:
            reader.problems.append(f"invalid {name} entry {quoted(text)}: expected {expected}")
        else:
            found[entry] = None
    return tuple(found)


def _warnings(plane: FleetSettings, listen: ListenAddress, later: list[str], *, dev: bool) -> list[str]:
    found = [f"{name} is set, but this version keeps no releases: it has no effect" for name in later]
    if dev and not listen.is_loopback and not plane.public_url:
        found.append("FLEET_PUBLIC_URL is not set: browsers on other machines are turned away")
    public = urlsplit(plane.public_url)
    if public.scheme == "http" and not ListenAddress(public.hostname or "", 0).is_loopback:
        found.append("FLEET_PUBLIC_URL is plain http: browsers keep no session, and servers do not report")
    return found


def _slips(variables: Mapping[str, str], reader: SettingsReader) -> list[str]:
    """Limits are a sync server's, whose file this may be."""
    return slips((name for name in variables if not name.startswith(LIMIT_PREFIX)), reader.names)
