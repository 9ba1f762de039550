"""What a walk of a folder finds, what it names and skips, and when a stat proves nothing."""

import itertools
import os
import tempfile
import unicodedata
from pathlib import Path

import pytest

from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.scan import FILE_BYTES_MAX, is_fresh, is_unchanged, scan_folder, stamp_of
from less_sync.client.folder.walk import FileStat

SECOND = 1_000_000_000
DECOMPOSED = unicodedata.normalize("NFD", "\u00e9")


def test_files_are_found_below_folders_and_the_state_is_left_out(tmp_path: Path) -> None:
    for path in ("a", "b/c/d", ".hidden", "b/.less-sync/x", ".less-sync/state.db"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    scan = scan_folder(tmp_path)
    assert sorted(scan.files) == [".hidden", "a", "b/c/d"]
    assert scan.skipped == {}
    assert scan.files["a"].stat.size == 1


def test_what_cannot_be_synced_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "new\nline").write_text("")
    (tmp_path / os.fsdecode(b"latin-\xe9")).write_text("")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with (tmp_path / "fits!").open("wb") as file:
        file.truncate(FILE_BYTES_MAX)
    scan = scan_folder(tmp_path)
    assert list(scan.files) == ["fits!"]
    assert {path: reason.split(":")[0] for path, reason in scan.skipped.items()} == {
        "new\nline": "the name has control characters",
        "latin-\udce9": "the name is not valid UTF-8",
        "large": "too large",
    }
    assert scan.left_out == {}


def test_links_and_special_files_are_left_out_and_nothing_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    scan = scan_folder(tmp_path)
    assert (list(scan.files), scan.skipped) == (["file"], {})
    assert scan.left_out == {"link": "symbolic links are not synced", "pipe": "it is no regular file"}


def test_names_that_look_alike_on_a_terminal_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a\n").touch()
    (tmp_path / "a\\n").touch()
    scan = scan_folder(tmp_path)
    assert (list(scan.files), list(scan.skipped)) == (["a\\n"], ["a\n"])
    assert scan.covers("a\n")


def test_names_are_synced_in_one_unicode_form(tmp_path: Path) -> None:
    (tmp_path / DECOMPOSED).touch()
    scan = scan_folder(tmp_path)
    assert {path: found.raw for path, found in scan.files.items()} == {"\u00e9": DECOMPOSED}
    assert scan.skipped == {}


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        ([DECOMPOSED, "\u00e9"], "\u00e9"),
        # The last one is NFC of neither: dot above and below in both orders.
        (["q\u0307\u0323", "q\u0323\u0307"], "q\u0323\u0307"),
        (["a\u0301\u0323", "\u00e1\u0323", "a\u0323\u0301"], "a\u0301\u0323"),
    ],
)
def test_of_one_name_in_several_unicode_forms_one_is_synced_and_the_others_are_named(
    tmp_path: Path, names: list[str], counts: str
) -> None:
    path = unicodedata.normalize("NFC", names[0])
    for order in itertools.permutations(names):
        root = Path(tempfile.mkdtemp(dir=tmp_path))
        for name in order:
            (root / name).write_text(name)
        scan = scan_folder(root)
        assert [(path, found.raw) for path, found in scan.files.items()] == [(path, counts)]
        assert scan.skipped.keys() == set(names) - {counts}
        assert scan.covers(path)


def test_folders_and_files_whose_names_differ_in_form_alone_are_one_name_too(tmp_path: Path) -> None:
    for folder in ("\u00e9", DECOMPOSED):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"in {len(folder)}").touch()
    (tmp_path / "sub" / f"{DECOMPOSED}2").mkdir(parents=True)
    (tmp_path / "sub" / "\u00e92").touch()
    scan = scan_folder(tmp_path)
    assert scan.files.keys() == {"\u00e9/in 1", "sub/\u00e92"}
    assert scan.skipped.keys() == {DECOMPOSED, f"sub/{DECOMPOSED}2"}
    assert scan.covers("\u00e9/in 2"), "it may have been synced from the folder that counts no more"


def test_absence_below_what_is_passed_over_means_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    scan = scan_folder(tmp_path)
    assert scan.covers("link/below/x")
    assert scan.covers("link")
    assert not scan.covers("linked")
    assert not scan.covers("")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="cannot read"):
        scan_folder(tmp_path / "none")


def test_an_equal_stat_proves_nothing_within_the_tick_it_was_taken_in() -> None:
    found = FileStat(5, SECOND + 7, 10 * SECOND + 7, 3)
    assert not is_unchanged(None, found)
    assert not is_unchanged(stamp_of(found, 10 * SECOND + 8), found)
    assert is_unchanged(stamp_of(found, 11 * SECOND), found)
    for other in ({"size": 6}, {"mtime_ns": 0}, {"ctime_ns": 1}, {"inode": 4}):
        assert not is_unchanged(stamp_of(found, 11 * SECOND), found._replace(**other))


def test_disks_with_whole_seconds_have_long_ticks() -> None:
    found = FileStat(5, SECOND, 10 * SECOND, 3)
    assert is_fresh(found, 11 * SECOND)
    assert not is_fresh(found, 13 * SECOND)
    assert not is_fresh(found._replace(mtime_ns=SECOND + 1), 11 * SECOND)
