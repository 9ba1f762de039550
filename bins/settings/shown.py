"""What is in force, setting by setting: its value as text, where that came from, and nothing secret in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from less_sync.auth import b64url_encode
from less_sync.bins.dev import DEV_ISSUER
from less_sync.bins.settings.cluster import BusSettings
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.files import S3Settings
from less_sync.bins.settings.parts import LIMITS_NAMED_ELSEWHERE, UNLIMITED, limit_variable
from less_sync.sync.limits import Limits

MASK: Final = "***"
"""The same whatever is behind it, so that it does not tell a length."""
DEFAULT: Final = "default"
DEV_MODE: Final = "dev mode"
KEPT: Final = "kept in DATA_DIR"

_SECRETS: Final = frozenset(
    {
        "IDENTITY_HASH_KEY",
        "ADMIN_TOKEN",
        "FILE_S3_SECRET_KEY",
        "FEDERATION_FST_SECRET",
        "FEDERATION_FST_PREVIOUS_SECRET",
        "FLEET_ENROLMENT_TOKEN",
    }
)
_HOLD_URLS: Final = frozenset({"TRUSTED_ISSUERS", "FEDERATION_PEER_URLS", "NATS_URL", "REPLICA_DATABASE_URL"})
"""Settings of several entries, with blanks between them."""
_SECRET_WORDS: Final = ("pass", "secret", "token", "key")
"""In the name of a query's key of a database: its value is nobody's business. What the keys of other URLs are
called is for others to say, so none of their values is shown."""
_OF_DATABASES: Final = frozenset({"postgres", "postgresql"})
_OF_DEV_MODE: Final = frozenset({"TRUSTED_ISSUERS", "AUDIENCES"})
"""What dev mode decides, whatever is set."""
_DEFAULT_IN_DEV_MODE: Final = frozenset(
    {
        "LISTEN_ADDR",
        "ADMIN_ADDR",
        "FILE_STORAGE_BACKEND",
        "IDENTITY_HASH_KEY",
        "LIMIT_INVITATIONS_PER_WINDOW",
        "LIMIT_MEMBERSHIP_APPENDS_PER_WINDOW",
    }
)
"""Settings whose default is another one there."""

Text = Callable[[Settings], str | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, for people and programs."""

    name: str
    value: str | None
    """Masked where it is secret; None: there is none."""
    source: str
    """`default`, `dev mode`, `option`, `ENV_FILE`, `environment`, or the setting that overrules this one."""
    variable: str | None
    """What decides it: its own name, an alias, or None for defaults."""


def rows(settings: Settings) -> list[Row]:
    """Every setting of docs/settings.md, in the order of its tables."""
    return [
        Row(name, _masked(name, value), _source(settings, name, value), settings.found.get(name))
        for name, value in in_force(settings).items()
    ]


def in_force(settings: Settings) -> dict[str, str | None]:
    """Every setting's value as text, unmasked: to be compared, never to be shown."""
    return {name: text(settings) for name, text in _TEXTS.items()}


def _source(settings: Settings, name: str, value: str | None) -> str:
    if settings.perf_mode and value == "unlimited":
        return "PERF_MODE"
    if settings.dev and name in _OF_DEV_MODE:
        return DEV_MODE
    variable = settings.found.get(name)
    if variable is None:
        return DEV_MODE if settings.dev and name in _DEFAULT_IN_DEV_MODE else DEFAULT
    source = settings.given.source(variable)
    if value is None:
        return f"{source}, not used"
    return source if variable == name else f"{source} ({variable})"


def _masked(name: str, value: str | None) -> str | None:
    if value is None or value == KEPT:
        return value
    if name in _SECRETS:
        return MASK
    if name == "DATABASE_URL":
        return masked_url(value)  # whole: a password may have blanks in it
    if name in _HOLD_URLS:
        return " ".join(_masked_entry(entry) for entry in value.split(" "))
    return value


def _masked_entry(entry: str) -> str:
    """An entry `url`, or `name=url`, where the name may be a URL itself."""
    parts = entry.split("=")
    starts = [i for i, part in enumerate(parts) if "://" in part.partition("?")[0]]
    if not starts:
        return entry
    ends = [*starts[1:], len(parts)]
    urls = [masked_url("=".join(parts[start:end])) for start, end in zip(starts, ends, strict=True)]
    return "=".join([*parts[: starts[0]], *urls])


