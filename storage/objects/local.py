"""Contents in a directory: `{base}/spaces/{space}/files/{file}`, as existing servers lay them out.

A content is written beside its final name, as `{file}#{number}`, and renamed over it once it is on the disk.
Whoever has the former content open goes on reading it. All disk work is done by a few threads.
"""

import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Self, TypeVar
from uuid import UUID

from less_sync.storage.blobs import BlobError, BlobKey, Stored
from less_sync.storage.objects.keys import canonical_uuid
from less_sync.storage.objects.reading import FileReader, OpenFile, version_of
from less_sync.storage.objects.staging import StagingFile, StagingWriter, is_staging_name, staging_path
from less_sync.storage.objects.threads import DiskThreads, sync_directory

T = TypeVar("T")

_NAMES_MAX: Final = 1000
"""Of a directory, looked at by a thread in one go."""


class LocalBlobs:
    """`BlobStore` in a directory of this machine."""

    def __init__(self, base: Path) -> None:
        self._base: Final = base.absolute()
        self._threads: Final = DiskThreads()

    @classmethod
    def at(cls, base: Path) -> Self:
        """Use a directory, which is made if it is missing, with its parents.

        Raises:
            OSError: it cannot be made; `strerror` is worded for the operator.
        """
        missing = [path for path in (base, *base.parents) if not path.exists()]
        base.mkdir(parents=True, exist_ok=True)
        for path in missing:
            sync_directory(path.parent)
        return cls(base)

    @asynccontextmanager
    async def stage(self, key: BlobKey) -> AsyncIterator["_Staged"]:
        """As `BlobStore.stage`."""
        begin = partial(_begin, self._base, self._path(key))
        writer = StagingWriter(await self._threads.obtain(begin, StagingFile.remove), self._threads)
        try:
            yield _Staged(writer, partial(_publish, self._base, self._path(key)))
        finally:
            await writer.aclose()

    async def find(self, key: BlobKey) -> Stored | None:
        """As `BlobStore.find`."""
        return await self._threads.run(_find, self._base, key)

    @asynccontextmanager
    async def open(self, key: BlobKey) -> AsyncIterator[FileReader | None]:
        """As `BlobStore.open`."""
        file = await self._threads.obtain(partial(_open, self._base, self._path(key)), _close)
        if file is None:
            yield None
            return
        reader = FileReader(file, self._threads)
        try:
            yield reader
        finally:
            await reader.aclose()

    async def remove(self, key: BlobKey) -> None:
        """As `BlobStore.remove`."""
        await self._threads.run(_remove, self._base, self._path(key))

    async def listing(self) -> AsyncIterator[Sequence[Stored]]:
        """As `BlobStore.listing`."""
        with closing(_entries(self._base)) as entries:
            while (stored := await self._threads.run(_pick, entries, _stored)) is not None:
                if stored:
                    yield stored

    async def of_space(self, space: UUID) -> AsyncIterator[Sequence[Stored]]:
        """As `BlobStore.of_space`."""
        with closing(_entries_of(self._base, space)) as entries:
            while (stored := await self._threads.run(_pick, entries, _stored)) is not None:
                if stored:
                    yield stored

    async def tidy(self, *, older_than_s: float) -> int:
        """As `BlobStore.tidy`."""
        removed = 0
        remove_if_old = partial(_remove_leftover, time.time() - older_than_s)
        with closing(_entries(self._base)) as entries:
            while (gone := await self._threads.run(_pick, entries, remove_if_old)) is not None:
                removed += len(gone)
        return removed

    async def aclose(self) -> None:
        """As `BlobStore.aclose`."""
        await self._threads.aclose()

    def _path(self, key: BlobKey) -> Path:
        return self._base / key.path


