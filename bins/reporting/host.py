"""What the machine has left: processors, memory, disks. Without `/proc` less of it is known."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

_STAT: Final = Path("/proc/stat")
_MEMINFO: Final = Path("/proc/meminfo")
_IDLE: Final = (3, 4)
"""Columns of `/proc/stat`: idle, and waiting for a disk (proc_stat(5))."""
_COUNTED: Final = 8
"""So many columns are time of their own; those behind are part of others."""
_KIB: Final = 1024


class Disk(NamedTuple):
    """One file system, as an unprivileged process may use it."""

    total_bytes: int
    free_bytes: int

    @property
    def free_ratio(self) -> float:
        """0 to 1."""
        return self.free_bytes / self.total_bytes if self.total_bytes else 0.0


class Host(NamedTuple):
    """The machine now. None: this system does not say."""

    cpu_ratio: float | None
    """0 to 1, since the look before."""
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    disk: Disk | None
    """The fullest."""


class HostWatch:
    """Looks when it is asked.

    Args:
        directories: on the disks that matter. Empty: whoever asks knows of his disks himself.
    """

    def __init__(self, directories: Sequence[Path] = ()) -> None:
        self._directories: Final = directories
        self._before = _processor_times()

    async def look(self) -> Host:
        """Look in a thread: a disk that has gone may hold it up."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> Host:
        before, self._before = self._before, _processor_times()
        used_bytes, total_bytes = _memory()
        disks = (disk for path in self._directories if (disk := _disk(path)) is not None)
        return Host(_ratio(before, self._before), used_bytes, total_bytes, fullest(disks))


def fullest(disks: Iterable[Disk]) -> Disk | None:
    """The one with the smallest part free."""
    return min(disks, key=lambda disk: disk.free_ratio, default=None)


def _disk(path: Path) -> Disk | None:
    """Where a directory is, or will be when it is made."""
    for place in (path, *path.absolute().parents):
        with suppress(OSError):
            found = os.statvfs(place)
            return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)
    return None


def _processor_times() -> tuple[int, int] | None:
    """Idle and all time of all processors since the start, in ticks."""
    with suppress(OSError, ValueError, IndexError):
        ticks = [int(part) for part in _STAT.read_text("ascii").split("\n", 1)[0].split()[1:]][:_COUNTED]
        return sum(ticks[column] for column in _IDLE), sum(ticks)
    return None


def _ratio(before: tuple[int, int] | None, now: tuple[int, int] | None) -> float | None:
    if before is None or now is None or now[1] <= before[1]:
        return None
    idle, whole = now[0] - before[0], now[1] - before[1]
    return round(min(max(0.0, 1 - idle / whole), 1.0), 4)


def _memory() -> tuple[int | None, int | None]:
    """Used and all bytes. What the system can take back is not used."""
    with suppress(OSError, ValueError, KeyError, IndexError):
        lines = (line.split() for line in _MEMINFO.read_text("ascii").splitlines())
        found = {parts[0]: int(parts[1]) * _KIB for parts in lines if len(parts) > 1}
        total = found["MemTotal:"]
        return total - found["MemAvailable:"], total
    return None, None
