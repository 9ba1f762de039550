"""Writing, overwriting and deleting needles, and what is on the disk afterwards."""

import asyncio
import threading
from pathlib import Path

import pytest

from less_sync.volume.engine.errors import (
    CookieMismatch,
    NeedleDeleted,
    NeedleNotFound,
    ReadOnlyVolume,
    VolumeClosed,
    VolumeError,
    VolumeSizeExceeded,
)
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.reading import LARGE_BYTES
from less_sync.volume.engine.writing import THREAD_BYTES, Written
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import HAS_NAME, HAS_TTL, HEAD_BYTES, TAIL_BYTES_MAX, encode
from less_sync.volume.format.rows import OFFSETS_BYTES
from tests.volume.engine.making import NOW_S, Clock, counters, needle, open_volume, rows, turn_taken

WIDTHS = (4, 5)
MINUTE = 1 << 8 | 1


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("version", [1, 2, 3])
async def test_a_needle_is_on_the_disk_and_readable_when_it_is_written(
    tmp_path: Path, version: int, width: int
) -> None:
    async with open_volume(tmp_path, version=version, offset_bytes=width) as volume:
        stored = needle(5, b"content", flags=HAS_NAME)
        assert volume.try_write(stored) == Written(8, stored.size, unchanged=False)
        assert volume.data_path.read_bytes()[8:] == encode(stored, version)
        assert rows(volume) == [(5, 8, stored.size)]
        found = volume.read(5)
        assert (bytes(found.data), found.cookie, found.checksum) == (b"content", 7, crc32c(b"content"))
        assert found.append_at_ns == (stored.append_at_ns if version == 3 else 0)


