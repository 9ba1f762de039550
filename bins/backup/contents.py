"""Contents of files, copied from the store into a backup, or taken over from the backup before."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Final, NamedTuple, TypeVar

from less_sync.bins.backup.copied import Copied, CopiedLog
from less_sync.bins.backup.disk import PRIVATE_FOLDER, drop_cache, link_or_copy, open_anew
from less_sync.bins.backup.manifest import BackupError, Fault, hash_file
from less_sync.bins.backup.source import Source
from less_sync.bins.backup.tables import FileRow
from less_sync.bins.backup.watching import Watcher
from less_sync.client.durable import DISK
from less_sync.storage import BlobError, BlobStore

T = TypeVar("T")

AT_ONCE_MAX: Final = 8
"""Contents that are copied at a time; of each a piece of `CHUNK_BYTES_MAX` is in memory."""
BATCH_ROWS: Final = 200
"""After so many the database is asked whether their rows are still of the same uploads."""
PAUSES_S: Final = (0.5, 2.0, 8.0)
"""Between attempts at a content that the store did not give."""

MISSING: Final = "missing"
SIZE: Final = "size"
LEFT_OUT: Final = "left out"


class Earlier(NamedTuple):
    """A finished backup that contents may be taken over from."""

    folder: Path
    copied: Mapping[str, Copied]


@dataclass(slots=True)
class Contents:
    """What became of them."""

    copied: dict[str, Copied] = field(default_factory=dict)
    """By path: all that the backup has."""
    faults: list[Fault] = field(default_factory=list)
    fresh: set[str] = field(default_factory=set)
    """Were copied from the store, and not read back yet."""
    taken_over: int = 0
    damaged: int = 0
    """Contents of the backup before, or of this one before it was interrupted, that were no longer as they
    had been copied."""


class ContentCopier:
    """Copies the contents of rows.

    Args:
        here: what this backup had before it was interrupted.
        earlier: None: nothing is taken over.
        check: whether what is taken over is read and compared first.
    """

    def __init__(
        self,
        folder: Path,
        store: BlobStore,
        source: Source,
        log: CopiedLog,
        watcher: Watcher,
        *,
        here: Mapping[str, Copied],
        earlier: Earlier | None,
        check: bool,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._folder = folder
        self._store = store
        self._source = source
        self._log = log
        self._watcher = watcher
        self._here = here
        self._earlier = earlier
        self._check = check
        self._pauses_s = pauses_s
        self._places = asyncio.Semaphore(AT_ONCE_MAX)
        self._contents = Contents()

    async def copy(self, rows: Iterator[FileRow]) -> Contents:
        """Copy them all; those that are missing are named in the result.

        Raises:
            BackupError: the store or the database failed, or the lock that keeps contents in place is lost.
            OSError: the disk failed.
        """
        while batch := await asyncio.to_thread(lambda: list(islice(rows, BATCH_ROWS))):
            copied = [one for one in await self._all(batch) if one is not None]
            await self._source.check_lock()
            copied = await self._without_replaced(batch, copied)
            await asyncio.to_thread(self._keep, copied)
        return self._contents

    async def _all(self, batch: Iterable[FileRow]) -> list[Copied | None]:
        """Copy a batch, some at a time; the first failure ends all."""
        tasks = [asyncio.ensure_future(self._one(row)) for row in batch]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _without_replaced(self, batch: Sequence[FileRow], copied: list[Copied]) -> list[Copied]:
        """Leave out contents of later uploads: a server that knows of no backups may have replaced some."""
        replaced = await self._source.replaced([(row.space, row.file, row.cursor) for row in batch])
        paths = {row.path for row in batch if (row.space, row.file) in replaced}
        self._contents.faults = [one for one in self._contents.faults if one.path not in paths]
        self._contents.faults += [Fault(path, MISSING) for path in sorted(paths)]
        for path in paths:
            self._contents.fresh.discard(path)
            (self._folder / path).unlink(missing_ok=True)
        return [one for one in copied if one.path not in paths]

    def _keep(self, copied: Iterable[Copied]) -> None:
        """Put the names onto the disk, then write them down."""
        copied = list(copied)
        for parent in {(self._folder / one.path).parent for one in copied}:
            DISK.sync(parent)
        self._log.add(copied)
        self._contents.copied.update((one.path, one) for one in copied)

    async def _one(self, row: FileRow) -> Copied | None:
        async with self._places:
            taken = await self._taken_over(row)
            if taken is None:
                taken = await self._copied_patiently(row)
            self._watcher.advance(row.size_bytes)
            if taken is None:
                self._contents.faults.append(Fault(row.path, MISSING))
            elif taken.bytes != row.size_bytes:
                self._contents.faults.append(Fault(row.path, SIZE))
            return taken

    # What is there already.

    async def _taken_over(self, row: FileRow) -> Copied | None:
        """The content as it was copied before, if it is certainly the one to be had; None: copy it."""
        here = self._here.get(row.path)
        before = None if self._earlier is None else self._earlier.copied.get(row.path)
        candidates = [one for one in (here, before) if one is not None and one.is_of(row)]
        if not candidates:
            return None
        found = await self._patiently(lambda: self._store.find(row.key))
        for one in candidates:
            if found is None or (found.version, found.size_bytes) != (one.version, one.bytes):
                continue
            if await asyncio.to_thread(self._take, one, None if one is here else self._earlier):
                self._contents.taken_over += 1
                return one
            self._contents.damaged += 1
        return None

    def _take(self, one: Copied, earlier: Earlier | None) -> bool:
        """Put a content of the backup before into its place; False when it is not as it was copied."""
        path = self._folder / one.path
        try:
            if earlier is not None:
                path.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
                linked = link_or_copy(earlier.folder / one.path, path)
            else:
                linked = True
            # What was begun and killed is read whatever was asked for: the power may have failed with it.
            if self._check or earlier is None or not linked:
                found = hash_file(path)
                return (found.bytes, found.sha256) == (one.bytes, one.sha256)
            return path.stat().st_size == one.bytes
        except FileNotFoundError:
            return False

    # What is in the store.

    async def _copied_patiently(self, row: FileRow) -> Copied | None:
        return await self._patiently(lambda: self._from_store(row))

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for pause_s in (*self._pauses_s, None):
            try:
                return await attempt()
            except BlobError as error:
                if pause_s is None:
                    raise BackupError(f"the store of files failed: {_told(error)}") from error
            await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def _from_store(self, row: FileRow) -> Copied | None:
        async with self._store.open(row.key) as opened:
            if opened is None:
                return None
            writing = await asyncio.to_thread(_Writing, self._folder / row.path)
            try:
                async for chunk in opened.chunks():
                    await asyncio.to_thread(writing.add, chunk)
                await asyncio.to_thread(writing.finish)
            finally:
                writing.close()
            self._contents.fresh.add(row.path)
            return Copied(row.path, row.cursor, opened.version, writing.size_bytes, writing.sha256)


class _Writing:
    """A content on its way into its file, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        self.size_bytes = 0
        self._path: Final = path
        self._part: Final = path.with_name(f"{path.name}.part")
        self._hash: Final = hashlib.sha256()
        self._file: Final[IO[bytes]] = os.fdopen(open_anew(self._part), "wb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._file.write(chunk)
        self.size_bytes += len(chunk)

    def finish(self) -> None:
        """Show the content under its name, once it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        drop_cache(self._file.fileno())
        self._file.close()
        self._part.rename(self._path)

    def close(self) -> None:
        self._file.close()


def _told(error: BlobError) -> str:
    cause = error.__cause__
    return f"{error}: {cause}" if isinstance(cause, OSError) else str(error)
