"""A volume of files that a test has made, opened as a load would, and the doubles that tests inject."""

from collections.abc import Callable
from pathlib import Path

from less_sync.volume.engine.data_file import DataFile, open_data
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.index_walk import walk_index
from less_sync.volume.engine.location import Location
from less_sync.volume.engine.needle_map import NeedleMap
from less_sync.volume.engine.volume import Volume
from less_sync.volume.engine.volume_state import Loaded
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import HAS_NAME, Needle
from less_sync.volume.format.superblock import Superblock, decode_superblock
from less_sync.volume.format.volume_info import VolumeInfo
from less_sync.volume.options import DirectoryOptions

COOKIE = 0x11223344


class Clock:
    """Nanoseconds that a test moves."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        self.now_ns += 1
        return self.now_ns


class FailingSteps(Files):
    """Fails once, at the step number `at` of those that change something; counts from `arm` on."""

    def __init__(self) -> None:
        self.at = 0
        self.steps: list[str] = []
        self.before: Callable[[str], None] = lambda name: None

    def arm(self, at: int) -> None:
        """Fail at that step from now on; 0 never."""
        self.at = at
        self.steps.clear()

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.before(name)
        if len(self.steps) == self.at:
            raise OSError(28, f"injected into {name}")

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        """As it says."""
        self._step(f"open {path.suffix}")
        return super().open(path, flags, mode)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """As it says."""
        self._step("pread")
        return super().pread(fd, length, offset)

    def pwrite(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Half of the bytes reach the disk before a fault."""
        try:
            self._step("pwrite")
        except OSError:
            super().pwrite(fd, bytes(data)[: len(data) // 2], offset)
            raise
        return super().pwrite(fd, data, offset)

    def size(self, fd: int) -> int:
        """As it says."""
        self._step("size")
        return super().size(fd)

    def sync(self, fd: int) -> None:
        """As it says."""
        self._step("sync")
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """As it says."""
        self._step(f"rename {source.suffix}")
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        """As it says."""
        self._step(f"remove {path.suffix}")
        super().remove(path)

    def remove_tree(self, path: Path) -> None:
        """As it says."""
        self._step(f"remove {path.suffix}")
        super().remove_tree(path)

    def sync_directory(self, path: Path) -> None:
        """As it says."""
        self._step("sync directory")
        super().sync_directory(path)


def new_volume(
    directory: Path,
    *,
    width: int = 4,
    superblock: Superblock | None = None,
    files: Files | None = None,
    clock: Callable[[], int] | None = None,
) -> Volume:
    """An empty volume 7."""
    (directory / "7.dat").write_bytes((superblock or Superblock()).encode())
    (directory / "7.idx").touch()
    return open_volume(directory, width=width, files=files, clock=clock)


def open_volume(
    directory: Path,
    name: str = "7",
    *,
    width: int = 4,
    files: Files | None = None,
    clock: Callable[[], int] | None = None,
    index_directory: Path | None = None,
) -> Volume:
    """Open what lies there."""
    files = files or Files()
    location = Location(DirectoryOptions(directory), index_directory, 0)
    data = open_data(files, directory / f"{name}.dat")
    index_path = (index_directory or directory) / f"{name}.idx"
    superblock = decode_superblock((directory / f"{name}.dat").read_bytes()[:65_542])
    walked = walk_index(index_path.read_bytes(), width, superblock.version, backward=False)
    loaded = Loaded(
        data=data,
        index=DataFile.open(files, index_path),
        needles=NeedleMap(width, walked.settled, walked.counters),
        superblock=superblock,
        info=VolumeInfo(),
        placement=0,
    )
    return Volume(7, "", location, loaded, files=files, clock=clock or Clock())


def put(volume: Volume, id: int, content: bytes, *, cookie: int = COOKIE) -> Needle:
    """Write at once."""
    needle = Needle(id, cookie, content, HAS_NAME, b"n", checksum=crc32c(content))
    assert volume.try_write(needle) is not None
    return needle


def contents(volume: Volume, ids: range) -> dict[int, bytes]:
    """What can be read of them."""
    found = {}
    for id_ in ids:
        entry = volume.needles.get(id_)
        if entry is not None and entry[0] and entry[1] >= 0:
            found[id_] = bytes(volume.read(id_).data)
    return found


def names_in(directory: Path) -> list[str]:
    """What lies in a directory, in order."""
    return sorted(path.name for path in directory.iterdir())


def fill(volume: Volume) -> dict[int, bytes]:
    """Ten needles, of which one is deleted, one overwritten and one empty."""
    for id_ in range(10, 0, -1):
        put(volume, id_, b"content %d" % id_ * id_)
    volume.try_delete(4, COOKIE)
    put(volume, 5, b"five again")
    put(volume, 6, b"")
    return {id_: b"content %d" % id_ * id_ for id_ in range(1, 11) if id_ not in {4, 5, 6}} | {
        5: b"five again",
        6: b"",
    }


def raise_at(*names: str) -> Callable[[str], None]:
    """For `FailingSteps.before`: these operations fail."""

    def look(name: str) -> None:
        if name in names:
            raise OSError(5, f"injected into {name}")

    return look
