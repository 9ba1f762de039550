"""Large contents on their way in: one file each in `.less-sync/partial/`, named by the content record.

Unlike `tmp/` it is not emptied when a command starts, so that a download goes on where it was stopped.
"""

import hashlib
import os
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from less_sync.client.folder.blocking import check_stop
from less_sync.client.folder.files import PARTIAL, set_mtime
from less_sync.client.folder.hashing import read_into
from less_sync.client.folder.stream import CHUNK_BYTES
from less_sync.client.folder.walk import obstacles

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Partial:
    """One of them, open. `is_new` when nothing of it was there.

    Raises, as each method does:
        Obstacle: the disk refuses it.
        DiskFull: no space.
    """

    def __init__(self, state_dir: Path, content: UUID) -> None:
        self.name = f"{PARTIAL}/{content}"
        with obstacles():
            fd = os.open(state_dir / self.name, _FLAGS, 0o666)
            self._file = FileIO(fd, "r+")
            self.is_new = os.fstat(fd).st_size == 0

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


def drop_partials(state_dir: Path, keep: set[UUID]) -> list[UUID]:
    """Remove what nobody wants any more, and return the content records that were kept here before.

    Raises:
        OSError: the disk refuses it.
    """
    dropped = []
    for name in os.listdir(state_dir / PARTIAL):
        content = _uuid(name)
        if content in keep:
            continue
        os.unlink(state_dir / PARTIAL / name)
        if content is not None:
            dropped.append(content)
    return dropped


def _uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
