"""What tests of the engine make again and again: a store, a volume, needles, and a disk that fails."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from less_sync.volume.engine.files import Files
from less_sync.volume.engine.store import Store
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.checksums import Bytes, crc32c
from less_sync.volume.format.needle import HAS_LAST_MODIFIED, Needle
from less_sync.volume.format.rows import Row, decode_rows
from less_sync.volume.options import DirectoryOptions, Options

NOW_S = 1_700_000_000


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.ns = NOW_S * 1_000_000_000

    def __call__(self) -> int:
        return self.ns


class FailingFiles(Files):
    """A disk that does what a test tells it to, once for each entry of `faults`, and counts flushes.

    A fault is the name of an operation, the extension of the file it is to hit, and what it does: an error
    number, or for a write the number of bytes that it takes before it says that the disk is full.
    """

    def __init__(self) -> None:
        self.faults: list[tuple[str, str, int]] = []
        self.calls: list[tuple[str, str]] = []
        self.during_sync: Callable[[], None] = lambda: None
        self._suffixes: dict[int, str] = {}

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        fd = super().open(path, flags, mode)
        self._suffixes[fd] = path.suffix
        return fd

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        fault = self._fault("pread", fd)
        if fault is not None:
            raise OSError(fault, "the disk failed")
        return super().pread(fd, length, offset)

    def pwrite(self, fd: int, data: Bytes, offset: int) -> int:
        taken = self._fault("pwrite", fd)
        if taken is None:
            return super().pwrite(fd, data, offset)
        if taken:
            # What it takes is there; the rest finds no room.
            self.faults.insert(0, ("pwrite", self._suffixes[fd], 0))
            return super().pwrite(fd, memoryview(data)[:taken], offset)
        raise OSError(errno.ENOSPC, "no space left on device")

    def truncate(self, fd: int, length: int) -> None:
        fault = self._fault("truncate", fd)
        if fault is not None:
            raise OSError(fault, "the disk failed")
        super().truncate(fd, length)

    def sync(self, fd: int) -> None:
        self.during_sync()
        fault = self._fault("sync", fd)
        if fault is not None:
            raise OSError(fault, "the disk failed")
        super().sync(fd)

    def count(self, operation: str, suffix: str) -> int:
        """How often that was asked for."""
        return self.calls.count((operation, suffix))

    def _fault(self, operation: str, fd: int) -> int | None:
        suffix = self._suffixes.get(fd, "")
        self.calls.append((operation, suffix))
        for fault in self.faults:
            if fault[:2] == (operation, suffix):
                self.faults.remove(fault)
                return fault[2]
        return None


@asynccontextmanager
async def open_store(
    directory: Path,
    *,
    index_directory: Path | None = None,
    files: Files | None = None,
    clock: Clock | None = None,
    offset_bytes: int = 4,
) -> AsyncIterator[Store]:
    """A store over one directory, loaded, and closed in the end."""
    options = Options(
        directories=(DirectoryOptions(directory),),
        index_directory=index_directory,
        offset_bytes=offset_bytes,
    )
    store = Store(options, files or Files(), clock or Clock())
    await store.load()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_volume(
    directory: Path,
    *,
    ttl: int = 0,
    version: int = 3,
    files: Files | None = None,
    clock: Clock | None = None,
    offset_bytes: int = 4,
) -> AsyncIterator[Volume]:
    """Volume 1 of a new store."""
    async with open_store(directory, files=files, clock=clock, offset_bytes=offset_bytes) as store:
        yield await store.allocate(1, ttl=ttl, version=version)


def needle(id: int, data: bytes = b"data", *, cookie: int = 7, flags: int = 0, **fields: int) -> Needle:
    """A needle with its checksum, last modified now unless told otherwise."""
    made = Needle(id, cookie, data, flags | HAS_LAST_MODIFIED, last_modified=NOW_S, checksum=crc32c(data))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def rows(volume: Volume) -> list[Row]:
    """What the index says on disk."""
    return list(decode_rows(volume.index_path.read_bytes(), volume.offset_bytes))


def counters(volume: Volume) -> tuple[int, int, int, int]:
    """Files, content bytes, deleted files and deleted bytes."""
    needles = volume.needles
    return needles.file_count, needles.content_bytes, needles.deleted_count, needles.deleted_bytes


async def turn_taken(volume: Volume) -> None:
    """Wait until somebody has the turn of a volume."""
    for _ in range(1_000):
        if volume.turn.held:
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody took the turn")
