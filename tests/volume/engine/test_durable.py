"""Durable writes share flushes, and what cannot be flushed was never there."""

import asyncio
import errno
from pathlib import Path

import pytest

from less_sync.volume.engine.errors import (
    CookieMismatch,
    NeedleNotFound,
    ReadOnlyVolume,
    VolumeError,
    VolumeSizeExceeded,
    WriteFailed,
)
from less_sync.volume.engine.volume import Volume
from less_sync.volume.engine.writing import THREAD_BYTES, Written
from less_sync.volume.format.needle import Needle
from less_sync.volume.format.rows import OFFSETS_BYTES
from tests.volume.engine.making import (
    FailingFiles,
    counters,
    needle,
    open_store,
    open_volume,
    rows,
    turn_taken,
)


async def _write_all(volume: Volume, needles: list[Needle]) -> list[Written | BaseException]:
    return await asyncio.gather(*(volume.write(one, durable=True) for one in needles), return_exceptions=True)


async def test_a_burst_of_durable_writes_shares_a_few_flushes(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        files.calls.clear()
        await _write_all(volume, [needle(id, b"%d" % id) for id in range(1, 301)])
        assert sorted(row.id for row in rows(volume)) == list(range(1, 301))
        assert files.count("sync", ".dat") == files.count("sync", ".idx") <= 6
        assert files.count("pwrite", ".dat") == 300
        assert not volume.is_dirty


async def test_rows_are_written_only_when_their_records_are_on_the_disk(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        files.calls.clear()
        await volume.write(needle(1), durable=True)
        order = [call for call in files.calls if call[0] in {"pwrite", "sync"}]
        assert order == [("pwrite", ".dat"), ("sync", ".dat"), ("pwrite", ".idx"), ("sync", ".idx")]


async def test_nobody_reads_a_needle_before_it_is_on_the_disk(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        seen: list[bool] = []
        files.during_sync = lambda: seen.append(volume.needles.get(1) is not None)
        await volume.write(needle(1), durable=True)
        assert seen == [False, False]
        files.during_sync = lambda: None


async def test_an_unchanged_durable_write_is_flushed_too(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1))
        files.calls.clear()
        assert (await volume.write(needle(1), durable=True)).unchanged
        assert files.count("sync", ".dat") == files.count("sync", ".idx") == 1
        assert files.count("pwrite", ".dat") == 0


async def test_a_group_is_judged_by_what_came_before_in_it(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        first, same, stranger, newer = await _write_all(
            volume, [needle(1), needle(1), needle(1, cookie=8), needle(1, b"newer")]
        )
        assert isinstance(first, Written)
        assert same == first._replace(unchanged=True)
        assert isinstance(stranger, CookieMismatch)
        assert isinstance(newer, Written)
        assert bytes(volume.read(1).data) == b"newer"
        assert counters(volume)[::2] == (2, 1)


async def test_a_failed_flush_of_the_data_fails_the_whole_group_and_leaves_no_trace(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1, b"before"))
        was = volume.data_path.read_bytes(), volume.index_path.read_bytes(), counters(volume)
        files.faults.append(("sync", ".dat", errno.EIO))
        failed = await _write_all(volume, [needle(1, b"after"), needle(2), needle(1, b"before")])
        assert [type(error) for error in failed] == [WriteFailed] * 3
        assert len({id(error) for error in failed}) == 3
        assert (volume.data_path.read_bytes(), volume.index_path.read_bytes(), counters(volume)) == was
        assert bytes(volume.read(1).data) == b"before"
        with pytest.raises(NeedleNotFound):
            volume.read(2)
        await volume.write(needle(2, b"later"), durable=True)
        assert [row.id for row in rows(volume)] == [1, 2]


async def test_a_failed_flush_of_the_index_ends_all_writing(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1))
        files.faults.append(("sync", ".idx", errno.EIO))
        (failed,) = await _write_all(volume, [needle(2)])
        assert isinstance(failed, WriteFailed)
        assert [row.id for row in rows(volume)] == [1]
        assert volume.data.size() == volume.data_bytes
        with pytest.raises(ReadOnlyVolume):
            volume.try_write(needle(3))
        assert bytes(volume.read(1).data) == b"data"


async def test_no_room_for_the_rows_takes_the_records_back(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1))
        end = volume.data.size()
        files.faults.append(("pwrite", ".idx", 10))
        failed = await _write_all(volume, [needle(2), needle(3)])
        assert [type(error) for error in failed] == [WriteFailed] * 2
        assert (volume.data.size(), volume.index_path.stat().st_size) == (end, 16)
        assert not volume.read_only


