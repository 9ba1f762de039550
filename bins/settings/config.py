"""Settings of the server: the only reader of its environment variables.

`Settings.from_given` is pure, but for the file that `ISSUERS_FILE` names. It reads every variable in the
order of docs/settings.md, collects all problems and raises them together, so that an operator mends an
environment in one go. `docs/settings.md` lists what is read here; a test compares the two.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, Self

from less_sync.auth import JwksPolicy, Permission, TokenPolicy, parse_audiences
from less_sync.bins.dev import DEV_AUDIENCE
from less_sync.bins.settings.cluster import ClusterSettings, cluster_warnings, node_connections, read_cluster
from less_sync.bins.settings.env_file import EnvFileError
from less_sync.bins.settings.federation import federation_warnings, read_federation
from less_sync.bins.settings.files import FILE_BYTES_LIMIT_MAX, FileSettings, parse_file_place
from less_sync.bins.settings.given import Given
from less_sync.bins.settings.issuers import IssuerSettings, issuer_warnings, names_issuers, read_issuers
from less_sync.bins.settings.parts import (
    ListenAddress,
    parse_admin_address,
    parse_admin_operations,
    parse_admin_token,
    parse_database_url,
    parse_hex_key,
    parse_listen_address,
    parse_log_level,
    parse_profiler_address,
    parse_subprotocols,
    read_limits,
)
from less_sync.bins.settings.reader import SettingsReader
from less_sync.bins.settings.reporter import ReporterSettings, read_reporter, reporter_warnings
from less_sync.federation.settings import FederationSettings
from less_sync.sync.limits import Limits

YEAR_S: Final = 31_536_000


def environment() -> Mapping[str, str]:
    """The environment of this process, for the commands that hand it on or need one variable of it."""
    return os.environ


def data_directory(env: Mapping[str, str]) -> Path:
    """`DATA_DIR`, for the commands that need little else of a server's settings."""
    return Path(env.get("DATA_DIR") or "data")


