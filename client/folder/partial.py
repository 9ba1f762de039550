"""Large contents on their way in: one file each in `.less-sync/partial/`, named by the content record.

Unlike `tmp/` it is not emptied when a command starts, so that a download goes on where it was stopped.
"""

import hashlib
import os
from contextlib import suppress
from io import FileIO
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from less_sync.client.folder.blocking import check_stop
from less_sync.client.folder.hashing import read_into
from less_sync.client.folder.stream import CHUNK_BYTES
from less_sync.client.folder.walk import DIRECTORY, obstacles

PARTIAL: Final = "partial"

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Partial:
    """One of them, open. `is_new` when nothing of it was there.

    Args:
        state_dir: descriptor of `.less-sync/`.

    Raises, as each method does:
        Obstacle: the disk refuses it.
        DiskFull: no space.
    """

    def __init__(self, state_dir: int, content: UUID) -> None:
        self.name = f"{PARTIAL}/{content}"
        with obstacles():
            self._file = self._opened(state_dir)
            if os.fstat(self._file.fileno()).st_nlink > 1:
                # A kill while it was placed left it under both names, and the other one is the user's file.
                self._file.close()
                os.unlink(self.name, dir_fd=state_dir)
                self._file = self._opened(state_dir)
            self.is_new = os.fstat(self._file.fileno()).st_size == 0

    def _opened(self, state_dir: int) -> FileIO:
        return FileIO(os.open(self.name, _FLAGS, 0o666, dir_fd=state_dir), "r+")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, data: bytes, at: int) -> None:
        """Write at an offset."""
        with obstacles():
            rest = memoryview(data)
            while rest:
                count = os.pwrite(self._file.fileno(), rest, at)
                rest, at = rest[count:], at + count

    def sync(self) -> None:
        """Bring what was written to the disk."""
        with obstacles():
            os.fsync(self._file.fileno())

    def digest(self, size_bytes: int) -> bytes:
        """SHA-256 of the whole, cut to its size if something longer lay there.

        Raises:
            Stopped: the command is being stopped.
        """
        found, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES))
        with obstacles():
            self._file.truncate(size_bytes)
            self._file.seek(0)
            while count := read_into(self._file, buffer):
                check_stop()
                found.update(buffer[:count])
        return found.digest()

    def finish(self, mtime_ns: int) -> None:
        """Give it its time, and bring it to the disk."""
        set_mtime(self._file.fileno(), mtime_ns)
        self.sync()


def drop_partials(state_dir: int, keep: set[UUID]) -> list[UUID]:
    """Remove what nobody wants any more, and return the content records it was of.

    Raises:
        Obstacle: the disk refuses it.
    """
    dropped = []
    with obstacles():
        directory = os.open(PARTIAL, DIRECTORY, dir_fd=state_dir)
        try:
            for name in os.listdir(directory):
                content = _uuid(name)
                if content in keep:
                    continue
                os.unlink(name, dir_fd=directory)
                if content is not None:
                    dropped.append(content)
        finally:
            os.close(directory)
    return dropped


def set_mtime(fd: int, mtime_ns: int) -> None:
    """Set a file's time; one that this disk cannot hold is not worth the file."""
    with suppress(OSError, OverflowError):
        os.utime(fd, ns=(mtime_ns, mtime_ns))


def _uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
