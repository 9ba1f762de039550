"""A file that is read from start to end by threads."""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobError
from less_sync.storage.objects.threads import DiskThreads, ended, settled


class OpenFile:
    """The file itself, used by threads. It is the same file, whatever is renamed over its name meanwhile.

    Raises:
        BlobError: it is no regular file, or shorter than it was.
        OSError: the disk failed.
    """

    def __init__(self, path: Path) -> None:
        self._turn: Final = threading.Lock()
        self._fd: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._fd)
        self.size_bytes: Final = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise BlobError(f"file storage: {path.name} is not a file")

    def read(self, offset: int) -> bytes:
        """Read a chunk: `CHUNK_BYTES_MAX`, or what is left. Nothing once it is closed."""
        with self._turn:
            if self._fd is None:
                return b""
            wanted = min(CHUNK_BYTES_MAX, self.size_bytes - offset)
            data = os.pread(self._fd, wanted, offset)
            while len(data) < wanted:
                more = os.pread(self._fd, wanted - len(data), offset + len(data))
                if not more:
                    raise BlobError("file storage: a content became shorter while it was read")
                data += more
            return data

    def close(self) -> None:
        """Let go of it."""
        with self._turn:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


class FileReader:
    """`Opened` over a file: the next chunk is read while one is used."""

    def __init__(self, file: OpenFile, threads: DiskThreads) -> None:
        self._file: Final = file
        self._threads: Final = threads
        self._reading: asyncio.Future[bytes] | None = None

    @property
    def size_bytes(self) -> int:
        """As `Opened.size_bytes`."""
        return self._file.size_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """As `Opened.chunks`."""
        offset = 0
        self._read_from(offset)
        while self._reading is not None:
            data = await settled(self._reading)
            offset += len(data)
            self._read_from(offset)
            yield data

    def _read_from(self, offset: int) -> None:
        more = offset < self._file.size_bytes
        self._reading = self._threads.submit(self._file.read, offset) if more else None

    async def aclose(self) -> None:
        """Close the file once nobody reads it any more."""
        closing = self._threads.submit(self._file.close)
        await ended(*(work for work in (self._reading, closing) if work is not None))
