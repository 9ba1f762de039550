"""Low and failing disks."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from less_sync.volume.engine.disk_space import (
    FAULTS_MAX,
    DiskUsage,
    DiskWatch,
    disk_usage,
    is_low,
    volumes_max,
)
from less_sync.volume.engine.errors import ReadOnlyVolume
from less_sync.volume.engine.location import Location
from less_sync.volume.format.needle import Needle
from less_sync.volume.options import DirectoryOptions
from tests.volume.engine.open_volumes import COOKIE, new_volume, put

GIB = 1 << 30


class _Disk:
    """Answers as a test says."""

    def __init__(self, usage: DiskUsage) -> None:
        self.usage = usage
        self.fault: OSError | None = None
        self.hangs = threading.Event()
        self.hangs.set()
        self.looks = 0

    def __call__(self, directory: Path) -> DiskUsage:
        self.looks += 1
        self.hangs.wait(30)
        if self.fault is not None:
            raise self.fault
        return self.usage


@pytest.fixture
def disk() -> Iterator[_Disk]:
    disk = _Disk(DiskUsage(100 * GIB, 50 * GIB))
    yield disk
    disk.hangs.set()


def test_the_system_is_asked_for_what_an_ordinary_process_may_use(tmp_path: Path) -> None:
    usage = disk_usage(tmp_path)
    assert 0 < usage.free_bytes <= usage.all_bytes
    assert usage.used_bytes == usage.all_bytes - usage.free_bytes


@pytest.mark.parametrize(
    ("percent", "least", "free", "low"),
    [
        (1.0, 0, 1 * GIB, False),
        (1.0, 0, 1 * GIB - 1, True),
        (0.0, 0, 0, False),
        (90.0, 10 * GIB, 10 * GIB, False),
        (0.0, 10 * GIB, 10 * GIB - 1, True),
    ],
)
def test_low_is_below_the_limit_that_is_set(percent: float, least: int, free: int, *, low: bool) -> None:
    options = DirectoryOptions(Path("/"), free_bytes_min=least, free_percent_min=percent)
    assert is_low(DiskUsage(100 * GIB, free), options) is low


async def test_a_low_disk_takes_no_writes_but_deletions_until_it_is_no_longer_low(
    tmp_path: Path, disk: _Disk
) -> None:
    volume = new_volume(tmp_path)
    put(volume, 1, b"first")
    location = volume.location
    watch = DiskWatch([location], disk)
    disk.usage = DiskUsage(1000 * GIB, 1 * GIB)
    await watch.look_at_all()
    assert (location.is_low, location.has_room, volume.read_only) == (True, False, True)
    with pytest.raises(ReadOnlyVolume, match="volume 7 is read only"):
        volume.try_write(Needle(2, COOKIE, b"x"))
    assert volume.try_delete(1, COOKIE)
    location.volumes[7] = volume
    assert volumes_max(location, 1 * GIB, 30 * GIB) == 1
    disk.usage = DiskUsage(1000 * GIB, 10 * GIB)
    await watch.look_at_all()
    assert (location.is_low, location.has_room, volume.read_only) == (False, True, False)
    assert watch.usage(location) == disk.usage
    assert volumes_max(location, 1 * GIB, 30 * GIB) == location.max_volumes == 8
    await volume.close()


async def test_an_automatic_maximum_leaves_room_for_volumes_to_grow(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    location = Location(DirectoryOptions(tmp_path, max_volumes=0), None, 0)
    assert volumes_max(location, 100 * GIB, 0) == 1
    assert volumes_max(location, 100 * GIB, 30 * GIB) == 3
    assert volumes_max(location, 0, 30 * GIB) == 1
    location.volumes[7] = volume
    assert volumes_max(location, 100 * GIB, 30 * GIB) == 1 + 2
    volume.no_write_or_delete = True
    assert volumes_max(location, 100 * GIB, 30 * GIB) == 1 + 3
    assert volumes_max(location, 10 * GIB, 30 * GIB) == 1
    await volume.close()


async def test_five_faults_in_a_row_make_a_disk_unavailable_and_five_successes_available(
    tmp_path: Path, disk: _Disk
) -> None:
    location = Location(DirectoryOptions(tmp_path), None, 0)
    watch = DiskWatch([location], disk)
    states = []
    for fault in [True] * 4 + [False] + [True] * 5 + [False] * 4 + [True] + [False] * 5:
        disk.fault = OSError(5, "gone") if fault else None
        await watch.look_at_all()
        states.append(location.is_failed)
    assert states == [False] * 9 + [True] * 10 + [False]


async def test_a_disk_that_hangs_costs_one_thread_and_half_a_second_a_look(
    tmp_path: Path, disk: _Disk
) -> None:
    location = Location(DirectoryOptions(tmp_path), None, 0)
    watch = DiskWatch([location], disk)
    disk.hangs.clear()
    for _ in range(FAULTS_MAX):
        await asyncio.wait_for(watch.look_at_all(), 5)
    for _ in range(100):  # status pages
        with pytest.raises(TimeoutError):
            await watch.ask(location)
    assert (disk.looks, location.is_failed) == (1, True)
    disk.hangs.set()
    while disk.looks < FAULTS_MAX + 1:
        await watch.look_at_all()
    assert not location.is_failed


async def test_who_asks_takes_part_in_the_look_under_way_and_has_its_fault_for_itself(
    tmp_path: Path, disk: _Disk
) -> None:
    location = Location(DirectoryOptions(tmp_path), None, 0)
    watch = DiskWatch([location], disk)
    disk.fault = OSError(5, "gone")
    disk.hangs.clear()
    asking = [asyncio.create_task(watch.ask(location)) for _ in range(3)]
    await asyncio.sleep(0)
    disk.hangs.set()
    faults = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(fault) for fault in faults] == ["[Errno 5] gone"] * 3
    assert len({id(fault) for fault in faults}) == 3
    assert disk.looks == 1
    disk.fault = None
    assert await watch.ask(location) == disk.usage
