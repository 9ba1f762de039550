"""Settings of several processes and nodes (docs/scaling.md 1, 2 and 5): workers, their bus, replicas."""

import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.bins.settings.reader import SettingsReader
from less_sync.sync.limits import Limits
from less_sync.sync.live.news import SAID_BYTES_MAX

WORKERS_MAX: Final = 64
CONNECTIONS_MIN: Final = 2
"""Of a worker: one for a pull, which may take long, and one for all else."""
CONNECTIONS_USUAL: Final = 3
LANES_USUAL: Final = 2
REPLICAS_MAX: Final = 16
BUS_SERVERS_MAX: Final = 16

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}\Z", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,32}\Z", re.ASCII)
_SCHEMES: Final = ("nats", "tls")


@dataclass(frozen=True, slots=True)
class BusSettings:
    """The NATS servers that carry news between nodes."""

    urls: tuple[str, ...] = field(repr=False)
    """One cluster's, tried in any order; all `tls://` or all `nats://`."""
    credentials: Path | None
    """A NATS credentials file (JWT and seed)."""
    ca: Path | None
    """Certificates that the servers' are checked with; None: the system's."""
    prefix: str
    """What every subject begins with: the clusters of one NATS are told apart by it."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """This node's part in a cluster."""

    workers: int
    """Processes that serve; 1: this one alone."""
    node_name: str | None
    """How operators tell nodes apart, in logs and metrics; None: by the name of the host."""
    bus: BusSettings | None
    """None: there is none, or with several workers one of the server's own."""
    replicas: tuple[str, ...] = field(repr=False)
    """URLs of standbys of the database that pulls may read from."""

    @property
    def node(self) -> str:
        """What operators call this node."""
        return self.node_name or socket.gethostname()


def read_cluster(reader: SettingsReader) -> ClusterSettings:
    """`WORKERS`, `NODE_NAME`, `NATS_*` and `REPLICA_DATABASE_URL`."""
    workers = reader.count("WORKERS", 1, at_most=WORKERS_MAX)
    name = reader.trimmed("NODE_NAME")
    if name and _NAME.match(name) is None:
        reader.reject("NODE_NAME", name, "letters, digits, '.', '_' and '-', at most 63")
    return ClusterSettings(workers, name or None, _read_bus(reader), _read_replicas(reader))


def node_connections(
    reader: SettingsReader, workers: int, connections_max: int | None, push_lanes: int | None
) -> tuple[int, int]:
    """Connections and lanes of all workers together, of which each gets the same share.

    Room is left for one worker more: while one is replaced there are so many. What is not set grows with the
    workers; what is set to less than they need is a problem.

    Args:
        connections_max: None: it is not set.
        push_lanes: as that.
    """
    if workers == 1:
        return connections_max or 10, push_lanes or LANES_USUAL
    shares = workers + 1
    for name, value, least in (
        ("DATABASE_MAX_CONNECTIONS", connections_max, CONNECTIONS_MIN * shares),
        ("PUSH_LANES", push_lanes, shares),
    ):
        if value is not None and value < least:
            reader.problems.append(
                f"{name} must be at least {least} with WORKERS={workers}: "
                "each has a part of them, and so has one that replaces another"
            )
    return connections_max or max(10, CONNECTIONS_USUAL * shares), push_lanes or LANES_USUAL * shares


def cluster_warnings(cluster: ClusterSettings, limits: Limits) -> list[str]:
    """What clients of one node may say that those of another do not hear (docs/scaling.md 3.4)."""
    if cluster.bus is None and cluster.workers == 1:
        return []
    said = (("LIMIT_EVENT_BYTES", limits.event_bytes), ("LIMIT_PRESENCE_BYTES", limits.presence_bytes))
    return [
        f"{name} is above what goes from one process to another, {SAID_BYTES_MAX} bytes"
        for name, value in said
        if value > SAID_BYTES_MAX
    ]


def _read_bus(reader: SettingsReader) -> BusSettings | None:
    urls = tuple((reader.trimmed("NATS_URL") or "").replace(",", " ").split())
    credentials = reader.trimmed("NATS_CREDENTIALS_FILE")
    ca = reader.trimmed("NATS_CA_FILE")
    prefix = reader.trimmed("NATS_PREFIX") or "less-sync"
    if _PREFIX.match(prefix) is None:
        reader.reject("NATS_PREFIX", prefix, "letters, digits, '_' and '-', at most 32")
    if not urls:
        if credentials or ca:
            reader.problems.append("NATS_CREDENTIALS_FILE and NATS_CA_FILE need NATS_URL")
        return None
    if len(urls) > BUS_SERVERS_MAX:
        reader.problems.append(f"NATS_URL names more than {BUS_SERVERS_MAX} servers")
    parts = [_bus_url_parts(url) for url in urls]
    for number, part in enumerate(parts, start=1):
        if part is None:
            # Not quoted: with a blank or a comma in it, a password is in several entries.
            reader.problems.append(
                f"invalid NATS_URL entry {number}: expected tls://host:port or nats://host:port, "
                "with what is special in a password escaped (a comma as %2C)"
            )
    schemes = {part.scheme for part in parts if part is not None}
    if len(schemes) > 1:
        reader.problems.append("NATS_URL must not mix tls:// and nats://: news would travel in clear")
    if ca and schemes == {"nats"}:
        reader.problems.append("NATS_CA_FILE needs tls:// in NATS_URL")
    if credentials and any(part is not None and "@" in part.netloc for part in parts):
        reader.problems.append("NATS_CREDENTIALS_FILE and a user in NATS_URL exclude each other")
    found = tuple(part.geturl() for part in parts if part is not None)
    return BusSettings(found, Path(credentials) if credentials else None, Path(ca) if ca else None, prefix)


def _bus_url_parts(url: str) -> SplitResult | None:
    """What a URL of one NATS server says; None when it is none."""
    try:
        parts = urlsplit(url)
        usual = parts.scheme in _SCHEMES and bool(parts.hostname) and url.endswith(parts.netloc)
        usual = usual and (parts.port is None or parts.port > 0) and parts.username != ""
    except ValueError:
        return None
    return parts if usual else None


def _read_replicas(reader: SettingsReader) -> tuple[str, ...]:
    urls = tuple((reader.trimmed("REPLICA_DATABASE_URL") or "").split())
    if len(urls) > REPLICAS_MAX:
        reader.problems.append(f"REPLICA_DATABASE_URL names more than {REPLICAS_MAX} databases")
    found = []
    for url in urls:
        try:
            found.append(driver_url(url))
        except DatabaseUrlError as error:
            reason = str(error).removeprefix("database error: error with configuration: ")
            reader.problems.append(f"invalid REPLICA_DATABASE_URL: {reason}")
    return tuple(found)
