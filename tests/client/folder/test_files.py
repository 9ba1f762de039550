"""Changes to a folder: never outside it, never over what nobody has looked at, never half."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from less_sync.client.folder.errors import DiskFull
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.walk import ChangedMeanwhile, FileStat, Obstacle, link_and_unlink, rename_new

LONG_AGO_NS = 1_000_000_000_123_456_789


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / ".less-sync" / "tmp").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    return folder


@pytest.fixture
def tree(root: Path) -> Iterator[FileTree]:
    made = FileTree(root, root / ".less-sync")
    yield made
    made.close()


def put(tree: FileTree, path: str, content: bytes, expected: FileStat | None = None) -> FileStat:
    spooled = tree.spool(content, mtime_ns=LONG_AGO_NS)
    tree.sync_spooled([spooled])
    return tree.place(spooled, path, expected=expected)


def stat_of(tree: FileTree, path: str) -> FileStat:
    found = tree.stat(path)
    assert found is not None
    return found


def in_trash(root: Path) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for folder in sorted((root / ".less-sync/trash").iterdir()):
        for path in folder.rglob("*"):
            if path.is_file():
                found.setdefault(str(path.relative_to(folder)), []).append(path.read_bytes())
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
        def _sync_spooled(self, name: str) -> None:
            self.drop(name)
            raise OSError(errno.ENOSPC, "No space left on device")

    tree = Full(root, root / ".less-sync")
    (root / "a").write_text("old")
    with pytest.raises(DiskFull):
        put(tree, "a", b"new", stat_of(tree, "a"))
    assert (root / "a").read_text() == "old"
    assert spooled(root) == []
    tree.close()


def no_link(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_disk_without_hard_links_still_gets_new_files_and_keeps_what_it_replaces(root: Path) -> None:
    tree = FileTree(root, root / ".less-sync", link=no_link)
    put(tree, "a", b"x")
    assert (root / "a").read_bytes() == b"x"
    with pytest.raises(ChangedMeanwhile):
        put(tree, "a", b"y")
    put(tree, "a", b"y", stat_of(tree, "a"))
    assert (root / "a").read_bytes() == b"y"
    assert in_trash(root) == {"a": [b"x"]}
    tree.close()


@pytest.mark.parametrize("rename", [rename_new, link_and_unlink])
def test_a_rename_never_overwrites_what_appears_in_the_same_moment(
    root: Path, rename: Callable[..., None]
) -> None:
    """The name is free when the tree looks, and taken when it renames."""

    def late(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        (root / new_name).write_text("somebody else's")
        rename(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    tree = FileTree(root, root / ".less-sync", rename=late)
    put(tree, "a", b"mine")
    with pytest.raises(ChangedMeanwhile):
        tree.rename("a", "b", expected=stat_of(tree, "a"))
    assert ((root / "a").read_text(), (root / "b").read_text()) == ("mine", "somebody else's")
    tree.close()


@pytest.mark.parametrize("rename", [rename_new, link_and_unlink])
def test_a_renamed_file_is_there_under_its_new_name_alone(root: Path, rename: Callable[..., None]) -> None:
    tree = FileTree(root, root / ".less-sync", rename=rename)
    put(tree, "a", b"mine")
    tree.rename("a", "b", expected=stat_of(tree, "a"))
    assert [path.name for path in root.iterdir() if path.name != ".less-sync"] == ["b"]
    tree.close()


def test_what_is_replaced_or_deleted_is_in_the_trash(tree: FileTree, root: Path) -> None:
    put(tree, "a/b", b"1")
    put(tree, "a/b", b"2", stat_of(tree, "a/b"))
    tree.delete("a/b", expected=stat_of(tree, "a/b"))
    assert not (root / "a").exists()
    assert in_trash(root) == {"a/b": [b"1", b"2"]}


def test_files_are_synced_before_they_have_their_names_and_folders_after_it(root: Path) -> None:
    synced: list[str] = []

    def sync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    tree = FileTree(root, root / ".less-sync", sync=sync)
    names = [tree.spool(b"x", mtime_ns=LONG_AGO_NS) for _ in range(3)]
    tree.sync_spooled(names)
    assert sorted(synced) == [str(root / ".less-sync" / name) for name in names]
    synced.clear()
    for number, name in enumerate(names):
        tree.place(name, f"a/b/{number}", expected=None)
    assert synced == []
    tree.sync_folders()
    assert sorted(synced) == [str(root), str(root / "a"), str(root / "a/b")]
    synced.clear()
    tree.sync_folders()
    assert synced == []
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