class _Staged:
    def __init__(self, writer: StagingWriter, publish: Callable[[StagingFile], None]) -> None:
        self._writer: Final = writer
        self._publish: Final = publish
        self.write: Final = writer.write

    @property
    def size_bytes(self) -> int:
        return self._writer.size_bytes

    async def publish(self, check: Callable[[], Awaitable[None]]) -> None:
        await self._writer.finish(_sync)
        await check()
        await self._writer.finish(self._publish)


# What threads do. Each raises OSError.


def _begin(base: Path, final: Path) -> StagingFile:
    try:
        return StagingFile(staging_path(final), keep=True)
    except FileNotFoundError:
        for directory in _directories(base, final)[1:]:
            directory.mkdir(exist_ok=True)
        return StagingFile(staging_path(final), keep=True)


def _directories(base: Path, final: Path) -> list[Path]:
    """The base directory and those below it that lead to a content."""
    return [base, *reversed([path for path in final.parents if base in path.parents])]


def _sync(staged: StagingFile) -> None:
    os.fsync(staged.fd)


def _publish(base: Path, final: Path, staged: StagingFile) -> None:
    staged.path.rename(final)
    # Another upload may have made a directory that it has not synced yet. Syncing one that is clean is cheap.
    for directory in reversed(_directories(base, final)):
        sync_directory(directory)


def _find(base: Path, key: BlobKey) -> Stored | None:
    try:
        return _as_stored(key, (base / key.path).stat())
    except FileNotFoundError:
        _is_there(base)
        return None


def _as_stored(key: BlobKey, status: os.stat_result) -> Stored:
    if not stat.S_ISREG(status.st_mode):
        raise BlobError(f"file storage: {key.path} is not a file")
    moment = datetime.fromtimestamp(status.st_mtime, UTC)
    return Stored(key, status.st_size, moment, version_of(status))


def _is_there(base: Path) -> None:
    """That a name is missing is certain only while the directory of all of them is there."""
    base.stat()


def _open(base: Path, final: Path) -> OpenFile | None:
    try:
        return OpenFile(final)
    except FileNotFoundError:
        _is_there(base)
        return None


def _close(file: OpenFile | None) -> None:
    if file is not None:
        file.close()


def _remove(base: Path, final: Path) -> None:
    try:
        final.unlink()
    except FileNotFoundError:
        _is_there(base)


def _entries(base: Path) -> Generator[tuple[UUID, os.DirEntry[str]], None, None]:
    """Every name in the directory of files of every space."""
    _is_there(base)
    for directory in _names(base / "spaces"):
        space = canonical_uuid(directory.name)
        if space is not None:
            for entry in _names(Path(directory.path, "files")):
                yield space, entry


def _entries_of(base: Path, space: UUID) -> Generator[tuple[UUID, os.DirEntry[str]], None, None]:
    """Every name in the directory of files of one space."""
    _is_there(base)
    for entry in _names(base / "spaces" / str(space) / "files"):
        yield space, entry


def _names(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = os.scandir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        yield from entries


def _pick(
    entries: Iterator[tuple[UUID, os.DirEntry[str]]], pick: Callable[[UUID, os.DirEntry[str]], T | None]
) -> list[T] | None:
    """What `pick` makes of the next entries, at most `_NAMES_MAX` of them; None when there are no more."""
    found = list(islice(entries, _NAMES_MAX))
    if not found:
        return None
    return [picked for space, entry in found if (picked := pick(space, entry)) is not None]


def _stored(space: UUID, entry: os.DirEntry[str]) -> Stored | None:
    file = canonical_uuid(entry.name)
    if file is None:
        return None
    try:
        return _as_stored(BlobKey(space, file), entry.stat()) if entry.is_file() else None
    except FileNotFoundError:  # removed meanwhile
        return None


def _remove_leftover(before: float, space: UUID, entry: os.DirEntry[str]) -> str | None:
    """Remove what was staged before that time."""
    if not is_staging_name(entry.name):
        return None
    try:
        if entry.stat(follow_symlinks=False).st_mtime >= before:
            return None
        os.unlink(entry.path)
    except FileNotFoundError:
        return None
    return entry.name
