"""Changes to a folder: never outside it, never over what nobody has looked at, never half."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from less_sync.client.folder.errors import DiskFull
from less_sync.client.folder.files import ChangedMeanwhile, FileStat, FileTree, Obstacle

LONG_AGO_NS = 1_000_000_000_123_456_789


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / ".less-sync" / "tmp").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    return folder


@pytest.fixture
def tree(root: Path) -> Iterator[FileTree]:
    made = FileTree(root, root / ".less-sync" / "tmp")
    yield made
    made.close()


def put(tree: FileTree, path: str, content: bytes, expected: FileStat | None = None) -> FileStat:
    return tree.write(path, content, mtime_ns=LONG_AGO_NS, expected=expected)


def stat_of(tree: FileTree, path: str) -> FileStat:
    found = tree.stat(path)
    assert found is not None
    return found


def spooled(root: Path) -> list[str]:
    return os.listdir(root / ".less-sync" / "tmp")


def test_a_new_file_gets_its_folders_content_and_time(tree: FileTree, root: Path) -> None:
    written = put(tree, "a/b/c.txt", b"hello")
    assert (root / "a/b/c.txt").read_bytes() == b"hello"
    assert written == tree.stat("a/b/c.txt")
    assert written.mtime_ns == LONG_AGO_NS
    assert tree.read("a/b/c.txt", 5) == (written, b"hello")
    assert spooled(root) == []


def test_a_replaced_file_keeps_its_mode(tree: FileTree, root: Path) -> None:
    (root / "run.sh").write_text("old")
    (root / "run.sh").chmod(0o750)
    put(tree, "run.sh", b"new", stat_of(tree, "run.sh"))
    assert (root / "run.sh").read_bytes() == b"new"
    assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o750


def test_nothing_is_written_over_a_file_that_is_not_the_expected_one(tree: FileTree, root: Path) -> None:
    (root / "a").write_text("mine")
    before = stat_of(tree, "a")
    with pytest.raises(ChangedMeanwhile):
        put(tree, "a", b"theirs")
    (root / "a").write_text("mine, edited")
    for change in (
        lambda: put(tree, "a", b"theirs", before),
        lambda: tree.delete("a", expected=before),
        lambda: tree.rename("a", "b", expected=before),
    ):
        with pytest.raises(ChangedMeanwhile):
            change()
    (root / "b").write_text("taken")
    with pytest.raises(ChangedMeanwhile):
        tree.rename("a", "b", expected=stat_of(tree, "a"))
    assert ((root / "a").read_text(), (root / "b").read_text()) == ("mine, edited", "taken")
    assert spooled(root) == []


@pytest.mark.parametrize("path", ["link/x", "a/link/x", "link"])
def test_no_link_leads_out_of_the_folder(tree: FileTree, root: Path, path: str) -> None:
    outside = root.parent / "outside"
    (outside / "x").write_text("untouched")
    (root / "a").mkdir()
    for link in (root / "link", root / "a" / "link"):
        link.symlink_to(outside)
    known = FileStat(9, 0, 0, 0)
    for use in (
        lambda: tree.stat(path),
        lambda: tree.read(path, 100),
        lambda: put(tree, path, b"escaped"),
        lambda: tree.delete(path, expected=known),
        lambda: tree.rename(path, path + "2", expected=known),
    ):
        with pytest.raises(Obstacle, match="symbolic link"):
            use()
    assert {entry.name: entry.read_text() for entry in outside.iterdir()} == {"x": "untouched"}


def test_a_folder_or_file_in_the_way_is_told_from_other_obstacles(tree: FileTree, root: Path) -> None:
    (root / "folder").mkdir()
    (root / "file").write_text("x")
    os.mkfifo(root / "pipe")
    for path, replaced in (("folder", True), ("file/below", True), ("pipe", False)):
        with pytest.raises(Obstacle) as caught:
            put(tree, path, b"")
        assert caught.value.replaced is replaced
        with pytest.raises(Obstacle):
            tree.read(path, 10)
    with pytest.raises(Obstacle, match="too long"):
        put(tree, "x" * 300, b"")
    assert tree.stat("nowhere/file") is None


def test_deleting_the_last_file_of_a_folder_removes_the_folder(tree: FileTree, root: Path) -> None:
    put(tree, "a/b/c", b"")
    put(tree, "a/d", b"")
    tree.delete("a/b/c", expected=stat_of(tree, "a/b/c"))
    assert sorted(path.name for path in root.iterdir()) == [".less-sync", "a"]
    assert os.listdir(root / "a") == ["d"]
    tree.delete("a/d", expected=stat_of(tree, "a/d"))
    assert os.listdir(root) == [".less-sync"]


def test_reading_refuses_what_is_gone_or_too_large(tree: FileTree, root: Path) -> None:
    (root / "a").write_bytes(bytes(11))
    with pytest.raises(Obstacle, match="too large"):
        tree.read("a", 10)
    with pytest.raises(ChangedMeanwhile):
        tree.read("b", 10)
    with pytest.raises(ChangedMeanwhile):
        tree.read("no/b", 10)


def test_a_full_disk_leaves_the_old_file_and_no_rest(root: Path) -> None:
    class Full(FileTree):
        def _write_aside(self, parent: int, like: str | None, content: bytes, mtime_ns: int) -> str:
            spooled = super()._write_aside(parent, like, content, mtime_ns)
            os.unlink(spooled, dir_fd=self._spool)
            raise OSError(errno.ENOSPC, "No space left on device")

    tree = Full(root, root / ".less-sync" / "tmp")
    (root / "a").write_text("old")
    with pytest.raises(DiskFull):
        put(tree, "a", b"new", stat_of(tree, "a"))
    assert (root / "a").read_text() == "old"
    assert spooled(root) == []
    tree.close()


def test_a_disk_without_hard_links_still_gets_new_files(root: Path) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    tree = FileTree(root, root / ".less-sync" / "tmp", link=no_link)
    put(tree, "a", b"x")
    assert (root / "a").read_bytes() == b"x"
    with pytest.raises(ChangedMeanwhile):
        put(tree, "a", b"y")
    tree.close()


def test_spelling_is_compared_name_by_name(tree: FileTree, root: Path) -> None:
    put(tree, "Folder/File", b"")
    assert tree.is_spelled_so("Folder/File")
    assert not tree.is_spelled_so("Folder/file")
    assert not tree.is_spelled_so("folder/File")


def test_a_moved_folder_is_noticed(tree: FileTree, root: Path) -> None:
    assert tree.is_still_at(root)
    root.rename(root.with_name("moved"))
    assert not tree.is_still_at(root)
    root.mkdir()
    assert not tree.is_still_at(root)
