"""How full the disks are, looked at once a minute: a full one takes no more writes (docs/volume.md 7.7).

A disk that has gone may let `statvfs` hang for ever. So each look has a thread of its own that nobody waits
for longer than `LOOK_S_MAX`, and while one hangs no other is begun: at most one thread a directory is lost.
Whoever wants to know in between, a status page for one, takes part in the look that is under way.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from less_sync.volume.engine.location import Location
from less_sync.volume.logs import Logger
from less_sync.volume.options import DirectoryOptions

LOOK_EVERY_S: Final = 60.0
LOOK_S_MAX: Final = 0.5
FAULTS_MAX: Final = 5
"""So many looks in a row that fail make a disk unavailable, so many that do not make it available again."""
_log: Final = Logger(__name__)


class DiskUsage(NamedTuple):
    """Space on the disk of a directory, in bytes, as an unprivileged process may use it."""

    all_bytes: int
    free_bytes: int

    @property
    def used_bytes(self) -> int:
        """What is not free, the reserve of the superuser included."""
        return self.all_bytes - self.free_bytes

    @property
    def free_percent(self) -> float:
        """0 to 100."""
        return self.free_bytes * 100 / self.all_bytes if self.all_bytes else 0.0


def disk_usage(directory: Path) -> DiskUsage:
    """Ask the system. May block for as long as the disk likes.

    Raises:
        OSError: the disk has gone.
    """
    found = os.statvfs(directory)
    return DiskUsage(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def is_low(usage: DiskUsage, options: DirectoryOptions) -> bool:
    """Whether too little is free, by whichever limit is set."""
    if options.free_bytes_min:
        return usage.free_bytes < options.free_bytes_min
    return usage.free_percent < options.free_percent_min


def volumes_max(location: Location, free_bytes: int, volume_bytes_max: int) -> int:
    """How many volumes to tell the master that a directory may have.

    Args:
        volume_bytes_max: the master's limit of a volume; 0 until it has told it.
    """
    used = len(location.volumes)
    if location.is_low:
        return used
    if location.max_volumes:
        return location.max_volumes
    if not volume_bytes_max:
        return max(used, 1)
    # What writable volumes may still grow by is free now, but spoken for.
    promised = sum(
        max(0, volume_bytes_max - volume.data_bytes)
        for volume in location.volumes.values()
        if not volume.read_only
    )
    return max(used + max(0, free_bytes - promised) // volume_bytes_max, 1)


class _Disk:
    """One directory as its watch sees it."""

    def __init__(self, location: Location) -> None:
        self.location: Final = location
        self.usage: DiskUsage | None = None
        self.faults = 0
        self.successes = 0
        self.look: _Look | None = None
        """The one under way."""


class _Look(NamedTuple):
    """A fault is a result here: several may wait for it, and each needs an exception of its own."""

    found: asyncio.Future[DiskUsage | OSError]
    until_s: float
    """By the loop's clock."""


class DiskWatch:
    """Looks at the disks of a server and sets `is_low` and `is_failed` of their locations."""

    def __init__(self, locations: Iterable[Location], look: Callable[[Path], DiskUsage] = disk_usage) -> None:
        """`look` may block and raise `OSError`; it runs in threads."""
        self._look: Final = look
        self._disks: Final = {location.disk_id: _Disk(location) for location in locations}

    def usage(self, location: Location) -> DiskUsage | None:
        """What the last look that did not fail has found."""
        return self._disks[location.disk_id].usage

    async def ask(self, location: Location) -> DiskUsage:
        """Look in a thread, for a bounded time, without judging the disk by it.

        Raises:
            OSError: the disk failed, or it takes too long (`TimeoutError`).
        """
        disk = self._disks[location.disk_id]
        look = disk.look = disk.look or self._begin(disk)
        async with asyncio.timeout_at(look.until_s):
            found = await asyncio.shield(look.found)
        if isinstance(found, OSError):
            raise OSError(found.errno, found.strerror, found.filename) from found
        return found

    async def look_at_all(self) -> None:
        """Look once at each, at all of them at once; takes up to `LOOK_S_MAX`."""
        await asyncio.gather(*(self._look_at(disk) for disk in self._disks.values()))

    async def _look_at(self, disk: _Disk) -> None:
        try:
            usage = await self.ask(disk.location)
        except OSError as error:
            self._failed(disk, str(error) or type(error).__name__)
        else:
            self._found(disk, usage)

    def _begin(self, disk: _Disk) -> _Look:
        """Start the thread of a look."""
        loop = asyncio.get_running_loop()
        begun = _Look(loop.create_future(), loop.time() + LOOK_S_MAX)

        def look() -> None:
            found: DiskUsage | OSError
            try:
                found = self._look(disk.location.directory)
            except OSError as error:
                found = error
            try:
                loop.call_soon_threadsafe(tell, found)
            except RuntimeError:
                return  # The loop has ended meanwhile; nobody wants to know any more.

        def tell(found: DiskUsage | OSError) -> None:
            disk.look = None
            begun.found.set_result(found)

        threading.Thread(target=look, name="disk-space", daemon=True).start()
        return begun

    def _found(self, disk: _Disk, usage: DiskUsage) -> None:
        location, disk.usage = disk.location, usage
        disk.faults = 0
        disk.successes += 1
        if location.is_failed and disk.successes >= FAULTS_MAX:
            location.is_failed = False
            _log.info("disk available again", directory=str(location.directory))
        low = is_low(usage, location.options)
        if low is not location.is_low:
            location.is_low = low
            told = {"directory": str(location.directory), "free_bytes": usage.free_bytes}
            if low:
                _log.warning("disk space low, its volumes take no writes", **told)
            else:
                _log.info("disk space no longer low", **told)

    def _failed(self, disk: _Disk, reason: str) -> None:
        disk.successes = 0
        disk.faults += 1
        if disk.faults >= FAULTS_MAX and not disk.location.is_failed:
            disk.location.is_failed = True
            _log.error("disk unavailable", directory=str(disk.location.directory), reason=reason)