class ConfigError(Exception):
    """The environment is not usable. `problems` holds one message each, in the order of reading."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(*problems)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Which Postgres, and how many connections to it: of a whole node, or a worker's share."""

    url: str | None = field(repr=False)
    """None: the server brings its own Postgres along, under the data directory."""
    connections_max: int
    push_lanes: int
    """Connections beyond `connections_max`, for pushes alone."""

    @property
    def connections(self) -> int:
        """All of them."""
        return self.connections_max + self.push_lanes

    def share(self, workers: int) -> Self:
        """What each of several workers may have, so that one more of them fits (docs/scaling.md 1.4)."""
        parts = workers + 1
        return replace(
            self, connections_max=self.connections_max // parts, push_lanes=self.push_lanes // parts
        )


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how."""

    level: str
    """One of `LOG_LEVELS`."""
    form: Literal["text", "json"]


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Where operators and their tools ask."""

    listen: ListenAddress | None
    """None: there is no admin listener."""
    token: str | None = field(repr=False)
    """None: one is kept in the data directory."""
    profiler: ListenAddress | None
    """None: there is no profiler."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can set, checked. Secrets and issuers are left out of `repr`."""

    data_dir: Path
    dev: bool
    """True: tokens of the server's own development issuer are accepted, and no others."""
    listen: ListenAddress
    database: DatabaseSettings
    issuers: IssuerSettings
    """None in dev mode."""
    token_policy: TokenPolicy = field(repr=False)
    jwks_policy: JwksPolicy
    enforce_token_expiry: bool
    admin_operations: Permission
    files: FileSettings
    identity_hash_key: bytes | None = field(repr=False)
    federation: FederationSettings
    limits: Limits
    perf_mode: bool
    subprotocols: tuple[str, ...]
    cors_expose_etag: bool
    maintenance_interval_s: int
    shutdown_grace_s: int
    env_file: Path | None
    """What SIGHUP reads again; None: nothing."""
    admin: AdminSettings
    cluster: ClusterSettings
    reporter: ReporterSettings
    log: LogSettings
    slips: tuple[str, ...]
    """Warnings about variables whose names look like a typing error."""
    given: Given = field(repr=False, compare=False)
    found: Mapping[str, str] = field(repr=False, compare=False)
    """Setting to the variable that decides it, for all that do not have their default."""
    asked: frozenset[str] = field(repr=False, compare=False)
    """Every variable that was asked for, aliases included."""

    @classmethod
    def from_env(cls, env: Mapping[str, str], *, embedded: bool = False, dev: bool = False) -> Self:
        """Read and check all settings of an environment, without the file that it may name.

        Args:
            embedded: an *unset* `DATABASE_URL` means the server's own Postgres, and then no issuers mean dev
                mode, as `less-sync serve` offers. Otherwise both must be set.
            dev: dev mode was asked for, whatever the database.

        Raises:
            ConfigError: with all problems at once.
        """
        return cls.from_given(Given(env, embedded=embedded, dev=dev))

    @classmethod
    def from_given(cls, given: Given) -> Self:
        """Read and check all settings.

        Raises:
            ConfigError: with all problems at once.
        """
        reader = SettingsReader(given.values())
        own_database = given.embedded and not reader.is_set("DATABASE_URL")
        dev_mode = given.dev or (own_database and not names_issuers(reader))
        data_dir = Path(reader.text("DATA_DIR") or "data")
        # One statement per part: the order in which they stand is the order of the messages.
        listen = parse_listen_address(reader, dev=dev_mode)
        database_url = None if own_database else parse_database_url(reader)
        issuers = read_issuers(reader, dev=dev_mode, content=given.issuers)
        audiences = parse_audiences(reader.text("AUDIENCES"))
        backend, directory, s3 = parse_file_place(reader, data_dir, dev=dev_mode)
        identity_hash_key = parse_hex_key(reader, "IDENTITY_HASH_KEY")
        if issuers.derives and reader.trimmed("IDENTITY_HASH_KEY") is None:
            reader.problems.append("IDENTITY_HASH_KEY must be set: ISSUERS_FILE has derived identities")
        federation = read_federation(reader)
        blob_bytes_max = reader.count("MAX_RECORD_BLOB_SIZE", Limits().record_blob_bytes)
        file_bytes_max = reader.count("MAX_FILE_SIZE", 104_857_600, at_most=FILE_BYTES_LIMIT_MAX)
        perf_mode = reader.flag("PERF_MODE", False)
        connections_max = reader.optional_count("DATABASE_MAX_CONNECTIONS", at_most=10_000)
        shutdown_grace_s = reader.count("SHUTDOWN_GRACE_SECONDS", 8, at_most=YEAR_S)
        maintenance_interval_s = reader.count("MAINTENANCE_INTERVAL_SECONDS", 600, at_most=YEAR_S)
        sweep_s = reader.optional_count("FILE_ORPHAN_SWEEP_SECONDS", at_most=YEAR_S)
        env_file = reader.text_or_empty("ENV_FILE")
        log = read_log(reader)
        cors_expose_etag = reader.flag("CORS_EXPOSE_ETAG", False)
        jwks_policy = _jwks_policy(reader)
        accepted = frozenset({DEV_AUDIENCE} if dev_mode else audiences)
        token_policy = _token_policy(reader, accepted, identity_hash_key)
        enforce_token_expiry = reader.flag("WS_ENFORCE_TOKEN_EXPIRY", False)
        admin_operations = parse_admin_operations(reader)
        if reader.text("DATA_DIR") == "":
            reader.problems.append("DATA_DIR must not be empty")
        push_lanes = reader.optional_count("PUSH_LANES", at_most=256)
        admin = _admin(reader, dev=dev_mode)
        cluster = read_cluster(reader)
        connections = node_connections(reader, cluster.workers, connections_max, push_lanes)
        reporter = read_reporter(reader)
        subprotocols = parse_subprotocols(reader)
        limits = read_limits(reader, record_blob_bytes=blob_bytes_max, perf_mode=perf_mode, dev=dev_mode)
        if reader.problems:
            raise ConfigError(reader.problems)
        return cls(
            data_dir=data_dir,
            dev=dev_mode,
            listen=listen,
            database=DatabaseSettings(database_url, *connections),
            issuers=issuers,
            token_policy=token_policy,
            jwks_policy=jwks_policy,
            enforce_token_expiry=enforce_token_expiry,
            admin_operations=admin_operations,
            files=FileSettings(backend, directory, s3, file_bytes_max, sweep_s),
            identity_hash_key=identity_hash_key,
            federation=federation,
            limits=limits,
            perf_mode=perf_mode,
            subprotocols=subprotocols,
            cors_expose_etag=cors_expose_etag,
            maintenance_interval_s=maintenance_interval_s,
            shutdown_grace_s=shutdown_grace_s,
            env_file=None if env_file is None else Path(env_file),
            admin=admin,
            cluster=cluster,
            reporter=reporter,
            log=log,
            slips=tuple(reader.slips()),
            given=given,
            found=reader.found,
            asked=frozenset(reader.names),
        )

    def again(self) -> Self:
        """The settings as they would be read now, where files are among their sources.

        Raises:
            ConfigError: with all problems at once.
        """
        try:
            return type(self).from_given(self.given.again())
        except EnvFileError as error:
            raise ConfigError(error.problems) from error

    def warnings(self) -> list[str]:
        """What deserves a WARN line at start, though the server does start."""
        found = []
        if self.identity_hash_key is None and not self.dev:
            found.append("rate limiting is disabled: IDENTITY_HASH_KEY is not set")
        found += issuer_warnings(
            self.issuers,
            audiences=bool(self.token_policy.audiences),
            claims_are_checked=self.token_policy.personal_space_check == "derive",
        )
        if self.limits.record_blob_bytes > self.limits.frame_bytes and "MAX_RECORD_BLOB_SIZE" in self.found:
            frame_bytes = self.limits.frame_bytes
            found.append(
                f"MAX_RECORD_BLOB_SIZE is above the limit of a WebSocket message, {frame_bytes} bytes"
            )
        if self.perf_mode:
            found.append("perf mode enabled: connection and rate limits are off")
        found += cluster_warnings(self.cluster, self.limits)
        found += reporter_warnings(self.reporter)
        return [*found, *federation_warnings(self.federation), *self.slips]


