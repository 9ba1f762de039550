"""Recovery: what a crash leaves is brought back in step, and nothing whole is lost."""

import os
from pathlib import Path

import pytest

from less_sync.volume.engine.files import Files
from less_sync.volume.engine.index_head import repair_index_head
from less_sync.volume.engine.recovery import Repair, VolumePaths, recover
from less_sync.volume.format.rows import OFFSETS_BYTES, ROW_BYTES, TOMBSTONE_SIZE
from less_sync.volume.format.superblock import Superblock
from tests.volume.engine.plain_volume import Plain, contents_of, rows_of, status_of
from tests.volume.volume_files import INDEX, WIDTHS, copy_volume

RECOVERED = sorted(name for name, vector in INDEX.items() if "recovered" in vector)
SOME = b"some content that is long enough to be cut"


def _recover(paths: VolumePaths, width: int = 4, version: int = 3, files: Files | None = None) -> Repair:
    return recover(files or Files(), paths, version=version, width=width, start=8, now_s=1_000)


def _cut_files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.cut-*"))}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", RECOVERED)
def test_a_damaged_volume_reads_as_recorded_and_is_writable(name: str, width: int, tmp_path: Path) -> None:
    directory = copy_volume(name, tmp_path, width)
    paths = VolumePaths(directory / "1.dat", directory / "1.idx")
    repair = _recover(paths, width)
    assert not repair.doubt
    expected = INDEX[name]["recovered"]["status"]
    found = {fid: status_of(paths, int(fid.split(",")[1][:2], 16), width) for fid in expected}
    assert found == expected
    before = (paths.data.read_bytes(), paths.index.read_bytes())
    again = _recover(paths, width)
    assert not again.changes_anything
    assert (paths.data.read_bytes(), paths.index.read_bytes()) == before
    assert len(before[0]) % 8 == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_at_the_head_that_were_written_over_come_back_once(width: int, tmp_path: Path) -> None:
    directory = copy_volume("crash/idx_head_tombstone", tmp_path, width)
    paths = VolumePaths(directory / "1.dat", directory / "1.idx")
    for suffix in (".sdx", ".rdb"):
        paths.index.with_suffix(suffix).write_bytes(b"stale")
    assert repair_index_head(Files(), paths, version=3, width=width, start=8) == 1
    assert repair_index_head(Files(), paths, version=3, width=width, start=8) == 0
    assert rows_of(paths, width)[0][:2] == (1, 8)
    assert len(rows_of(paths, width)) == 9
    assert status_of(paths, 1, width) == 200
    assert sorted(path.name for path in directory.iterdir()) == ["1.dat", "1.idx", "1.vif"]


def test_a_needle_deleted_within_the_lost_head_does_not_come_back(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"a", row=False)
    plain.put(2, b"b", row=False)
    plain.delete(1, row=False)
    plain.put(3, b"c")
    plain.index[:0] = b"".join((plain.index[:0], *[_stray(9)] * 3))
    paths = plain.write(tmp_path)
    assert _repair_head(paths, Files()) == 1
    assert contents_of(paths) == {2: b"b", 3: b"c"}


def _stray(id_: int) -> bytes:
    plain = Plain.new()
    plain.row(id_, 0, TOMBSTONE_SIZE)
    return bytes(plain.index)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_missing_index_is_built_from_the_records(version: int, width: int, tmp_path: Path) -> None:
    plain = Plain.new(version, width)
    for id_ in range(1, 40):
        plain.put(id_, SOME * id_, row=False)
    plain.put(5, b"five again", row=False)
    plain.delete(6, row=False)
    paths = plain.write(tmp_path)
    paths.index.unlink()
    repair = _recover(paths, width, version)
    assert (repair.needles_found, repair.deletions_found, repair.index_bytes) == (40, 1, -1)
    expected = {id_: SOME * id_ for id_ in range(1, 40) if id_ != 6} | {5: b"five again"}
    assert contents_of(paths, width) == expected
    assert len(rows_of(paths, width)) == 41


