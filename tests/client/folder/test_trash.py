"""The trash of a folder: kept whole, found again, put back, and gone after thirty days."""

import os
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from less_sync.client.folder import refused
from less_sync.client.folder.errors import FolderError, UsageProblem
from less_sync.client.folder.state import FolderState
from less_sync.client.folder.trash import Trash
from less_sync.client.folder.walk import ChangedMeanwhile, FileStat, Obstacle, file_at

NOW = datetime(2026, 11, 26, 7, 30, tzinfo=UTC)


class Clock:
    """A wall clock that the test moves."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trash(tmp_path: Path, clock: Clock) -> Iterator[Trash]:
    made = Trash(tmp_path / "trash", now=clock)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "folder").mkdir()
    fd = os.open(tmp_path / "folder", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def write(folder: int, name: str, content: str) -> FileStat:
    with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=folder), "w") as file:
        file.write(content)
    found = file_at(folder, name)
    assert found is not None
    return found


def take(trash: Trash, folder: int, path: str, content: str) -> None:
    trash.take(folder, "x", path, expected=write(folder, "x", content))


def contents(tmp_path: Path, trash: Trash) -> list[tuple[str, str]]:
    return [(one.path, (tmp_path / "trash" / one.folder / one.path).read_text()) for one in trash.entries()]


def test_each_version_is_kept_also_within_one_second(trash: Trash, folder: int, tmp_path: Path) -> None:
    for path, content in (("a/b", "1"), ("a/b", "2"), ("a", "a file where a folder was"), ("c", "3")):
        take(trash, folder, path, content)
    assert sorted(contents(tmp_path, trash)) == [
        ("a", "a file where a folder was"),
        ("a/b", "1"),
        ("a/b", "2"),
        ("c", "3"),
    ]
    assert {one.at for one in trash.entries()} == {NOW}


def test_the_latest_comes_first(trash: Trash, folder: int, clock: Clock, tmp_path: Path) -> None:
    for content in ("1", "2", "3"):
        take(trash, folder, "a", content)
        clock.at += timedelta(seconds=1)
    assert [content for _, content in contents(tmp_path, trash)] == ["3", "2", "1"]


def test_what_is_kept_stays_in_its_place(trash: Trash, folder: int, tmp_path: Path) -> None:
    trash.keep(folder, "x", "x", expected=write(folder, "x", "1"))
    assert (tmp_path / "folder" / "x").read_text() == "1"
    assert contents(tmp_path, trash) == [("x", "1")]


def test_a_file_that_was_replaced_in_the_last_moment_is_not_taken(
    trash: Trash, folder: int, tmp_path: Path
) -> None:
    expected = write(folder, "x", "1")
    os.unlink("x", dir_fd=folder)
    write(folder, "x", "edited")
    for put in (trash.take, trash.keep):
        with pytest.raises(ChangedMeanwhile):
            put(folder, "x", "x", expected=expected)
        assert (tmp_path / "folder" / "x").read_text() == "edited"
    assert trash.entries() == []


def test_after_thirty_days_it_is_gone(trash: Trash, folder: int, clock: Clock, tmp_path: Path) -> None:
    take(trash, folder, "old", "1")
    clock.at += timedelta(days=29)
    take(trash, folder, "new", "2")
    (tmp_path / "trash" / "somebody else's").mkdir()
    assert trash.prune() == 0
    clock.at += timedelta(days=1, seconds=1)
    assert trash.prune() == 1
    assert contents(tmp_path, trash) == [("new", "2")]
    assert (tmp_path / "trash" / "somebody else's").is_dir()


def test_putting_back_takes_what_is_there_into_the_trash(trash: Trash, folder: int, tmp_path: Path) -> None:
    take(trash, folder, "x", "old")
    write(folder, "x", "present")
    (entry,) = trash.entries()
    trash.put_back(entry, folder)
    assert (tmp_path / "folder" / "x").read_text() == "old"
    assert contents(tmp_path, trash) == [("x", "present")]
    with pytest.raises(ChangedMeanwhile):
        trash.put_back(entry, folder)


def test_nothing_is_put_back_through_a_link(trash: Trash, folder: int, tmp_path: Path) -> None:
    take(trash, folder, "a/x", "old")
    (tmp_path / "outside").mkdir()
    (tmp_path / "folder" / "a").symlink_to(tmp_path / "outside")
    (entry,) = trash.entries()
    with pytest.raises(Obstacle, match="symbolic link"):
        trash.put_back(entry, folder)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_trash_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "trash").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"symbolic links|directory"):
        Trash(tmp_path / "trash")


def test_a_path_is_found_in_the_folder_it_lies_in(tmp_path: Path) -> None:
    FolderState.open(tmp_path).close()
    decomposed = unicodedata.normalize("NFD", "caf\u00e9")
    place = refused.place_of(tmp_path / "gone" / ".." / decomposed)
    assert (place.root, place.path) == (tmp_path, "caf\u00e9")
    with pytest.raises(UsageProblem, match="no synced folder"):
        refused.place_of(Path("/none"))


def test_restoring_under_a_file_says_what_is_in_the_way(tmp_path: Path) -> None:
    FolderState.open(tmp_path).close()
    kept = tmp_path / ".less-sync/trash/20261126T073000Z/a/x"
    kept.parent.mkdir(parents=True)
    kept.write_text("old")
    (tmp_path / "a").write_text("a file now")
    with pytest.raises(FolderError, match="a/x: a is in the way: it is no folder"):
        refused.restore(refused.place_of(tmp_path / "a" / "x"))
    assert kept.read_text() == "old"
