"""Figures of the machine and of this process; 0 where the system does not tell."""

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from less_sync.volume.engine.disk_space import DiskWatch
from less_sync.volume.engine.location import Location
from less_sync.volume.grpc.protos import volume_server_pb2 as pb

_KIB: Final = 1024


async def disk_statuses(disks: DiskWatch, locations: Sequence[Location]) -> list[pb.DiskStatus]:
    """Sizes of the file systems of data directories, in bytes, in their order; none of one that fails."""
    return list(await asyncio.gather(*(_disk_status(disks, location) for location in locations)))


def memory_status() -> pb.MemStatus:
    """Bytes of the machine and of this process; its threads and tasks stand for goroutines."""
    machine, process = dict(_lines("/proc/meminfo")), dict(_lines("/proc/self/status"))
    total, free = machine.get("MemTotal", 0), machine.get("MemFree", 0)
    return pb.MemStatus(
        goroutines=threading.active_count() + len(asyncio.all_tasks()),
        all=total,
        used=total - free,
        free=free,
        self=process.get("VmRSS", 0),
        heap=process.get("VmData", 0),
        stack=process.get("VmStk", 0),
    )


def load_per_cpu() -> float:
    """Load average of the last minute, divided by the number of CPUs."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return 0.0


async def _disk_status(disks: DiskWatch, location: Location) -> pb.DiskStatus:
    status = pb.DiskStatus(dir=str(location.directory.absolute()))
    try:
        found = await disks.ask(location)
    except OSError:
        return status
    status.all, status.used, status.free = found.all_bytes, found.used_bytes, found.free_bytes
    status.percent_free = found.free_percent
    status.percent_used = 100 - found.free_percent if found.all_bytes else 0
    return status


def _lines(path: str) -> Iterator[tuple[str, int]]:
    """Names and bytes of the lines `Name:  123 kB`."""
    try:
        text = Path(path).read_text()
    except OSError:
        return
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            yield name, int(value.removesuffix(" kB")) * _KIB