@pytest.mark.parametrize("cut", range(1, 100))
def test_a_file_cut_anywhere_in_its_last_record_loses_that_record_alone(cut: int, tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    last = plain.put(2, SOME)
    length = len(plain.data) - last
    if cut >= length:
        cut = length
    padding = length - (16 + 4 + len(SOME) + 3 + 12)
    whole = bytes(plain.data)
    del plain.data[len(plain.data) - cut :]
    paths = plain.write(tmp_path)
    repair = _recover(paths)
    assert not repair.doubt
    if cut <= padding:
        assert contents_of(paths) == {1: b"first", 2: SOME}
        assert len(paths.data.read_bytes()) == len(whole)
        assert not _cut_files(tmp_path)
    else:
        assert contents_of(paths) == {1: b"first"}
        assert paths.data.read_bytes() == whole[:last]
        kept = whole[last : len(whole) - cut]
        assert _cut_files(tmp_path) == ({"7.cut-1000": kept} if kept else {})


def test_zeros_behind_the_last_record_are_cut_without_a_copy(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    end = len(plain.data)
    plain.data += bytes(3 << 20)
    paths = plain.write(tmp_path)
    assert _recover(paths).cut_bytes == 3 << 20
    assert paths.data.stat().st_size == end
    assert not _cut_files(tmp_path)


def test_a_copy_of_cut_bytes_never_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    plain.data += b"stray"
    paths = plain.write(tmp_path)
    (tmp_path / "7.cut-1000").write_bytes(b"older")
    _recover(paths)
    assert _cut_files(tmp_path) == {"7.cut-1000": b"older", "7.cut-1001": b"stray"}


def test_a_whole_record_with_a_wrong_checksum_is_not_cut(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    plain.put(2, b"second", row=False)
    damaged = plain.put(3, SOME, row=False)
    plain.put(4, b"fourth", row=False)
    plain.data[damaged + 25] ^= 1
    paths = plain.write(tmp_path)
    before = paths.data.read_bytes()
    repair = _recover(paths)
    assert str(damaged) in repair.doubt
    assert paths.data.read_bytes() == before
    assert contents_of(paths) == {1: b"first", 2: b"second"}
    assert not _recover(paths).changes_anything


def test_a_row_in_the_middle_that_points_beyond_the_end_stops_everything(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    plain.row(9, 1 << 20, 50)
    plain.put(2, b"second")
    plain.put(3, b"third", row=False)
    plain.index += b"half"
    paths = plain.write(tmp_path)
    before = paths.data.read_bytes()
    repair = _recover(paths)
    assert "points at a record" in repair.doubt
    assert paths.data.read_bytes() == before
    assert len(rows_of(paths)) == 3


def test_rows_at_the_end_without_records_go_however_many_they_are(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    for id_ in range(2, 1_002):
        plain.row(id_, 8 * (1_000 + id_), 40)
    paths = plain.write(tmp_path)
    assert _recover(paths).rows_dropped == 1_000
    assert contents_of(paths) == {1: b"first"}


def test_a_record_larger_than_the_window_is_checked_to_its_end(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, bytes(range(256)) * (3 << 12), row=False)
    end = plain.put(2, b"next", row=False)
    paths = plain.write(tmp_path)
    assert _recover(paths).needles_found == 2
    plain.data[end - 40] ^= 1
    plain.index.clear()
    paths = plain.write(tmp_path)
    repair = _recover(paths)
    assert repair.needles_found == 0
    assert repair.doubt


def test_many_rows_end_where_few_would(tmp_path: Path) -> None:
    for width in WIDTHS:
        plain = Plain.new(width=width)
        plain.put(1, SOME)
        rows = bytes(plain.index)
        plain.index *= 70_000
        plain.put(2, b"unknown to the index", row=False)
        paths = plain.write(tmp_path)
        assert _recover(paths, width).needles_found == 1
        assert len(paths.index.read_bytes()) == 70_001 * len(rows)


def test_records_behind_the_reach_of_offsets_get_no_second_row(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    beyond = Plain.new()
    offset = OFFSETS_BYTES[4] + 80
    beyond.data.clear()
    beyond.put(2, b"", row=False)
    plain.row(3, OFFSETS_BYTES[4] - 1024, 1024 + 80 - 16 - 12 - 8)
    plain.row(2, offset % OFFSETS_BYTES[4], TOMBSTONE_SIZE)
    paths = plain.write(tmp_path)
    with paths.data.open("r+b") as data:
        data.seek(offset)
        data.write(beyond.data)
    repair = _recover(paths)
    assert (repair.rows_dropped, repair.rows_added, repair.doubt) == (0, b"", "")


def test_extra_bytes_of_the_superblock_are_no_record(tmp_path: Path) -> None:
    plain = Plain.new(superblock=Superblock(3, extra=b"\x0a\x02\x08\x0a" + bytes(4)))
    plain.put(1, b"first", row=False)
    paths = plain.write(tmp_path)
    repair = recover(Files(), paths, version=3, width=4, start=16, now_s=1)
    assert repair.needles_found == 1


class _Failing(Files):
    """Fails at one of the operations that change something."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _step(self) -> None:
        self.left -= 1
        if not self.left:
            raise OSError(5, "injected")

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Half of the bytes reach the disk before the fault."""
        try:
            self._step()
        except OSError:
            super().pwrite(fd, bytes(data)[: len(data) // 2], offset)
            raise
        return super().pwrite(fd, data, offset)

    def truncate(self, fd: int, length: int) -> None:
        """Fails before it does anything."""
        self._step()
        super().truncate(fd, length)

    def sync(self, fd: int) -> None:
        """Fails before it does anything."""
        self._step()
        super().sync(fd)

    def remove(self, path: Path) -> None:
        """Fails before it does anything."""
        self._step()
        super().remove(path)

    def sync_directory(self, path: Path) -> None:
        """Fails before it does anything."""
        self._step()
        super().sync_directory(path)

    def rename(self, source: Path, target: Path) -> None:
        """Fails before it does anything."""
        self._step()
        super().rename(source, target)


def _damaged(directory: Path) -> VolumePaths:
    plain = Plain.new()
    plain.put(1, b"first")
    plain.put(2, b"second", row=False)
    plain.delete(1, row=False)
    plain.data += b"\0\0\0\1" + b"\0" * 7 + b"\5" + b"\0\1\0\0" + b"half a record"
    plain.index += b"half a row"
    return plain.write(directory)


def test_a_repair_that_fails_at_any_step_is_finished_by_the_next_start(tmp_path: Path) -> None:
    failures = 0
    for at in range(1, 60):
        directory = tmp_path / str(at)
        directory.mkdir()
        paths = _damaged(directory)
        failing = _Failing(at)
        try:
            _recover(paths, files=failing)
        except OSError:
            failures += 1
        _recover(paths)
        assert contents_of(paths) == {2: b"second"}
        assert b"half a record" in b"".join(_cut_files(directory).values())
        assert not _recover(paths).changes_anything
    assert 10 <= failures < 59


def test_an_index_head_repair_that_fails_at_any_step_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    for at in range(1, 12):
        directory = copy_volume("crash/idx_head_tombstone", tmp_path / str(at))
        paths = VolumePaths(directory / "1.dat", directory / "1.idx")
        try:
            _repair_head(paths, _Failing(at))
        except OSError:
            assert len(rows_of(paths)) in {8, 9}
        _repair_head(paths, Files())
        assert len(rows_of(paths)) == 9


def _repair_head(paths: VolumePaths, files: Files) -> int:
    return repair_index_head(files, paths, version=3, width=4, start=8)


def test_a_normal_volume_is_not_written_to(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    paths = plain.write(tmp_path)
    os.chmod(paths.data, 0o444)
    os.chmod(paths.index, 0o444)

    class _ReadOnly(Files):
        def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
            assert flags == os.O_RDONLY
            return super().open(path, flags, mode)

    assert not _recover(paths, files=_ReadOnly()).changes_anything
    assert ROW_BYTES[4] == paths.index.stat().st_size
