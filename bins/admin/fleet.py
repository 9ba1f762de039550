"""The admin listener of a fleet plane: metrics, liveness and readiness (docs/fleet.md)."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from itertools import accumulate
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from less_sync.bins.admin.families import with_role
from less_sync.bins.admin.listener import admin_place, serve_admin
from less_sync.bins.admin.metrics import AGE_S_MAX
from less_sync.bins.admin.operated import Told
from less_sync.bins.admin.readiness import Report, Status
from less_sync.bins.admin.routes import AdminApp
from less_sync.bins.http_server import SteppedServer
from less_sync.bins.logs import set_log_level
from less_sync.bins.settings.fleet import FleetServer
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.fleet.metrics import SECONDS
from less_sync.fleet.plane import Plane
from less_sync.fleet.store.counts import Counts, counts
from less_sync.storage import StorageError

ROLE: Final = "fleet"
COUNT_WITHIN_S: Final = 2.0
"""What the figures of the fleet may take; without them the rest is told all the same."""

_log = structlog.get_logger(__name__)


class FleetAdmin:
    """The listener while it is open."""

    def __init__(self, server: SteppedServer, watched: "WatchedPlane") -> None:
        self._server = server
        self._watched = watched

    @property
    def address(self) -> ListenAddress:
        """Where it really listens."""
        return self._server.address

    def public_port_is_open(self) -> None:
        """From now on it may say that the plane is ready."""
        self._watched.listening = True


async def open_fleet_admin(
    settings: FleetServer, plane: Plane, stack: AsyncExitStack, vital: Supervisor
) -> FleetAdmin:
    """Listen at the admin address, which is set, until `stack` ends.

    Raises:
        CommandError: it cannot be listened on, or the token in the data directory is not as it must be.
    """
    watched = WatchedPlane(plane)
    listeners, access = admin_place(settings.admin, settings.data_dir, "FLEET_ADMIN_ADDR")
    return FleetAdmin(await serve_admin(AdminApp(access, watched), listeners, stack, vital), watched)


class WatchedPlane:
    """One instance as its operators' tools see it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, plane: Plane, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._plane = plane
        self._clock = clock
        self._making: asyncio.Task[bytes] | None = None
        self._made_s = 0.0
        self._counting: asyncio.Task[Counts | None] | None = None
        self._process = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self.listening = False
        """Set once the public port is open."""

    async def metrics(self) -> bytes:
        """The text of `/metrics`, made for all who ask within `AGE_S_MAX`; the fleet is counted for it."""
        making = self._making
        if making is None or (making.done() and self._clock() - self._made_s >= AGE_S_MAX):
            making = self._making = asyncio.create_task(self._text())
        # Whoever hangs up ends its own wait alone.
        return await asyncio.shield(making)

    async def ready(self) -> Report:
        """Whether agents and operators should be sent here. Takes 2 s at most."""
        database = await self._plane.probe.healthy()
        status, reason = self._status(database=database)
        body = {
            "status": status.value,
            "database": "ok" if database else "unavailable",
            "draining": self._plane.draining,
        }
        return Report(status, reason, body | ({"reason": reason} if reason else {}))

    async def log_at(self, level: str) -> Told:
        """Log from now on what is at least as grave."""
        set_log_level(level)
        _log.warning("the log level was changed by an operator", to=level)
        return Told(200, {"log_level": level})

    def _status(self, *, database: bool) -> tuple[Status, str]:
        if self._plane.draining:
            return Status.DRAINING, "the fleet plane is stopping"
        if not self.listening:
            return Status.STARTING, "the public port is not open yet"
        if not database:
            return Status.UNAVAILABLE, "the database does not answer"
        return Status.READY, ""

    async def _text(self) -> bytes:
        found = await self._counts()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Made([*_of_plane(self._plane), *_of_fleet(found), *self._of_process()]))
        self._made_s = self._clock()
        return generate_latest(registry)

    async def _counts(self) -> Counts | None:
        """One question at a time; never cancelled, which a database that hangs would hold up too."""
        if self._counting is None:
            self._counting = asyncio.create_task(self._count())
        counting = self._counting
        await asyncio.wait({counting}, timeout=COUNT_WITHIN_S)
        if not counting.done():
            return None
        self._counting = None
        return counting.result()

    async def _count(self) -> Counts | None:
        try:
            return await counts(self._plane.database)
        except StorageError:
            return None

    def _of_process(self) -> Iterator[Metric]:
        for collector in self._process:
            yield from collector.collect()


class _Made(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return with_role(self._families, ROLE)


def _of_plane(plane: Plane) -> Iterator[Metric]:
    """What this instance has counted since its start."""
    metrics = plane.metrics
    answered = CounterMetricFamily(
        "less_sync_fleet_http_requests_total", "Requests answered.", labels=("route", "status")
    )
    for (route, status), number in metrics.http_requests.items():
        answered.add_metric((route, str(status)), number)
    yield answered
    cumulative = list(accumulate(metrics.http_seconds))
    bounds = [*map(floatToGoString, SECONDS), "+Inf"]
    yield HistogramMetricFamily(
        "less_sync_fleet_http_seconds",
        "How long answers took.",
        buckets=list(zip(bounds, cumulative, strict=True)),
        sum_value=metrics.http_seconds_sum,
    )
    yield CounterMetricFamily(
        "less_sync_fleet_heartbeats_total", "Heartbeats counted, repeated ones left out.", metrics.heartbeats
    )
    attempts = CounterMetricFamily(
        "less_sync_fleet_webhook_attempts_total", "Attempts at receivers.", labels=("outcome",)
    )
    for outcome, number in metrics.webhook_attempts.items():
        attempts.add_metric((outcome,), number)
    yield attempts
    yield _gauge("less_sync_build_info", "Always 1.", {plane.version: 1}, "version")


def _of_fleet(found: Counts | None) -> Iterator[Metric]:
    """What the database holds. No series: it did not answer."""
    agents, alerts = (found.agents, found.alerts) if found else ({}, {})
    yield _gauge("less_sync_fleet_agents", "Agents.", agents, "status")
    yield _gauge("less_sync_fleet_alerts_open", "Alerts that are not resolved.", alerts, "severity")
    due = GaugeMetricFamily("less_sync_fleet_webhook_due", "Deliveries whose time has come.")
    if found:
        due.add_metric((), found.deliveries_due)
    yield due


def _gauge(name: str, text: str, values: Mapping[str, int], label: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family
