"""The text that `/metrics` answers with: every family of docs/operations.md 13.1, made when somebody asks."""

import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from less_sync.bins.admin.counts import (
    of_bus,
    of_federation,
    of_replicas,
    of_reporter,
    of_sessions,
    of_storage,
    of_traffic,
    of_workers,
)
from less_sync.bins.admin.families import by, counter, gauge, one, with_role
from less_sync.bins.admin.watchdog import Delivery
from less_sync.bins.backup.last import LastBackupError, read_last_backup
from less_sync.storage import PostgresPool, PushLanes
from less_sync.sync.services import Services

if TYPE_CHECKING:
    from less_sync.fleet.reporter.reporter import Standing

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
AGE_S_MAX: Final = 1.0
"""However many ask, the text is made once in this time: making it takes the loop for a few milliseconds."""


class NodeLabels(NamedTuple):
    """Which process of a cluster this is, for who looks at all of them."""

    node: str
    """`NODE_NAME`, or the name of the host."""
    worker: int
    """Its number among the workers of the node; 0 is a server of one process."""


ALONE: Final = NodeLabels("", 0)


class Exposition:
    """Makes the text, from what the parts of the server have counted. Nothing is shared with other ones.

    Args:
        delivery: what the watchdog has found out (docs/operations.md 12.4).
        data_dir: where the newest backup is named.
        reporter: how the reporter to a fleet plane stands, if there is one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        services: Services,
        *,
        pool: PostgresPool,
        lanes: PushLanes,
        delivery: Delivery,
        data_dir: Path,
        node: NodeLabels = ALONE,
        reporter: "Callable[[], Standing | None]" = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._made: bytes | None = None
        self._made_s = 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Server(services, pool, lanes, delivery, data_dir, node, reporter))

    def families(self) -> Iterable[Metric]:
        """The families as they stand now."""
        return self._registry.collect()

    def text(self) -> bytes:
        """The families in Prometheus' text format; at most `AGE_S_MAX` old."""
        now_s = self._clock()
        if self._made is None or now_s - self._made_s >= AGE_S_MAX:
            self._made, self._made_s = generate_latest(self._registry), now_s
        return self._made


class _Server(Collector):
    def __init__(
        self,
        services: Services,
        pool: PostgresPool,
        lanes: PushLanes,
        delivery: Delivery,
        data_dir: Path,
        node: NodeLabels,
        reporter: "Callable[[], Standing | None]",
    ) -> None:
        self._services = services
        self._pool = pool
        self._lanes = lanes
        self._delivery = delivery
        self._data_dir = data_dir
        self._node = node
        self._reporter = reporter
        self._version = version("less-sync")
        self._process = (
            ProcessCollector(registry=None),
            PlatformCollector(registry=None),
        )

    def collect(self) -> Iterable[Metric]:
        """Every family, in the order of docs/operations.md 13.1; each is there, if only without a series."""
        yield from of_sessions(self._services)
        yield from of_traffic(self._services)
        yield from of_storage(self._pool, self._lanes)
        yield from of_replicas(self._services.metrics)
        yield from of_federation(self._services.metrics)
        yield from of_bus(self._services.metrics)
        yield from self._of_delivery()
        yield gauge(
            "less_sync_last_backup_timestamp_seconds",
            "When the newest backup was finished, Unix time. No series: there is none.",
            one(last_backup_s(self._data_dir)),
        )
        yield gauge(
            "less_sync_node_info",
            "Always 1: which node this is, and which of its workers.",
            {(self._node.node, str(self._node.worker)): 1},
            "node",
            "worker",
        )
        yield from of_workers(None)
        yield from of_reporter(self._reporter())
        yield gauge("less_sync_build_info", "Always 1.", by({self._version: 1}), "version")
        for collector in self._process:
            yield from with_role(collector.collect())

    def _of_delivery(self) -> Iterator[Metric]:
        found = self._delivery
        yield gauge(
            "less_sync_delivery_lag_seconds",
            "How long the watchdog's last record took from push to notification. No series: not known.",
            one(found.lag_s),
        )
        yield gauge(
            "less_sync_delivery_proof_age_seconds",
            "Time since the watchdog's record last came back. No series: it never did.",
            one(found.age_s),
        )
        yield counter(
            "less_sync_delivery_proofs_total",
            "Records of the watchdog that came back.",
            one(found.proofs),
        )
        yield counter(
            "less_sync_delivery_failures_total",
            "Records of the watchdog that did not come back, or not in time.",
            one(found.failures),
        )


def last_backup_s(data_dir: Path) -> float | None:
    """When the newest backup was finished, Unix seconds; None if none is named in a way that can be read."""
    try:
        last = read_last_backup(data_dir)
    except LastBackupError:
        return None
    return None if last is None else last.finished_at.timestamp()
