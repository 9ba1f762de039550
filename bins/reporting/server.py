"""The figures of a sync server, of one process or of several workers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog
from prometheus_client.metrics_core import Metric

from less_sync.bins.admin.counts import of_federation, of_sessions, of_traffic
from less_sync.bins.admin.holdings import Holdings, HoldingsWatch, decode_holdings
from less_sync.bins.admin.merged import MergedServer
from less_sync.bins.admin.operated import drain_sessions, take_drain_back
from less_sync.bins.admin.within import HOLDINGS_PATH
from less_sync.bins.backup.last import LastBackupError, read_last_backup
from less_sync.bins.reporting.counted import Counted, Rates, counted, rates
from less_sync.bins.reporting.host import HostWatch
from less_sync.bins.reporting.start import Reporting, reporting
from less_sync.bins.settings.config import Settings
from less_sync.fleet.reporter.report import Report
from less_sync.fleet.reporter.reporter import Served
from less_sync.migrations import MigrationError, version
from less_sync.storage import PostgresPool
from less_sync.sync.services import Services
from less_sync.sync.session.open_sessions import Doors

HOLDINGS_S_MAX: Final = 6.0
EMBEDDED: Final = "embedded"
EXTERNAL: Final = "external"


class Reported(Protocol):
    """A server that is reported of."""

    async def families(self) -> Iterable[Metric]:
        """Its metrics, those of `counted` at least."""

    async def holdings(self) -> Holdings | None:
        """What its database holds; None: nobody can say."""

    async def draining(self) -> bool:
        """Whether it lets nobody in."""

    async def drain(self) -> None:
        """Let nobody in, and send everybody away."""

    async def resume(self) -> None:
        """Let everybody in again."""


class OwnServer:
    """The server of this process. Implements `Reported`."""

    def __init__(self, services: Services, pool: PostgresPool) -> None:
        self._services: Final = services
        self._holdings: Final = HoldingsWatch(services, pool)

    async def families(self) -> Iterable[Metric]:
        """As `Reported.families`."""
        services = self._services
        return [*of_sessions(services), *of_traffic(services), *of_federation(services.metrics)]

    async def holdings(self) -> Holdings:
        """As `Reported.holdings`."""
        return await self._holdings.look()

    async def draining(self) -> bool:
        """As `Reported.draining`."""
        return self._services.sessions.doors is not Doors.OPEN

    async def drain(self) -> None:
        """As `Reported.drain`."""
        drain_sessions(self._services)

    async def resume(self) -> None:
        """As `Reported.resume`."""
        take_drain_back(self._services)


class AllWorkers:
    """A server of several processes, as its supervisor sees it. Implements `Reported`."""

    def __init__(self, merged: MergedServer) -> None:
        self._merged: Final = merged

    async def families(self) -> Iterable[Metric]:
        """As `Reported.families`."""
        return await self._merged.families()

    async def holdings(self) -> Holdings | None:
        """As `Reported.holdings`."""
        answer = await self._merged.ask_one(HOLDINGS_PATH, within_s=HOLDINGS_S_MAX)
        return None if answer is None else decode_holdings(answer.body)

    async def draining(self) -> bool:
        """As `Reported.draining`."""
        return bool((await self._merged.ready()).body["draining"])

    async def drain(self) -> None:
        """As `Reported.drain`."""
        await self._merged.drain()

    async def resume(self) -> None:
        """As `Reported.resume`."""
        await self._merged.take_drain_back()


class _Moment(NamedTuple):
    at_s: float
    counted: Counted


class ServerSnapshot:
    """Makes reports of a server.

    Args:
        migration: the newest one of the database; asked once, as it changes with a restart alone.
        clock: monotonic seconds. now: Unix time.
    """

    def __init__(
        self,
        settings: Settings,
        reported: Reported,
        migration: Callable[[], Awaitable[int]],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings: Final = settings
        self._reported: Final = reported
        self._ask_migration: Final = migration
        self._clock: Final = clock
        self._now: Final = now
        self._host: Final = HostWatch(_directories(settings))
        self._before: _Moment | None = None
        self._migration: int | None = None

    async def report(self) -> Report:
        """The figures as of now."""
        moment = _Moment(self._clock(), counted(await self._reported.families()))
        before, self._before = self._before, moment
        recent = (
            Rates() if before is None else rates(before.counted, moment.counted, moment.at_s - before.at_s)
        )
        holdings = await self._reported.holdings() or Holdings(ok=None)
        host = await self._host.look()
        disk = host.disk
        return Report(
            connections=moment.counted.connections,
            spaces=holdings.spaces,
            records=holdings.records,
            files=holdings.files,
            storage_bytes=holdings.storage_bytes,
            file_bytes=holdings.file_bytes,
            database_id=holdings.database_id,
            peers=moment.counted.peers,
            **recent._asdict(),
            cpu_ratio=host.cpu_ratio,
            memory_used_bytes=host.memory_used_bytes,
            memory_total_bytes=host.memory_total_bytes,
            disk_used_bytes=None if disk is None else disk.total_bytes - disk.free_bytes,
            disk_total_bytes=None if disk is None else disk.total_bytes,
            disk_free_ratio=None if disk is None else round(disk.free_ratio, 4),
            database_ok=holdings.ok,
            database_kind=EMBEDDED if self._settings.database.url is None else EXTERNAL,
            migration=await self._migration_known(ok=holdings.ok is True),
            backup_age_seconds=await asyncio.to_thread(self._backup_age_s),
            backup_interval_seconds=self._settings.reporter.backup_interval_s,
            draining=await self._reported.draining(),
            features=features(self._settings),
        )

    async def _migration_known(self, *, ok: bool) -> int | None:
        if self._migration is None and ok:
            with suppress(MigrationError):
                self._migration = await self._ask_migration()
        return self._migration

    def _backup_age_s(self) -> int | None:
        """Of a backup that another machine's clock puts into the future: 0."""
        try:
            last = read_last_backup(self._settings.data_dir)
        except LastBackupError:
            return None
        return None if last is None else max(0, int(self._now() - last.finished_at.timestamp()))


def features(settings: Settings) -> list[str]:
    """Which optional parts are in use, by names of this table and no others."""
    cluster, files = settings.cluster, settings.files
    used = {
        "dev": settings.dev,
        "files": files.backend != "none",
        "s3": files.backend == "s3",
        "federation": settings.federation.accepts_peers,
        "workers": cluster.workers > 1,
        "nats": cluster.bus is not None,
        "replicas": bool(cluster.replicas),
        "admin": settings.admin.listen is not None,
    }
    return [name for name, is_used in used.items() if is_used]


def _directories(settings: Settings) -> list[Path]:
    """On the disks that the server writes to."""
    local = [settings.files.directory] if settings.files.backend == "local" else []
    return [settings.data_dir, *local]


def server_reporting(settings: Settings, reported: Reported, url: str) -> Reporting:
    """The reporter of a server, that is about to begin.

    Args:
        url: of the migrated database.
    """
    snapshot = ServerSnapshot(settings, reported, partial(version, url))
    served = Served(snapshot.report, reported.drain, reported.resume)
    log = structlog.get_logger("less_sync.fleet.reporter")
    return reporting("sync", settings.reporter, settings.data_dir, served, log)
