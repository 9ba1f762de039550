"""Vacuum: what is live stays, whatever is written meanwhile, and whatever fails."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from less_sync.volume.engine import vacuum
from less_sync.volume.engine.compaction import BATCH_BYTES, OldRecords
from less_sync.volume.engine.errors import DamagedRecord, VolumeError
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.pace import Pace
from less_sync.volume.engine.recovery import VolumePaths
from less_sync.volume.engine.swap import SwapUnfinished
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.checksums import crc32c, masked
from less_sync.volume.format.needle import HAS_LAST_MODIFIED, HAS_TTL, Needle
from less_sync.volume.format.rows import OFFSETS_BYTES, ROW_BYTES, Row
from less_sync.volume.format.superblock import Superblock, decode_superblock
from less_sync.volume.format.ttl import parse_ttl
from tests.volume.engine.open_volumes import (
    COOKIE,
    Clock,
    FailingSteps,
    contents,
    fill,
    names_in,
    new_volume,
    open_volume,
    put,
    raise_at,
)
from tests.volume.engine.plain_volume import Plain, contents_of, rows_of
from tests.volume.volume_files import RECORDED, WIDTHS, copy_volume, widened

IDS = range(1, 60)
MINUTE_NS = 60 * 10**9


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("version", [1, 2, 3])
async def test_what_is_live_stays_in_the_order_of_ids(version: int, width: int, tmp_path: Path) -> None:
    extra = b"" if version == 1 else b"\x0a\x06\x08\x0a\x10\x04\x18\x01"
    superblock = Superblock(version, revision=65_535, extra=extra)
    volume = new_volume(tmp_path, width=width, superblock=superblock)
    expected = fill(volume)
    before = volume.data_bytes
    times = {id_: volume.read(id_).append_at_ns for id_ in expected}
    await vacuum.compact(volume)
    result = await vacuum.commit(volume)
    assert contents(volume, IDS) == expected
    assert {id_: volume.read(id_).append_at_ns for id_ in expected} == times
    rows = rows_of(VolumePaths(tmp_path / "7.dat", tmp_path / "7.idx"), width)
    assert [row.id for row in rows] == sorted(expected)
    assert result == (False, volume.data_bytes)
    assert volume.data_bytes < before
    assert volume.revision == 0
    assert decode_superblock((tmp_path / "7.dat").read_bytes()) == Superblock(version, extra=extra)
    assert names_in(tmp_path) == ["7.dat", "7.idx"]
    needles = volume.needles
    assert (needles.file_count, needles.deleted_count, needles.deleted_bytes) == (9, 0, 0)
    await volume.close()


@pytest.mark.parametrize("width", WIDTHS)
async def test_the_new_files_are_those_of_existing_servers_byte_for_byte(width: int, tmp_path: Path) -> None:
    directory = copy_volume("vacuum_before", tmp_path, width)
    volume = open_volume(directory, "10", width=width)
    volume.id = 10  # type: ignore[misc]
    await vacuum.compact(volume)
    for suffix in (".cpd", ".cpx"):
        recorded = (RECORDED / "vacuum_uncommitted" / f"10{suffix}").read_bytes()
        expected = widened(suffix, recorded) if width == 5 else recorded
        assert (directory / f"10{suffix}").read_bytes() == expected
    await vacuum.cleanup(volume)
    assert names_in(directory) == ["10.dat", "10.idx", "10.vif"]
    await volume.close()


@pytest.mark.parametrize("width", WIDTHS)
async def test_what_is_written_between_compact_and_commit_survives(width: int, tmp_path: Path) -> None:
    volume = new_volume(tmp_path, width=width)
    expected = fill(volume)
    await vacuum.compact(volume)
    put(volume, 1, b"one, overwritten meanwhile")
    put(volume, 11, b"new")
    put(volume, 12, b"new and gone")
    volume.try_delete(12, COOKIE)
    volume.try_delete(2, COOKIE)
    put(volume, 13, b"")
    expected |= {1: b"one, overwritten meanwhile", 11: b"new", 13: b""}
    del expected[2]
    await vacuum.commit(volume)
    assert contents(volume, IDS) == expected
    # 9 compacted, 5 caught up with, deletions included.
    assert (volume.needles.file_count, volume.needles.deleted_count) == (14, 3)
    await volume.close()
    again = open_volume(tmp_path, width=width)
    assert contents(again, IDS) == expected
    assert again.needles.file_count == 12
    with pytest.raises(VolumeError, match="mismatching cookie"):
        again.try_write(Needle(13, COOKIE + 1, b"x", checksum=crc32c(b"x")))
    await again.close()


async def test_a_volume_without_a_row_at_compact_keeps_what_is_written_before_commit(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    await vacuum.compact(volume)
    put(volume, 1, b"first")
    assert (await vacuum.commit(volume)).data_bytes == volume.data_bytes
    assert contents(volume, IDS) == {1: b"first"}
    put(volume, 2, b"second")
    await volume.close()


async def test_commit_without_compact_is_refused_and_the_volume_goes_on(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    expected = fill(volume)
    for prepare in (_nothing, vacuum.cleanup, _compact_and_cleanup, _compact_and_lose_the_index):
        await prepare(volume)
        with pytest.raises(VolumeError, match=r"volume 7 compact swap aborted: missing .cpd/.cpx"):
            await vacuum.commit(volume)
        assert contents(volume, IDS) == expected
        put(volume, 50, b"still written")
        volume.try_delete(50, COOKIE)
        assert names_in(tmp_path) == ["7.dat", "7.idx"]
    await volume.close()


async def _nothing(volume: Volume) -> None:
    pass


async def _compact_and_cleanup(volume: Volume) -> None:
    await vacuum.compact(volume)
    await vacuum.cleanup(volume)


async def _compact_and_lose_the_index(volume: Volume) -> None:
    await vacuum.compact(volume)
    (volume.data_directory / "7.cpx").unlink()


async def test_a_second_compact_begins_anew_and_a_second_commit_is_refused(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    expected = fill(volume)
    await vacuum.compact(volume)
    put(volume, 20, b"between")
    await vacuum.compact(volume)
    await vacuum.commit(volume)
    with pytest.raises(VolumeError, match=r"missing \.cpd"):
        await vacuum.commit(volume)
    assert contents(volume, IDS) == expected | {20: b"between"}
    assert volume.revision == 1
    await volume.close()


async def test_of_two_at_once_the_second_does_nothing(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    fill(volume)
    first = asyncio.create_task(vacuum.compact(volume))
    await asyncio.sleep(0)
    assert volume.is_compacting
    await vacuum.compact(volume)
    assert volume.is_compacting
    with pytest.raises(VolumeError, match="is compacting"):
        await vacuum.cleanup(volume)
    assert (await vacuum.commit(volume)).data_bytes == volume.data_bytes
    assert volume.revision == 0
    await first
    await asyncio.gather(vacuum.commit(volume), vacuum.commit(volume))
    assert volume.revision == 1
    await volume.close()


async def test_an_index_that_was_changed_from_outside_takes_no_needle_with_it(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    expected = fill(volume)
    whole = volume.index_path.read_bytes()
    shorter, other = whole[: -ROW_BYTES[4]], whole[: ROW_BYTES[4]] * (len(whole) // ROW_BYTES[4])
    cut = rf"index of volume 7 has {len(shorter)} bytes, but {len(whole)} were written"
    unexpected = r"volume 7 unexpected new data size: \d+ does not match size of content minus deleted: \d+"
    for content, refused in ((shorter, cut), (other, unexpected)):
        volume.index_path.write_bytes(content)
        with pytest.raises(VolumeError, match=refused):
            await vacuum.compact(volume)
    volume.index_path.write_bytes(whole)
    await vacuum.compact(volume)
    volume.index_path.write_bytes(shorter)
    with pytest.raises(VolumeError, match=cut):
        await vacuum.commit(volume)
    assert contents(volume, IDS) == expected
    assert names_in(tmp_path) == ["7.dat", "7.idx"]
    await volume.close()


class _Closings(Files):
    """Which thread closed files that nobody can open any more, by inode."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def close(self, fd: int) -> None:
        status = os.fstat(fd)
        if not status.st_nlink:
            self.seen.append((status.st_ino, threading.get_ident()))
        super().close(fd)


