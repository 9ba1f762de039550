"""A file that is read from start to end by threads."""

import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, cast

from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobError
from less_sync.storage.objects.threads import DiskThreads


def version_of(status: os.stat_result) -> str:
    """What tells a file from all others that had its name: the time of a rename is the system's own."""
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_ctime_ns}"


class OpenFile:
    """The file itself, used by threads. It is the same file, whatever is renamed over its name meanwhile.

    Raises:
        BlobError: it is no regular file, or shorter than it was.
        OSError: the disk failed.
    """

    def __init__(self, path: Path) -> None:
        self._turn: Final = threading.Lock()
        self._may_be_at_hand = hasattr(os, "RWF_NOWAIT")  # Linux alone
        self._fd: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._fd)
        self.size_bytes: Final = status.st_size
        self.version: Final = version_of(status)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise BlobError(f"file storage: {path.name} is not a file")

    def read_at_hand(self, offset: int) -> bytes | None:
        """The same as `read`, if the system has all of it in memory; else None. Never waits for the disk."""
        if not self._may_be_at_hand or not self._turn.acquire(blocking=False):
            return None
        try:
            if self._fd is None:
                return None
            data = bytearray(min(CHUNK_BYTES_MAX, self.size_bytes - offset))
            count = os.preadv(self._fd, [data], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError:  # this file system cannot say
            self._may_be_at_hand = False
            return None
        finally:
            self._turn.release()
        # Nobody else has it and nobody writes to it: as good as bytes, without another copy.
        return cast(bytes, data) if count == len(data) else None

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
    """`Opened` over a file: what the system has in memory is taken at once, the rest is read by a thread.

    A thread's turn for each chunk costs more than copying it, and another core for the while.
    """

    def __init__(self, file: OpenFile, threads: DiskThreads) -> None:
        self._file: Final = file
        self._threads: Final = threads

    @property
    def size_bytes(self) -> int:
        """As `Opened.size_bytes`."""
        return self._file.size_bytes

    @property
    def version(self) -> str:
        """As `Opened.version`."""
        return self._file.version

    async def chunks(self) -> AsyncIterator[bytes]:
        """As `Opened.chunks`."""
        offset = 0
        while offset < self._file.size_bytes:
            data = self._file.read_at_hand(offset)
            if data is None:
                data = await self._threads.run(self._file.read, offset)
            offset += len(data)
            yield data

    async def aclose(self) -> None:
        """Close the file once nobody reads it any more."""
        await self._threads.run(self._file.close)
