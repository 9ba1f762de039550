"""Names that last: what is synced, and in which order."""

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from less_sync.client.durable import Disk, create, locked_directory, make_directories, replace
from less_sync.client.kept_key import kept


class Recorder(Disk):
    """Writes down what is done, by the last part of the name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def link(self, source: Path, target: Path) -> None:
        self.calls.append(("link", target.name))
        super().link(source, target)

    def replace(self, source: Path, target: Path) -> None:
        self.calls.append(("replace", target.name))
        super().replace(source, target)

    def sync(self, path: Path) -> None:
        is_temporary = path.is_file() and path.name.startswith(".")
        self.calls.append(("sync", "a temporary file" if is_temporary else path.name))
        super().sync(path)


def test_new_directories_are_private_and_each_name_is_synced(tmp_path: Path) -> None:
    disk = Recorder()
    make_directories(tmp_path / "a" / "b", disk=disk)
    assert disk.calls == [("sync", tmp_path.name), ("sync", "a")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")] == [
        0o700
    ] * 2
    make_directories(tmp_path / "a" / "b", disk=disk)
    assert len(disk.calls) == 2


@pytest.mark.parametrize(("write", "call"), [(create, "link"), (replace, "replace")])
def test_content_is_synced_before_its_name_is_made_and_the_name_after(
    tmp_path: Path, write: Callable[..., object], call: str
) -> None:
    disk = Recorder()
    write(tmp_path / "file", b"content", disk=disk)
    assert disk.calls == [("sync", "a temporary file"), (call, "file"), ("sync", tmp_path.name)]
    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_whoever_comes_second_changes_nothing_and_syncs_the_name_before_it_is_relied_upon(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"first")
    disk = Recorder()
    assert not create(tmp_path / "file", b"second", disk=disk)
    assert (tmp_path / "file").read_bytes() == b"first"
    assert disk.calls[-1] == ("sync", tmp_path.name)
    assert os.listdir(tmp_path) == ["file"]


def test_a_kept_key_is_on_disk_with_its_directories_before_it_is_used(tmp_path: Path) -> None:
    disk = Recorder()
    assert kept(tmp_path / "new" / "key", lambda: b"secret", disk=disk) == b"secret"
    assert disk.calls == [
        ("sync", tmp_path.name),
        ("sync", "a temporary file"),
        ("link", "key"),
        ("sync", "new"),
    ]


def test_one_at_a_time_replaces_files_of_a_directory(tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        with locked_directory(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(TimeoutError), locked_directory(tmp_path, wait_s=0.05):
            pass
    finally:
        os.close(other)