async def test_the_event_loop_is_not_the_last_to_let_go_of_the_old_file(tmp_path: Path) -> None:
    files = _Closings()
    volume = new_volume(tmp_path, files=files)
    fill(volume)
    old = (tmp_path / "7.dat").stat().st_ino
    await vacuum.compact(volume)
    await vacuum.commit(volume)
    threads = [thread for inode, thread in files.seen if inode == old]
    assert len(threads) == 2
    assert threads[1] != threading.get_ident()
    await volume.close()


async def test_a_server_that_stops_commits_nothing(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    await vacuum.compact(volume)
    with pytest.raises(VolumeError, match="volume id 7 skips compact because volume is stopping"):
        await vacuum.commit(volume, stopping=True)
    await volume.close()


async def test_needles_go_when_their_own_time_is_over_and_not_before(tmp_path: Path) -> None:
    clock = Clock()
    volume = new_volume(tmp_path, clock=clock)
    for id_, flags in ((1, HAS_TTL | HAS_LAST_MODIFIED), (2, HAS_TTL), (3, HAS_LAST_MODIFIED)):
        volume.try_write(
            Needle(id_, COOKIE, b"x", flags, ttl=parse_ttl("5m"), last_modified=1, checksum=crc32c(b"x"))
        )
    clock.now_ns += 4 * MINUTE_NS
    await vacuum.compact(volume)
    await vacuum.commit(volume)
    assert sorted(contents(volume, IDS)) == [1, 2, 3]
    clock.now_ns += 2 * MINUTE_NS
    await vacuum.compact(volume)
    await vacuum.commit(volume)
    assert sorted(contents(volume, IDS)) == [2, 3]
    await volume.close()


@pytest.mark.parametrize("content", [b"small", bytes(range(256)) * (5 << 12)])
async def test_damaged_records_stay_behind_and_older_checksums_become_plain(
    content: bytes, tmp_path: Path
) -> None:
    plain = Plain.new()
    offsets = {id_: plain.put(id_, content + b"%d" % id_) for id_ in range(1, 5)}
    plain.data[offsets[2] + 20] ^= 1
    plain.data[offsets[3] + 15] ^= 1
    tail = offsets[4] + len(content) + 16 + 4 + 1 + 3
    plain.data[tail : tail + 4] = masked(crc32c(content + b"4")).to_bytes(4, "big")
    paths = plain.write(tmp_path)
    assert contents_of(VolumePaths(paths.data, _only(paths, 4)))[4] == content + b"4"
    volume = open_volume(tmp_path)
    await vacuum.compact(volume)
    await vacuum.commit(volume)
    assert contents(volume, IDS) == {1: content + b"1", 4: content + b"4"}
    assert crc32c(content + b"4").to_bytes(4, "big") in paths.data.read_bytes()[-32:]
    await volume.close()


def _only(paths: VolumePaths, id_: int) -> Path:
    """An index with the row of one needle alone."""
    alone = paths.index.with_suffix(".one")
    row = paths.index.read_bytes()[(id_ - 1) * ROW_BYTES[4] : id_ * ROW_BYTES[4]]
    alone.write_bytes(row)
    return alone


async def test_a_fault_of_the_disk_is_no_damaged_record(tmp_path: Path) -> None:
    class _Faulty(Files):
        def pread(self, fd: int, length: int, offset: int) -> bytes:
            if offset == 8:
                raise OSError(5, "injected")
            return super().pread(fd, length, offset)

    plain = Plain.new()
    plain.put(1, b"first")
    plain.put(2, b"second")
    plain.write(tmp_path)
    volume = open_volume(tmp_path, files=_Faulty())
    with pytest.raises(OSError, match="injected"):
        await vacuum.compact(volume)
    assert contents(volume, range(2, 3)) == {2: b"second"}
    assert names_in(tmp_path) == ["7.dat", "7.idx"]
    await volume.close()


def _far_apart(directory: Path) -> list[int]:
    """Three needles of a batch each, so far from each other that each is worth a report."""
    offsets = [8, vacuum.REPORT_BYTES + 16, 3 * vacuum.REPORT_BYTES]
    plain = Plain.new()
    paths = plain.write(directory)
    with paths.data.open("r+b") as data:
        for id_, offset in enumerate(offsets, start=1):
            record = Plain.new()
            record.data.clear()
            record.put(id_, bytes(BATCH_BYTES), row=False)
            data.seek(offset)
            data.write(record.data)
            plain.row(id_, offset, 4 + BATCH_BYTES + 3)
    paths.index.write_bytes(plain.index)
    return offsets


async def test_progress_is_told_by_offset(tmp_path: Path) -> None:
    offsets = _far_apart(tmp_path)
    volume = open_volume(tmp_path)
    told: list[int] = []

    async def tell(offset: int) -> None:
        told.append(offset)

    await vacuum.compact(volume, progress=tell)
    assert told == offsets[1:]
    await vacuum.commit(volume)
    assert sorted(contents(volume, range(1, 5))) == [1, 2, 3]
    await volume.close()


async def test_a_failed_report_stops_a_compaction(tmp_path: Path) -> None:
    _far_apart(tmp_path)
    volume = open_volume(tmp_path)

    async def refuse(offset: int) -> None:
        raise ConnectionError("gone")

    with pytest.raises(VolumeError, match="interrupted"):
        await vacuum.compact(volume, progress=refuse)
    assert names_in(tmp_path) == ["7.dat", "7.idx"]
    assert not volume.is_compacting
    await volume.close()


async def test_a_compaction_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    _far_apart(tmp_path)
    volume = open_volume(tmp_path)

    begun = asyncio.Event()

    async def hang(offset: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(vacuum.compact(volume, progress=hang))
    await begun.wait()
    assert "7.cpd" in names_in(tmp_path)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert names_in(tmp_path) == ["7.dat", "7.idx"]
    assert not volume.is_compacting
    await volume.close()


async def test_too_little_space_is_said_with_figures(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    with pytest.raises(VolumeError, match="insufficient free space for compaction: need 1152921504606846976"):
        await vacuum.compact(volume, preallocate=1 << 60)
    assert not volume.is_compacting
    await volume.close()


async def test_reads_and_writes_go_on_while_both_run(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    expected = {}
    for id_ in range(1, 3_000):
        expected[id_] = b"%d" % id_ * 20
        put(volume, id_, expected[id_])
    for id_ in range(1, 3_000, 2):
        volume.try_delete(id_, COOKIE)
        del expected[id_]
    slices = [volume.read_around(2)[1]]
    running = asyncio.create_task(_compact_and_commit(volume))
    turns = waited = 0
    while not running.done():
        turns += 1
        content = b"meanwhile %d" % turns
        needle = Needle(3_000 + turns, COOKIE, content, checksum=crc32c(content))
        if turns % 7 == 0:
            await volume.write(needle, durable=True)
        elif volume.try_write(needle) is None:
            waited += 1
            await volume.write(needle)
        expected[3_000 + turns] = content
        probe = 2 + 2 * (turns % 1_000)
        if probe in expected:
            assert volume.read(probe).data == expected[probe]
            slices.append(volume.read_around(probe)[1])
        await asyncio.sleep(0)
    await running
    assert turns > 10
    assert contents(volume, range(1, 3_001 + turns)) == expected
    for one in slices:
        assert one.read(0, 3)
        one.release()
    await volume.close()
    again = open_volume(tmp_path)
    assert contents(again, range(1, 3_001 + turns)) == expected
    await again.close()


async def _compact_and_commit(volume: Volume) -> None:
    await vacuum.compact(volume)
    await vacuum.commit(volume)


async def test_an_unfinished_swap_is_finished_by_the_next_vacuum(tmp_path: Path) -> None:
    files = FailingSteps()
    volume = new_volume(tmp_path, files=files)
    expected = fill(volume)
    await vacuum.compact(volume)
    files.before = raise_at("rename .cpx")
    with pytest.raises(SwapUnfinished):
        await vacuum.commit(volume)
    files.before = lambda name: None
    assert names_in(tmp_path) == ["7.cpc", "7.cpx", "7.dat", "7.idx"]
    with pytest.raises(VolumeError, match="volume 7: refusing cleanup while commit marker present"):
        await vacuum.cleanup(volume)
    put(volume, 20, b"into the new files")
    await vacuum.compact(volume)
    assert names_in(tmp_path) == ["7.cpd", "7.cpx", "7.dat", "7.idx"]
    await vacuum.commit(volume)
    assert contents(volume, IDS) == expected | {20: b"into the new files"}
    assert volume.revision == 2
    await volume.close()
    again = open_volume(tmp_path)
    assert contents(again, IDS) == expected | {20: b"into the new files"}
    await again.close()


async def test_a_marker_that_cannot_be_taken_back_ends_writing(tmp_path: Path) -> None:
    files = FailingSteps()
    volume = new_volume(tmp_path, files=files)
    expected = fill(volume)
    await vacuum.compact(volume)
    files.before = raise_at("rename .cpd", "remove .cpc", "remove .cpd")
    with pytest.raises(VolumeError, match="cannot be removed"):
        await vacuum.commit(volume)
    files.before = lambda name: None
    assert volume.no_write_or_delete
    assert contents(volume, IDS) == expected
    await vacuum.compact(volume)
    assert not (tmp_path / "7.cpc").exists()
    await volume.close()


async def test_the_garbage_ratio_is_that_of_sizes(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    assert vacuum.garbage_ratio(volume) == 0.0
    put(volume, 1, b"x" * 96)
    put(volume, 2, b"x" * 196)
    volume.try_delete(1, COOKIE)
    sizes = [96 + 4 + 3, 196 + 4 + 3]
    assert vacuum.garbage_ratio(volume) == sizes[0] / sum(sizes)
    await volume.close()


def test_a_copy_is_paused_for_what_went_too_fast() -> None:
    now = [0.0]
    pace = Pace(1_000, lambda: now[0])
    assert pace.pause_s(50) == 0.0
    now[0] = 0.05
    assert pace.pause_s(100) == 0.0
    now[0] = 0.25
    assert pace.pause_s(350) == 0.25
    now[0] = 0.6
    assert pace.pause_s(50) == 0.0
    assert Pace(0, lambda: now[0]).pause_s(1 << 40) == 0.0


@pytest.mark.parametrize(("width", "found"), [(4, True), (5, False)])
def test_a_record_beyond_the_reach_of_its_row_is_found_one_wrap_further(
    width: int, tmp_path: Path, *, found: bool
) -> None:
    plain = Plain.new(width=width)
    plain.put(1, b"at the place that the row says")
    beyond = Plain.new()
    beyond.data.clear()
    beyond.put(2, b"beyond", row=False)
    paths = plain.write(tmp_path)
    with paths.data.open("r+b") as data:
        data.seek(OFFSETS_BYTES[4] + 8)
        data.write(beyond.data)
        data.flush()
        records = OldRecords(Files(), data.fileno(), 3, width)
        row = Row(2, 8, 4 + len(b"beyond") + 3)
        if found:
            assert records.locate(row) == OFFSETS_BYTES[4] + 8
            assert records.verified(row, records.locate(row)).data == b"beyond"
        else:
            with pytest.raises(DamagedRecord, match="size mismatch"):
                records.locate(row)
