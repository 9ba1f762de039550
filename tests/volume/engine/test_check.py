"""What a check of a directory finds, and that it changes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from less_sync.volume.engine.check import DAMAGED_NAMED_MAX, Checked, bytes_in, check_directory
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.recovery import VolumePaths, recover
from tests.volume.engine.plain_volume import Plain
from tests.volume.volume_files import INDEX, WIDTHS, copy_volume

ORDERLY = {
    "crash/cp_orphans",
    "crash/idx_sorted",
    "crash/idx_zero_entry",
    "crash/ok",
    "crash/vif_empty",
    "crash/vif_missing",
    "crash/vif_old",
    "crash/vif_readonly",
    "ec_10_4",
    "vacuum_uncommitted",
}
"""Of the damaged volumes and of those in the middle of something."""


class _ReadOnlyFiles(Files):
    """Whatever changes something fails."""

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        """For reading alone."""
        assert flags == os.O_RDONLY
        return super().open(path, flags, mode)


def _check(directory: Path, files: Files | None = None) -> dict[str, Checked]:
    found = check_directory(files or _ReadOnlyFiles(), directory, pause_s=0)
    return {checked.name: checked for checked in found}


def _content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", sorted(INDEX))
def test_of_each_recorded_volume_it_says_whether_something_is_wrong(
    name: str, width: int, tmp_path: Path
) -> None:
    directory = copy_volume(name, tmp_path, width)
    before = _content(directory)
    (checked,) = _check(directory).values()
    damaged = "crash/" in name or name.startswith("vacuum_") or name == "superblock_extra"
    half_done = name not in {"vacuum_before", "vacuum_after"} and damaged
    expected = (half_done and name not in ORDERLY) or name == "alloc_version_2_mismatch"
    if name == "crash/vif_bo5" and width == 5:
        expected = False  # There it states the truth.
    assert bool(checked.wrong) is expected, checked
    assert _content(directory) == before


@pytest.mark.parametrize(
    "name", [name for name, vector in INDEX.items() if "recovered" in vector and "crc_bad" not in name]
)
def test_after_the_repair_that_it_foretells_nothing_is_wrong(name: str, tmp_path: Path) -> None:
    directory = copy_volume(name, tmp_path)
    (before,) = _check(directory).values()
    assert len(before.wrong) == len(before.repairs)
    recover(
        Files(), VolumePaths(directory / "1.dat", directory / "1.idx"), version=3, width=4, start=8, now_s=1
    )
    (after,) = _check(directory).values()
    assert not after.wrong
    assert (after.needles, after.content_bytes) == (before.needles, before.content_bytes)


def test_a_lone_data_file_is_named(tmp_path: Path) -> None:
    Plain.new().write(tmp_path, "9").index.unlink()
    Plain.new().write(tmp_path, "not a volume")
    (tmp_path / "sub.idx").mkdir()
    found = _check(tmp_path)
    assert list(found) == ["9.dat", "not a volume.dat"]
    assert not found["not a volume.dat"].wrong
    assert "no server sees it" in found["9.dat"].wrong[0]


def test_a_flipped_bit_anywhere_in_live_data_is_found(tmp_path: Path) -> None:
    plain = Plain.new()
    small = plain.put(1, b"small")
    large = plain.put(2, bytes(range(256)) * (6 << 12))
    dead = plain.put(3, b"overwritten")
    plain.put(3, b"newer")
    paths = plain.write(tmp_path)
    for at, names in ((small + 21, ["needle 1"]), (large + (4 << 20), ["needle 2"]), (dead + 21, [])):
        damaged = bytearray(plain.data)
        damaged[at] ^= 0x10
        paths.data.write_bytes(damaged)
        (checked,) = _check(tmp_path).values()
        assert [text.partition(" at ")[0] for text in checked.wrong] == names
        assert bool(checked.notes) is not bool(names)


def test_of_many_damaged_needles_some_are_named_and_all_counted(tmp_path: Path) -> None:
    plain = Plain.new()
    for id_ in range(1, 51):
        at = plain.put(id_, b"content")
        plain.data[at + 21] ^= 1
    plain.write(tmp_path)
    (checked,) = _check(tmp_path).values()
    assert (checked.damaged, len(checked.wrong)) == (50, DAMAGED_NAMED_MAX + 1)
    assert checked.wrong[-1] == "and 30 more needles"


def test_rows_that_overlap_or_point_at_another_needle_are_found(tmp_path: Path) -> None:
    plain = Plain.new()
    first = plain.put(1, b"content")
    plain.put(2, b"content")
    plain.row(3, first, 4 + 7 + 3)
    plain.write(tmp_path)
    (checked,) = _check(tmp_path).values()
    assert any("needle 3" in text and "lies within" in text for text in checked.wrong)
    plain = Plain.new()
    plain.row(5, plain.put(4, b"content", row=False), 4 + 7 + 3)
    plain.write(tmp_path)
    (checked,) = _check(tmp_path).values()
    assert checked.wrong == ["needle 5 at 8: the record there is that of needle 4"]


def test_a_read_only_volume_is_told_that_nothing_is_repaired(tmp_path: Path) -> None:
    directory = copy_volume("crash/vif_readonly", tmp_path)
    with (directory / "1.idx").open("ab") as index:
        index.write(b"half")
    (checked,) = _check(directory).values()
    assert checked.wrong == ["the index ends in half a row"]
    assert checked.repairs == ["repair nothing: the volume is marked read-only"]


def test_what_a_server_writes_meanwhile_is_no_damage(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"first")
    paths = plain.write(tmp_path)

    class _Meanwhile(_ReadOnlyFiles):
        """Between the sizes of index and data another needle is written."""

        def __init__(self) -> None:
            self.written = 1

        def size(self, fd: int) -> int:
            found = super().size(fd)
            if self.written < 3:
                self.written += 1
                plain.put(self.written, b"meanwhile")
                plain.write(tmp_path)
            return found

    (checked,) = _check(tmp_path, _Meanwhile()).values()
    assert not checked.wrong
    assert paths.index.stat().st_size == 3 * 16


@pytest.mark.parametrize("count", [0, 3])
def test_progress_comes_to_the_size_of_the_files(count: int, tmp_path: Path) -> None:
    plain = Plain.new()
    for id_ in range(count):
        plain.put(id_ + 1, b"x" * 100)
    plain.write(tmp_path)
    told: list[int] = []
    advance: Callable[[int], None] = told.append
    list(check_directory(Files(), tmp_path, advance=advance))
    assert sum(told) == bytes_in(tmp_path) - 8
