"""The figures of a volume server. What it has none of is null, as docs/fleet.md has it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from less_sync.bins.reporting.host import Disk, HostWatch, fullest
from less_sync.bins.reporting.start import Reporting, reporting
from less_sync.bins.settings.reporter import ReporterSettings
from less_sync.fleet.reporter.report import Report
from less_sync.fleet.reporter.reporter import Served
from less_sync.volume.logs import Logger
from less_sync.volume.services import Services

PERIOD_S_MIN: Final = 1.0
_FAULT: Final = 500
_MINUTE_S: Final = 60.0


class VolumeSnapshot:
    """Makes reports of a volume server.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        services: Services,
        settings: ReporterSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services: Final = services
        self._settings: Final = settings
        self._clock: Final = clock
        self._host: Final = HostWatch()
        self._before: tuple[float, int] | None = None

    async def report(self) -> Report:
        """The figures as of now."""
        store, counters = self._services.store, self._services.counters
        host = await self._host.look()
        volumes = store.reports()
        disks = (Disk(one.total_bytes, one.free_bytes) for one in store.disk_reports() if one.total_bytes)
        disk = fullest(disks)
        return Report(
            connections=counters.connections,
            files=sum(one.file_count - one.deleted_count for one in volumes),
            storage_bytes=sum(one.size for one in volumes),
            file_bytes=sum(max(0, one.size - one.deleted_bytes) for one in volumes),
            errors_per_minute=self._errors_per_minute(),
            cpu_ratio=host.cpu_ratio,
            memory_used_bytes=host.memory_used_bytes,
            memory_total_bytes=host.memory_total_bytes,
            disk_used_bytes=None if disk is None else disk.total_bytes - disk.free_bytes,
            disk_total_bytes=None if disk is None else disk.total_bytes,
            disk_free_ratio=None if disk is None else round(disk.free_ratio, 4),
            backup_interval_seconds=self._settings.backup_interval_s,
            features=[],
        )

    def _errors_per_minute(self) -> float | None:
        """Answers since the last report whose status blames this server."""
        requests = self._services.counters.requests
        now_s, errors = self._clock(), sum(n for (_, status), n in requests.items() if status >= _FAULT)
        before, self._before = self._before, (now_s, errors)
        if before is None or now_s - before[0] < PERIOD_S_MIN:
            return None
        return round((errors - before[1]) * _MINUTE_S / (now_s - before[0]), 2)


def volume_reporting(services: Services, directory: Path, settings: ReporterSettings) -> Reporting:
    """The reporter of a volume server, that is about to begin. It has no sessions, so nothing drains it.

    Args:
        directory: where the state is kept.
    """
    snapshot = VolumeSnapshot(services, settings)
    log = Logger("less_sync.fleet.reporter")
    return reporting("volume", settings, directory, Served(snapshot.report), log)