def masked_url(url: str) -> str:
    """A URL without what may be a password: in its user info, in its query, or misplaced behind the host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    user_info, at, host = parts.netloc.rpartition("@")
    user, colon, _ = user_info.partition(":")
    if not colon and parts.scheme not in _OF_DATABASES:
        user = MASK  # a token, as likely as not
    place = f"{user}{colon}{MASK if colon else ''}{at}{host}" if at else host
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any("@" in text for text in (parts.path, parts.fragment, *(part for pair in query for part in pair))):
        # Somebody forgot to escape what a password has in it, so nobody knows where that begins.
        return f"{parts.scheme}://{MASK}"
    plain = parts.scheme in _OF_DATABASES
    shown = urlencode(
        [(key, value if plain and not _is_secret(key) else MASK) for key, value in query], safe="*/"
    )
    fragment = f"#{MASK}" if parts.fragment else ""
    return f"{parts.scheme}://{place}{parts.path}{f'?{shown}' if shown else ''}{fragment}"


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS)


def _text(value: object) -> str | None:
    """Numbers and switches as they are written in the environment."""
    if value is None or value == "" or value == ():
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value == UNLIMITED:
        return "unlimited"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _issuers(settings: Settings) -> str | None:
    if settings.dev:
        return DEV_ISSUER
    return _text(" ".join(f"{issuer}={url}" for issuer, url in settings.issuers.plain.items()))


def _hash_key(settings: Settings) -> str | None:
    if settings.identity_hash_key is not None:
        return settings.identity_hash_key.hex()
    return KEPT if settings.dev else None


def _trusted_keys(settings: Settings) -> str | None:
    return _text(
        " ".join(f"{key_id}={b64url_encode(key)}" for key_id, key in settings.federation.trust.keys.items())
    )


def _peer_urls(settings: Settings) -> str | None:
    return _text(" ".join(f"{name}={url}" for name, url in settings.federation.peer_urls.items()))


def _s3(text: Callable[[S3Settings], str]) -> Text:
    return lambda settings: None if settings.files.s3 is None else text(settings.files.s3)


def _bus(text: Callable[[BusSettings], str | None]) -> Text:
    return lambda settings: None if settings.cluster.bus is None else text(settings.cluster.bus)


def _limit(name: str) -> Text:
    return lambda settings: _text(getattr(settings.limits, name))


_CORE: Final[Mapping[str, Text]] = {
    "LISTEN_ADDR": lambda s: str(s.listen),
    "DATABASE_URL": lambda s: s.database.url or KEPT,
    "DATABASE_MAX_CONNECTIONS": lambda s: _text(s.database.connections_max),
    "PUSH_LANES": lambda s: _text(s.database.push_lanes),
    "DATA_DIR": lambda s: str(s.data_dir),
    "TRUSTED_ISSUERS": _issuers,
    "ISSUERS_FILE": lambda s: _text(s.issuers.file),
    "AUDIENCES": lambda s: _text(",".join(sorted(s.token_policy.audiences))),
    "IDENTITY_HASH_KEY": _hash_key,
    "SHUTDOWN_GRACE_SECONDS": lambda s: _text(s.shutdown_grace_s),
    "LOG_LEVEL": lambda s: s.log.level,
    "LOG_FORMAT": lambda s: s.log.form,
    "MAINTENANCE_INTERVAL_SECONDS": lambda s: _text(s.maintenance_interval_s),
    "ENV_FILE": lambda s: _text(s.env_file),
    "ADMIN_ADDR": lambda s: _text(s.admin.listen),
    "ADMIN_TOKEN": lambda s: s.admin.token or KEPT,
    "PPROF_ADDR": lambda s: _text(s.admin.profiler),
    "WORKERS": lambda s: _text(s.cluster.workers),
    "NODE_NAME": lambda s: s.cluster.node_name,
    "NATS_URL": lambda s: None if s.cluster.bus is None else " ".join(s.cluster.bus.urls),
    "NATS_CREDENTIALS_FILE": _bus(lambda bus: _text(bus.credentials)),
    "NATS_CA_FILE": _bus(lambda bus: _text(bus.ca)),
    "NATS_PREFIX": _bus(lambda bus: bus.prefix),
    "REPLICA_DATABASE_URL": lambda s: _text(" ".join(s.cluster.replicas)),
    "JWKS_REFRESH_TTL": lambda s: _text(s.jwks_policy.ttl_s),
    "JWKS_MAX_STALE": lambda s: _text(s.jwks_policy.stale_max_s),
    "REQUIRE_TOKEN_EXP": lambda s: _text(s.token_policy.require_exp),
    "PERSONAL_SPACE_CHECK": lambda s: s.token_policy.personal_space_check,
    "ADMIN_OPS_PERMISSION": lambda s: s.admin_operations.name.lower(),
    "WS_ENFORCE_TOKEN_EXPIRY": lambda s: _text(s.enforce_token_expiry),
    "SUBPROTOCOLS": lambda s: ",".join(s.subprotocols),
    "MAX_RECORD_BLOB_SIZE": lambda s: _text(s.limits.record_blob_bytes),
    "PERF_MODE": lambda s: _text(s.perf_mode),
    "CORS_EXPOSE_ETAG": lambda s: _text(s.cors_expose_etag),
}
_REPORTER: Final[Mapping[str, Text]] = {
    "FLEET_URL": lambda s: s.reporter.url,
    "FLEET_ENROLMENT_TOKEN": lambda s: s.reporter.enrolment_token,
    "FLEET_NAME": lambda s: s.reporter.name,
    "FLEET_LABELS": lambda s: _text(",".join(f"{key}={value}" for key, value in s.reporter.labels.items())),
    "FLEET_REPORT": lambda s: s.reporter.report,
    "FLEET_ALLOW_HTTP": lambda s: _text(s.reporter.allow_http),
    "BACKUP_INTERVAL_SECONDS": lambda s: _text(s.reporter.backup_interval_s),
}
_FILES: Final[Mapping[str, Text]] = {
    "FILE_STORAGE_BACKEND": lambda s: s.files.backend,
    "FILE_STORAGE_PATH": lambda s: str(s.files.directory) if s.files.backend == "local" else None,
    "FILE_S3_ENDPOINT": _s3(lambda s3: s3.endpoint),
    "FILE_S3_ACCESS_KEY": _s3(lambda s3: s3.access_key),
    "FILE_S3_SECRET_KEY": _s3(lambda s3: s3.secret_key),
    "FILE_S3_BUCKET": _s3(lambda s3: s3.bucket),
    "FILE_S3_REGION": _s3(lambda s3: s3.region),
    "FILE_S3_USE_SSL": _s3(lambda s3: "true" if s3.endpoint.startswith("https:") else "false"),
    "MAX_FILE_SIZE": lambda s: _text(s.files.bytes_max),
    "FILE_ORPHAN_SWEEP_SECONDS": lambda s: _text(s.files.orphan_sweep_interval_s),
}
_FEDERATION: Final[Mapping[str, Text]] = {
    "FEDERATION_DOMAIN": lambda s: s.federation.domain,
    "FEDERATION_TRUSTED_DOMAINS": lambda s: _text(",".join(s.federation.trust.domains)),
    "FEDERATION_TRUSTED_KEYS": _trusted_keys,
    "FEDERATION_KEY_DISCOVERY": lambda s: "jwks" if s.federation.fetch_keys else "static",
    "FEDERATION_ALLOW_PRIVATE_NETWORKS": lambda s: _text(s.federation.private_networks),
    "FEDERATION_TRUST_FORWARDED_PROTO": lambda s: _text(s.federation.trust_forwarded_proto),
    "FEDERATION_PEER_URLS": _peer_urls,
    "FEDERATION_SIGN_SCHEMES": lambda s: _text(",".join(s.federation.sign_schemes or ())),
    "FEDERATION_INBOUND_NOTIFICATIONS": lambda s: str(s.federation.notices_from),
    "FEDERATION_KEY_RELOAD_SECONDS": lambda s: _text(s.federation.key_reload_s),
    "FEDERATION_FST_SECRET": lambda s: s.federation.fst_secret,
    "FEDERATION_FST_PREVIOUS_SECRET": lambda s: s.federation.fst_previous_secret,
    "FST_MAX_EXPIRY": lambda s: _text(s.federation.fst_life_s_max),
    "FEDERATION_MAX_SPACES": lambda s: _text(s.federation.quotas.spaces),
    "FEDERATION_MAX_RECORDS_PER_HOUR": lambda s: _text(s.federation.quotas.records_per_hour),
    "FEDERATION_MAX_BYTES_PER_HOUR": lambda s: _text(s.federation.quotas.bytes_per_hour),
    "FEDERATION_MAX_INVITATIONS_PER_HOUR": lambda s: _text(s.federation.quotas.invitations_per_hour),
    "FEDERATION_MAX_CONNECTIONS": lambda s: _text(s.federation.quotas.connections),
}
_LIMITS: Final[Mapping[str, Text]] = {
    limit_variable(limit.name): _limit(limit.name)
    for limit in fields(Limits)
    if limit.name not in LIMITS_NAMED_ELSEWHERE
}
_TEXTS: Final[Mapping[str, Text]] = {**_CORE, **_REPORTER, **_FILES, **_FEDERATION, **_LIMITS}