def read_settings(options: Mapping[str, str], *, embedded: bool = False, dev: bool = False) -> Settings:
    """What a server started now with these options, by variable, would work with; `ENV_FILE` is read.

    Raises:
        ConfigError: with all problems at once.
    """
    try:
        given = Given(dict(os.environ), options, embedded=embedded, dev=dev).with_file()
    except EnvFileError as error:
        raise ConfigError(error.problems) from error
    return Settings.from_given(given)


def read_log(reader: SettingsReader) -> LogSettings:
    """`LOG_LEVEL` and `LOG_FORMAT`."""
    level = parse_log_level(reader)
    return LogSettings(
        level, "json" if reader.choice("LOG_FORMAT", "text", ("text", "json")) == "json" else "text"
    )


def _admin(reader: SettingsReader, *, dev: bool) -> AdminSettings:
    return AdminSettings(
        listen=parse_admin_address(reader, dev=dev),
        token=parse_admin_token(reader),
        profiler=parse_profiler_address(reader),
    )


def _jwks_policy(reader: SettingsReader) -> JwksPolicy:
    defaults = JwksPolicy()
    return JwksPolicy(
        ttl_s=reader.count("JWKS_REFRESH_TTL", int(defaults.ttl_s), at_most=YEAR_S),
        stale_max_s=reader.count("JWKS_MAX_STALE", int(defaults.stale_max_s), at_most=YEAR_S),
    )


def _token_policy(
    reader: SettingsReader, audiences: frozenset[str], mailbox_key: bytes | None
) -> TokenPolicy:
    require_exp = reader.flag("REQUIRE_TOKEN_EXP", True)
    derive = reader.choice("PERSONAL_SPACE_CHECK", "claim", ("claim", "derive")) == "derive"
    return TokenPolicy(
        audiences=audiences,
        require_exp=require_exp,
        personal_space_check="derive" if derive else "claim",
        mailbox_key=mailbox_key,
    )
