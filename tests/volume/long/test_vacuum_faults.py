"""Whatever fails or ends in the middle of a vacuum: nothing acknowledged is lost."""

import asyncio
from pathlib import Path

from less_sync.volume.engine import vacuum
from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.swap import SwapUnfinished, finish_or_roll_back
from less_sync.volume.engine.volume import Volume
from tests.volume.engine.open_volumes import (
    COOKIE,
    FailingSteps,
    contents,
    fill,
    names_in,
    new_volume,
    open_volume,
    put,
)

IDS = range(1, 60)


async def _compact_and_commit(volume: Volume) -> None:
    await vacuum.compact(volume)
    await vacuum.commit(volume)


async def test_a_volume_serves_all_it_has_whatever_operation_of_a_vacuum_fails(tmp_path: Path) -> None:
    failed = unfinished = at = 0
    while True:
        at += 1
        directory = tmp_path / str(at)
        directory.mkdir()
        files = FailingSteps()
        volume = new_volume(directory, files=files)
        expected = fill(volume)
        files.arm(at)
        revision = 1
        try:
            await _live(volume, expected)
        except SwapUnfinished:
            unfinished += 1
        except (OSError, VolumeError):
            failed += 1
            revision = 0
        steps = len(files.steps)
        files.arm(0)
        assert volume.revision == revision
        assert contents(volume, IDS) == expected
        put(volume, 40, b"after the fault")
        expected[40] = b"after the fault"
        await volume.close()
        finish_or_roll_back(Files(), directory, directory, "7")
        again = open_volume(directory)
        assert contents(again, IDS) == expected
        assert again.revision == revision
        assert names_in(directory) == ["7.dat", "7.idx"]
        await again.close()
        if steps < at:
            break
    assert failed > 40
    assert unfinished >= 5


async def _live(volume: Volume, expected: dict[int, bytes]) -> None:
    """A vacuum with writes in the middle; `expected` follows what was acknowledged."""
    await vacuum.compact(volume)
    put(volume, 30, b"meanwhile")
    expected[30] = b"meanwhile"
    volume.try_delete(3, COOKIE)
    del expected[3]
    await vacuum.commit(volume)


async def test_a_compaction_cancelled_at_any_moment_leaves_no_file_open(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    fill(volume)
    before = len(list(Path("/proc/self/fd").iterdir()))
    cancelled = 0
    for turns in range(60):
        running = asyncio.create_task(vacuum.compact(volume))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            cancelled += 1
        assert not volume.is_compacting
    assert cancelled > 5
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    await vacuum.cleanup(volume)
    await volume.close()


async def test_a_volume_closed_at_any_moment_of_a_vacuum_loses_nothing(tmp_path: Path) -> None:
    committed = 0
    for turns in range(0, 200, 4):
        directory = tmp_path / str(turns)
        directory.mkdir()
        volume = new_volume(directory)
        expected = fill(volume)
        running = asyncio.create_task(_compact_and_commit(volume))
        for _ in range(turns):
            await asyncio.sleep(0)
        await volume.close()
        try:
            await running
        except VolumeError:
            assert volume.is_closed
        finish_or_roll_back(Files(), directory, directory, "7")
        again = open_volume(directory)
        committed += again.revision
        assert contents(again, IDS) == expected
        assert names_in(directory) == ["7.dat", "7.idx"]
        await again.close()
    assert committed < 50
