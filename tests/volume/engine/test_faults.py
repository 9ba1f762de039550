"""What a failing disk does to reads, writes and deletions that are not durable."""

import errno
from pathlib import Path

import pytest

from less_sync.volume.engine.errors import (
    DamagedRecord,
    NeedleNotFound,
    ReadOnlyVolume,
    VolumeError,
    WriteFailed,
)
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.needle import HEADER_BYTES
from tests.volume.engine.making import FailingFiles, needle, open_store, open_volume, rows


def _spoil(volume: Volume, offset: int, content: bytes) -> None:
    """Write over a part of the data file."""
    with volume.data_path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize("taken", [0, 10])
async def test_a_record_without_room_is_cut_off(tmp_path: Path, taken: int) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1))
        end = volume.data.size()
        files.faults.append(("pwrite", ".dat", taken))
        text = r"^append to volume 1 size 4 actualSize 48: \[Errno 28\] no space left on device$"
        with pytest.raises(WriteFailed, match=text):
            volume.try_write(needle(2))
        assert (volume.data.size(), volume.data_bytes) == (end, end)
        with pytest.raises(NeedleNotFound):
            volume.read(2)
        volume.try_write(needle(3))
        assert [found.id for _, found in volume.scan()] == [1, 3]


@pytest.mark.parametrize("taken", [0, 10])
async def test_a_row_without_room_takes_its_record_with_it(tmp_path: Path, taken: int) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1))
        for write in (lambda: volume.try_write(needle(2)), lambda: volume.try_delete(1, 7)):
            files.faults.append(("pwrite", ".idx", taken))
            with pytest.raises(WriteFailed, match="needle"):
                write()
            assert [row.id for row in rows(volume)] == [1]
            assert [found.id for _, found in volume.scan()] == [1]
        assert bytes(volume.read(1).data) == b"data"
        assert not volume.read_only


@pytest.mark.parametrize("suffix", [".dat", ".idx"])
async def test_what_cannot_even_be_cut_off_ends_all_writing(tmp_path: Path, suffix: str) -> None:
    files = FailingFiles()
    async with open_store(tmp_path, files=files) as store:
        volume = await store.allocate(1)
        volume.try_write(needle(1))
        files.faults += [("pwrite", suffix, 5), ("truncate", suffix, errno.EIO)]
        with pytest.raises(WriteFailed):
            volume.try_write(needle(2))
        with pytest.raises(ReadOnlyVolume):
            volume.try_write(needle(3))
        with pytest.raises(ReadOnlyVolume):
            volume.try_delete(1, 7)
        assert bytes(volume.read(1).data) == b"data"
        await store.mark_writable(volume)
        volume.try_write(needle(3))
        assert [row.id for row in rows(volume)] == [1, 3]
        assert [found.id for _, found in volume.scan()] == [1, 3]


async def test_three_failed_reads_in_a_row_put_a_volume_in_quarantine(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_store(tmp_path, files=files) as store:
        volume = await store.allocate(1)
        volume.try_write(needle(1))
        for faults in ([errno.EIO, errno.EIO], [errno.EIO, errno.ENOMEM, errno.EIO]):
            files.faults += [("pread", ".dat", fault) for fault in faults]
            for _ in faults:
                with pytest.raises(OSError, match="the disk failed"):
                    volume.read(1)
            volume.read(1)
            assert not volume.is_quarantined
        files.faults += [("pread", ".dat", errno.EIO)] * 3
        for _ in range(3):
            with pytest.raises(OSError, match="the disk failed"):
                volume.read(1)
        assert volume.is_quarantined
        assert bytes(volume.read(1).data) == b"data"
        with pytest.raises(ReadOnlyVolume):
            volume.try_write(needle(2))
        assert store.reports() == []
        await store.mark_writable(volume)
        volume.try_write(needle(2))
        assert [report.id for report in store.reports()] == [1]


async def test_a_spoilt_record_is_told_and_harms_no_other(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        for id in (1, 2, 3, 4):
            volume.try_write(needle(id, b"content"))
        offsets = [row.offset for row in rows(volume)]
        size = rows(volume)[0].size
        _spoil(volume, offsets[0] + HEADER_BYTES + 4, b"C")
        _spoil(volume, offsets[1] + HEADER_BYTES, b"\xff\xff\xff\xff")
        _spoil(volume, offsets[2] + 12, b"\0\0\0\1")
        with pytest.raises(DamagedRecord, match=r"^invalid CRC for needle 1 \(got [0-9a-f]{8}, want "):
            volume.read(1)
        with pytest.raises(DamagedRecord, match=r"^index out of range 1: needle data corrupted$"):
            volume.read(2)
        with pytest.raises(DamagedRecord, match=r"^EOF$"):
            volume.read(3)
        for id in (2, 3):
            with pytest.raises(DamagedRecord):
                volume.read_around(id)
        assert bytes(volume.read(4).data) == b"content"
        with pytest.raises(DamagedRecord, match=r"^EOF$"):
            volume.read_at(volume.data_bytes, size)


async def test_a_spoilt_record_is_written_anew_by_the_same_content(tmp_path: Path) -> None:
    async with open_volume(tmp_path) as volume:
        volume.try_write(needle(1, b"content"))
        _spoil(volume, 8 + HEADER_BYTES + 4, b"C")
        written = volume.try_write(needle(1, b"content"))
        assert written is not None
        assert not written.unchanged
        assert bytes(volume.read(1).data) == b"content"


async def test_a_cookie_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1))
        files.faults += [("pread", ".dat", errno.EIO)] * 2
        with pytest.raises(VolumeError, match=r"^reading existing needle: .*the disk failed$"):
            volume.try_write(needle(1, b"new"))


async def test_a_flush_that_fails_is_told_once_and_is_not_repeated_as_a_success(tmp_path: Path) -> None:
    files = FailingFiles()
    async with open_volume(tmp_path, files=files) as volume:
        volume.try_write(needle(1))
        files.faults.append(("sync", ".dat", errno.EIO))
        with pytest.raises(OSError, match="the disk failed"):
            await volume.sync()
        files.calls.clear()
        await volume.sync()
        assert files.count("sync", ".dat") == 0
        volume.try_write(needle(2))
        await volume.sync()
        assert (files.count("sync", ".dat"), files.count("sync", ".idx")) == (1, 1)
