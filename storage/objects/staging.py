"""A content that is written to a disk aside, before anybody may see it."""

import asyncio
import contextlib
import os
import re
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobError
from less_sync.storage.objects.threads import DiskThreads, ended, settled

T = TypeVar("T")

_PIECES_MAX: Final = 512
"""Written by one call; the kernel takes 1024."""
_WRITEBACK_BYTES: Final = 8 * 1024 * 1024
_LEFTOVER: Final = re.compile(r".+#[0-9]+", re.ASCII)


def staging_path(final: Path) -> Path:
    """A name beside `final` that existing servers neither serve nor list: a `#` and a decimal number."""
    return final.with_name(f"{final.name}#{secrets.randbits(63)}")


def is_staging_name(name: str) -> bool:
    """True for names of `staging_path`, and for those that existing servers leave behind."""
    return _LEFTOVER.fullmatch(name) is not None


class StagingFile:
    """The file itself, used by threads, one after the other. Raises OSError.

    Whatever is still running or waiting when it is removed finds it closed and does nothing.

    Args:
        keep: it will be synced, so the disk may as well begin early.
    """

    def __init__(self, path: Path, *, keep: bool) -> None:
        self.path: Final = path
        self._keep: Final = keep
        self._turn: Final = threading.Lock()
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._written_bytes = 0
        self._flushing_bytes = 0

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write some pieces behind what is there."""
        with self._turn:
            if self._fd is None:
                return
            count = sum(map(len, pieces))
            written = os.writev(self._fd, pieces)
            if written < count:
                self._append_rest(memoryview(b"".join(pieces))[written:])
            self._written_bytes += count
            if self._keep:
                self._begin_writeback()

    def _append_rest(self, rest: memoryview) -> None:
        """The disk took a part: the next call takes more, or says why not."""
        assert self._fd is not None
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def _begin_writeback(self) -> None:
        """Let the disk write what is there while more arrives, so that the final sync has little to wait for.

        The call means 'do not keep it'; on pages that wait to be written it begins to write them.
        """
        waiting = self._written_bytes - self._flushing_bytes
        if sys.platform == "linux" and waiting >= _WRITEBACK_BYTES and self._fd is not None:
            os.posix_fadvise(self._fd, self._flushing_bytes, waiting, os.POSIX_FADV_DONTNEED)
            self._flushing_bytes = self._written_bytes

    @property
    def fd(self) -> int:
        """Its descriptor, while it is in use."""
        assert self._fd is not None
        return self._fd

    def use(self, size_bytes: int, work: Callable[["StagingFile"], T]) -> T:
        """Call `work` with the complete file.

        Raises:
            BlobError: it does not have `size_bytes`: a write failed.
        """
        with self._turn:
            if self._fd is None or self._written_bytes != size_bytes:
                raise BlobError("file storage: the content was not written completely")
            return work(self)

    def read(self, offset: int) -> bytes:
        """Read at most `CHUNK_BYTES_MAX` of what was written."""
        with self._turn:
            return b"" if self._fd is None else os.pread(self._fd, CHUNK_BYTES_MAX, offset)

    def remove(self) -> None:
        """Close it and remove its name, if it still has this one. What the disk keeps is tidied later."""
        with self._turn:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            if fd is not None:
                with contextlib.suppress(OSError):
                    os.close(fd)


class StagingWriter:
    """Hands a content to threads that write it, at most `CHUNK_BYTES_MAX` at a time.

    That much may be under way to the disk while as much is gathered: the next piece can be received while the
    disk is at work, and many small pieces are one write.
    """

    def __init__(self, file: StagingFile, threads: DiskThreads) -> None:
        self.size_bytes = 0
        self._file: Final = file
        self._threads: Final = threads
        self._pieces: list[bytes] = []
        self._gathered_bytes = 0
        self._writing: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """As `Staged.write`."""
        assert len(data) <= CHUNK_BYTES_MAX
        if self._gathered_bytes + len(data) > CHUNK_BYTES_MAX or len(self._pieces) == _PIECES_MAX:
            await self._hand_over()
        if data:
            self._pieces.append(data)
            self._gathered_bytes += len(data)
            self.size_bytes += len(data)

    async def _hand_over(self) -> None:
        await self._written()
        pieces, self._pieces, self._gathered_bytes = self._pieces, [], 0
        self._writing = self._threads.submit(self._file.append, pieces)

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await settled(writing)

    async def finish(self, work: Callable[[StagingFile], T]) -> T:
        """Write the rest and do `work` with the complete file, in a thread and to its end.

        Raises:
            BlobError: the disk failed, now or earlier.
        """
        if self._pieces:
            await self._hand_over()
        await self._written()
        return await self._threads.run(self._file.use, self.size_bytes, work)

    async def written_chunks(self) -> AsyncIterator[bytes]:
        """Read the complete content back, `CHUNK_BYTES_MAX` at a time. Raises as `finish`."""
        await self.finish(lambda _: None)
        offset = 0
        while offset < self.size_bytes:
            data = await self._threads.run(self._file.read, offset)
            if not data:
                raise BlobError("file storage: a staged content became shorter")
            offset += len(data)
            yield data

    async def aclose(self) -> None:
        """Forget the rest and remove the file."""
        writing, self._writing = self._writing, None
        self._pieces.clear()
        removing = self._threads.submit(self._file.remove)
        await ended(*(work for work in (writing, removing) if work is not None))