async def test_the_same_content_is_not_written_again_and_keeps_its_name_and_time(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        first = needle(1, flags=HAS_NAME)
        first.name = b"old"
        volume.try_write(first)
        size_before = volume.data_bytes
        again = needle(1, last_modified=NOW_S + 100)
        assert volume.try_write(again) == Written(8, first.size, unchanged=True)
        assert volume.data_bytes == size_before
        assert (volume.read(1).name, volume.read(1).last_modified) == (b"old", NOW_S)


async def test_the_same_content_under_another_cookie_is_refused(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        volume.try_write(needle(1))
        with pytest.raises(CookieMismatch, match=r"^mismatching cookie ab$"):
            volume.try_write(needle(1, cookie=0xAB))
        assert len(rows(volume)) == 1


async def test_in_a_volume_with_a_ttl_the_same_content_is_written_again(tmp_path: Path) -> None:
    async with open_volume(tmp_path, ttl=MINUTE) as volume:
        volume.try_write(needle(1))
        written = volume.try_write(needle(1))
        assert written is not None
        assert not written.unchanged
        assert len(rows(volume)) == 2


async def test_an_overwrite_wins_counts_as_garbage_and_leaves_the_old_record(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        old = needle(1, b"old one")
        volume.try_write(old)
        new = needle(1, b"new")
        volume.try_write(new)
        assert bytes(volume.read(1).data) == b"new"
        assert counters(volume) == (2, old.size + new.size, 1, old.size)
        assert bytes(volume.read_at(8, old.size).data) == b"old one"


async def test_a_deleted_needle_keeps_its_cookie(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        volume.try_write(needle(1))
        volume.try_delete(1, 7)
        with pytest.raises(CookieMismatch):
            volume.try_write(needle(1, cookie=8))
        volume.try_write(needle(1, b"again"))
        assert bytes(volume.read(1).data) == b"again"


async def test_a_write_without_a_cookie_takes_the_old_one_if_the_caller_does_not_check(
    tmp_path: Path,
) -> None:
    async with open_volume(tmp_path) as volume:
        volume.try_write(needle(1))
        volume.try_write(needle(1, b"copy", cookie=0), check_cookie=False)
        assert (volume.read(1).cookie, bytes(volume.read(1).data)) == (7, b"copy")
        with pytest.raises(CookieMismatch):
            volume.try_write(needle(1, b"other", cookie=0))


async def test_an_empty_needle_has_a_row_of_size_0_and_can_be_read_and_deleted(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        volume.try_write(needle(1, b""))
        assert rows(volume) == [(1, 8, 0)]
        assert (volume.read(1).size, bytes(volume.read(1).data), volume.record_size(1)) == (0, b"", 0)
        assert volume.try_delete(1, 99) == 0
        assert rows(volume)[1][2] == -1
        with pytest.raises(NeedleDeleted):
            volume.read(1, deleted=True)


async def test_a_deletion_appends_a_tombstone_and_a_second_one_nothing(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        stored = needle(1)
        volume.try_write(stored)
        end = volume.data_bytes
        assert volume.try_delete(1, 7, checksum=stored.checksum) == stored.size
        tombstone = volume.read_at(end, 0)
        assert (tombstone.id, tombstone.cookie, tombstone.checksum) == (1, 7, stored.checksum)
        assert rows(volume)[1] == (1, end, -1)
        assert volume.try_delete(1, 7) == 0
        assert volume.try_delete(2, 7) == 0
        assert len(rows(volume)) == 2
        assert counters(volume) == (1, stored.size, 1, stored.size)
        with pytest.raises(NeedleDeleted, match=r"^already deleted$"):
            volume.read(1)
        assert bytes(volume.read(1, deleted=True).data) == b"data"


async def test_a_needle_that_was_never_there_is_not_found(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        with pytest.raises(NeedleNotFound, match=r"^not found$"):
            volume.read(3)


async def test_only_a_needle_without_a_ttl_takes_that_of_the_volume(tmp_path: Path) -> None:
    clock = Clock()
    async with open_volume(tmp_path, ttl=MINUTE, clock=clock) as volume:
        volume.try_write(needle(1))
        volume.try_write(needle(2, flags=HAS_TTL, ttl=3 << 8 | 1))
        assert (volume.read(1).ttl, volume.read(2).ttl) == (MINUTE, 3 << 8 | 1)
        clock.ns += 60_000_000_000
        with pytest.raises(NeedleNotFound, match=r"^not found$"):
            volume.read(1)
        assert bytes(volume.read(2).data) == b"data"


async def test_a_ttl_counts_from_the_append_and_not_from_the_time_in_the_needle(tmp_path: Path) -> None:
    clock = Clock()
    async with open_volume(tmp_path, clock=clock) as volume:
        volume.try_write(needle(1, flags=HAS_TTL, ttl=MINUTE, last_modified=NOW_S - 10_000))
        volume.try_write(needle(2, flags=HAS_TTL, ttl=MINUTE, last_modified=NOW_S + 10_000))
        clock.ns += 59_000_000_000
        assert bytes(volume.read(1).data) == b"data"
        clock.ns += 2_000_000_000
        for id in (1, 2):
            with pytest.raises(NeedleNotFound):
                volume.read(id)


async def test_a_needle_that_does_not_say_when_it_was_modified_never_expires(tmp_path: Path) -> None:
    clock = Clock()
    async with open_volume(tmp_path, clock=clock) as volume:
        timeless = needle(1, ttl=MINUTE)
        timeless.flags = HAS_TTL
        volume.try_write(timeless)
        clock.ns *= 2
        assert bytes(volume.read(1).data) == b"data"


async def test_append_times_increase_though_the_clock_stands_still_or_goes_back(tmp_path: Path) -> None:
    clock = Clock()
    async with open_volume(tmp_path, clock=clock) as volume:
        start = clock.ns
        volume.try_write(needle(1))
        volume.try_write(needle(2))
        clock.ns -= 1_000_000
        volume.try_delete(1, 7)
        assert [found.append_at_ns - start for _, found in volume.scan()] == [0, 1, 2]


async def test_below_the_reach_of_an_index_a_record_is_taken_and_at_it_only_a_deletion(
    tmp_path: Path,
) -> None:
    reach = OFFSETS_BYTES[4]
    async with open_volume(tmp_path) as volume:
        volume.data.end = reach - 8
        last = needle(1, b"x" * 40)
        assert volume.try_write(last) == Written(reach - 8, last.size, unchanged=False)
        text = f"append to volume 1 size 0 actualSize 0: Volume Size {volume.data_bytes} Exceeded {reach}"
        with pytest.raises(VolumeSizeExceeded, match=f"^{text}$"):
            volume.try_write(needle(2))
        blob = encode(other := needle(2), 3)
        with pytest.raises(VolumeSizeExceeded, match=f"^{text}$"):
            await volume.write_blob(2, other.size, blob)
        assert bytes(volume.read(1).data) == b"x" * 40
        end = volume.data_bytes
        assert volume.try_delete(1, 7) == last.size
        assert rows(volume)[1] == (1, end - reach, -1)
        volume.try_write(needle(3, b""))
        assert volume.data.size() == volume.data_bytes


async def test_a_record_one_wrap_beyond_its_row_is_found(tmp_path: Path) -> None:
    reach = OFFSETS_BYTES[4]
    async with open_volume(tmp_path) as volume:
        volume.try_write(needle(1, b"near"))
        volume.try_delete(1, 7)
        volume.data.end = reach + 8
        far = needle(2, b"far away")
        offset = volume.append_needle(far)
        volume.publish(far, offset)
        assert rows(volume)[2] == (2, 8, far.size)
        assert bytes(volume.read(2).data) == b"far away"
        found, piece = volume.read_around(2)
        assert (found.id, piece.read(0, 100)) == (2, b"far away")
        piece.release()
        with pytest.raises(CookieMismatch):
            volume.try_write(needle(2, b"", cookie=8))
        assert volume.try_write(needle(2, b"")) is not None


async def test_offsets_of_5_bytes_do_not_wrap(tmp_path: Path) -> None:
    async with open_volume(tmp_path, offset_bytes=5) as volume:
        volume.data.end = OFFSETS_BYTES[4] + 8
        volume.try_write(needle(1))
        assert rows(volume)[0].offset == OFFSETS_BYTES[4] + 8
        assert bytes(volume.read(1).data) == b"data"


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 100, THREAD_BYTES + 1])
async def test_a_record_is_built_in_the_buffer_of_its_request(
    tmp_path: Path, version: int, length: int
) -> None:
    data = bytes(index % 251 for index in range(length))
    async with open_volume(tmp_path, version=version) as volume:
        plain = needle(1, data, flags=HAS_NAME)
        plain.name = b"name"
        buffer = bytearray(HEAD_BYTES + 5) + data + bytes(TAIL_BYTES_MAX)
        start = HEAD_BYTES + 5
        plain.data = memoryview(buffer)[start : start + length]
        plain.room, plain.room_at = buffer, start
        await volume.write(plain)
        plain.room = None
        assert volume.data_path.read_bytes()[8:] == encode(plain, version)


async def test_large_data_is_written_and_read_around_outside_of_the_loop(tmp_path: Path) -> None:
    data = b"z" * (LARGE_BYTES + 1)
    async with open_volume(tmp_path) as volume:
        stored = needle(1, data)
        assert volume.try_write(stored) is None
        await volume.write(stored)
        assert volume.record_size(1) > LARGE_BYTES
        found, piece = volume.read_around(1)
        assert (found.checksum, found.last_modified, piece.length) == (crc32c(data), NOW_S, len(data))
        assert await asyncio.to_thread(piece.read, LARGE_BYTES, 100) == b"z"
        piece.release()


class _LoopReads(Files):
    """How much of the data file was read at once on the thread that made this."""

    def __init__(self) -> None:
        self.most = 0
        self._loop = threading.get_ident()

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        if threading.get_ident() == self._loop:
            self.most = max(self.most, length)
        return super().pread(fd, length, offset)


async def test_large_data_is_compared_with_what_is_there_outside_of_the_loop(tmp_path: Path) -> None:
    files, data = _LoopReads(), b"z" * (2 * LARGE_BYTES + 1)
    async with open_volume(tmp_path, files=files) as volume:
        await volume.write(needle(1, data))
        assert (await volume.write(needle(1, data))).unchanged
        assert (await volume.write(needle(1, data), durable=True)).unchanged
        size = volume.record_size(1)
        blob = volume.read_blob(8, size)
        files.most = 0
        assert (await volume.write_blob(1, size, blob)).unchanged
        same_sum = needle(1, data[:-1] + b"y", checksum=crc32c(data))
        assert not (await volume.write(same_sum)).unchanged
        assert not (await volume.write(needle(1, data))).unchanged
        assert volume.try_write(needle(1, b"small")) is not None
        assert not (await volume.write_blob(1, size, blob)).unchanged
        assert files.most < THREAD_BYTES
        assert bytes(volume.read(1).data) == data


@pytest.mark.parametrize("length", [10, THREAD_BYTES + 1])
async def test_writers_of_one_id_at_once_leave_one_of_their_needles(tmp_path: Path, length: int) -> None:
    async with open_volume(tmp_path) as volume:
        contents = [bytes([number]) * length for number in range(20)]
        await asyncio.gather(*(volume.write(needle(1, content)) for content in contents))
        assert bytes(volume.read(1).data) in contents
        assert [bytes(found.data) for _, found in volume.scan()] == contents
        assert counters(volume)[::2] == (20, 19)


async def test_a_reader_sees_the_old_or_the_new_while_a_large_needle_is_overwritten(tmp_path: Path) -> None:
    old, new = b"a" * (THREAD_BYTES + 1), b"b" * (THREAD_BYTES + 1)
    async with open_volume(tmp_path) as volume:
        await volume.write(needle(1, old))
        writing = asyncio.create_task(volume.write(needle(1, new)))
        seen = set[frozenset[int]]()
        while not writing.done():
            seen.add(frozenset(bytes(volume.read(1).data)))
            await asyncio.sleep(0)
        await writing
        assert seen <= {frozenset(b"a"), frozenset(b"b")}
        assert bytes(volume.read(1).data) == new


async def test_whoever_finds_the_turn_taken_waits_in_order(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        async with volume.turn:
            assert volume.try_write(needle(1)) is None
            assert volume.try_delete(1, 7) is None
            writes = [asyncio.create_task(volume.write(needle(id))) for id in (1, 2, 3)]
            await asyncio.sleep(0)
            assert rows(volume) == []
            writes[1].cancel()
        await asyncio.wait(writes)
        assert [row.id for row in rows(volume)] == [1, 3]
        assert not volume.turn.held


async def test_a_cancelled_writer_of_large_data_leaves_the_volume_whole(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        writing = asyncio.create_task(volume.write(needle(1, b"c" * (1 << 22))))
        await turn_taken(volume)
        writing.cancel()
        await asyncio.wait({writing})
        assert writing.cancelled()
        assert not volume.turn.held
        volume.try_write(needle(2))
        assert [found.id for _, found in volume.scan()] == [row.id for row in rows(volume)] == [1, 2]


async def test_a_read_only_volume_takes_no_writes_and_a_closed_one_nothing(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        volume.try_write(needle(1))
        volume.no_write_can_delete = True
        with pytest.raises(ReadOnlyVolume, match=r"^volume 1 is read only$"):
            volume.try_write(needle(2))
        assert volume.try_delete(1, 7)
        volume.no_write_can_delete, volume.location.is_low = False, True
        with pytest.raises(ReadOnlyVolume):
            await volume.write(needle(2), durable=True)
        volume.location.is_low, volume.no_write_or_delete = False, True
        with pytest.raises(ReadOnlyVolume):
            volume.try_delete(1, 7)
        volume.no_write_or_delete = False
        await volume.close()
        with pytest.raises(VolumeClosed, match=r"^volume 1 is closed$"):
            volume.try_write(needle(2))
        with pytest.raises(NeedleNotFound):
            volume.read(1)
        with pytest.raises(VolumeClosed, match=r"^volume 1 is closed$"):
            volume.try_delete(1, 7)


async def test_a_blob_of_another_server_is_appended_with_a_time_of_its_own(tmp_path: Path) -> None:
    clock = Clock()
    async with open_volume(tmp_path, clock=clock) as volume:
        copied = needle(1, b"copied", append_at_ns=5)
        blob = encode(copied, 3)
        written = await volume.write_blob(9, copied.size, blob)
        assert written == Written(8, copied.size, unchanged=False)
        found = volume.read(9)
        assert (found.id, bytes(found.data), found.append_at_ns) == (1, b"copied", clock.ns)
        assert rows(volume) == [(9, 8, copied.size)]
        assert (await volume.write_blob(9, copied.size, blob)).unchanged
        other = encode(needle(1, b"COPIED"), 3)
        assert not (await volume.write_blob(9, copied.size, other)).unchanged


async def test_a_blob_that_is_no_record_of_its_size_is_refused(tmp_path: Path) -> None:
    blob = encode(needle(1, b"copied"), 3)
    size = int.from_bytes(blob[12:16], "big")
    async with open_volume(tmp_path) as volume:
        for given, length, text in (
            (size, 15, "needle 4 blob of 15 bytes is shorter than a needle header"),
            (9, len(blob), f"needle 4 size 9 does not match its blob header size {size}"),
            (size, 20, f"needle blob buffer too small: need {len(blob)} bytes, have 20"),
        ):
            with pytest.raises(VolumeError, match=f"^{text}$"):
                await volume.write_blob(4, given, blob[:length])
        with pytest.raises(VolumeError, match="longer than its record"):
            await volume.write_blob(4, size, blob + bytes(8))
        volume.needles.counters.content_bytes = OFFSETS_BYTES[4]
        limit = OFFSETS_BYTES[4]
        with pytest.raises(
            VolumeError, match=f"^volume size limit {limit} exceeded! current size is {limit}$"
        ):
            await volume.write_blob(4, size, blob)
        volume.no_write_or_delete = True
        with pytest.raises(ReadOnlyVolume):
            await volume.write_blob(4, size, blob)
        assert rows(volume) == []