async def test_one_record_without_room_fails_alone(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        files.faults.append(("pwrite", ".dat", 5))
        first, second = await _write_all(volume, [needle(1), needle(2)])
        assert isinstance(first, WriteFailed)
        assert isinstance(second, Written)
        assert [(row.id, row.offset) for row in rows(volume)] == [(2, 8)]
        assert [found.id for _, found in volume.scan()] == [2]


async def test_ordinary_writers_wait_while_a_group_is_flushed(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        turns: list[object] = []
        files.during_sync = lambda: turns.append(volume.turn.held)
        durable = asyncio.create_task(volume.write(needle(1), durable=True))
        await turn_taken(volume)
        assert volume.try_write(needle(2)) is None
        await volume.write(needle(2))
        assert durable.done()
        assert turns == [True, True]
        files.during_sync = lambda: None


async def test_a_large_durable_needle_is_written_like_the_others(tmp_path: Path) -> None:
    data = b"d" * (THREAD_BYTES + 1)
    async with open_store(tmp_path) as store:
        volume = await store.allocate(1)
        await _write_all(volume, [needle(1, data), needle(2)])
    async with open_store(tmp_path) as store:
        again = store.volume(1)
        assert again is not None
        assert (bytes(again.read(1).data), bytes(again.read(2).data)) == (data, b"data")


async def test_whoever_gives_up_in_line_is_not_written(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        async with volume.turn:
            tasks = [asyncio.create_task(volume.write(needle(id), durable=True)) for id in (1, 2, 3)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            await asyncio.wait({tasks[1]})
        await asyncio.gather(tasks[0], tasks[2])
        assert [row.id for row in rows(volume)] == [1, 3]


async def test_whoever_gives_up_in_a_running_group_keeps_its_buffer_until_the_group_is_over(
    tmp_path: Path,
) -> None:
    async with open_volume(tmp_path) as volume:
        writing = asyncio.create_task(volume.write(needle(1), durable=True))
        await turn_taken(volume)
        writing.cancel()
        await asyncio.wait({writing})
        assert writing.cancelled()
        assert [row.id for row in rows(volume)] == [1]
        assert not volume.turn.held


async def test_a_full_volume_and_a_closed_one_refuse_each_request(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        volume.needles.counters.content_bytes = OFFSETS_BYTES[4] - 10
        (full,) = await _write_all(volume, [needle(1)])
        assert isinstance(full, VolumeSizeExceeded)
        volume.needles.counters.content_bytes = 0
        closing = asyncio.create_task(volume.close())
        await asyncio.sleep(0)
        refused = await _write_all(volume, [needle(1), needle(2)])
        await closing
        assert [str(error) for error in refused] == ["volume 1 is closed"] * 2
        assert all(isinstance(error, VolumeError) for error in refused)


async def test_a_group_that_is_refused_whole_flushes_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1))
        files.calls.clear()
        (refused,) = await _write_all(volume, [needle(1, cookie=8)])
        assert isinstance(refused, CookieMismatch)
        assert files.count("sync", ".dat") == 0
        await volume.sync()
        assert files.count("sync", ".dat") == 1


async def test_more_than_a_group_and_a_queue_of_writers_are_all_served(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        tasks = [asyncio.create_task(volume.write(needle(id), durable=True)) for id in range(1, 401)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.wait(tasks)
        kept = {id for id, task in enumerate(tasks, start=1) if not task.cancelled()}
        stored = {row.id for row in rows(volume)}
        assert kept <= stored
        await asyncio.gather(*(volume.write(needle(id, b"2"), durable=True) for id in range(1, 401)))
        assert len({row.id for row in rows(volume)}) == 400
