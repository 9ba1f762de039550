"""An open data or index file: where it ends, appending to it, and who still reads from it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from less_sync.volume.engine.files import Files, write_all
from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.rows import ALIGNMENT


class DataFile:
    """A file that grows at its end.

    `end` is where the next append begins. At the opening it is the size of the file, rounded up to
    `alignment`: a data file may have lost the padding of its last record without a loss.

    The descriptor is closed when `close` was called and everybody who called `retain` has called `release`:
    a vacuum that puts another file in the place of this one cuts no read off. The count belongs to the event
    loop; reading and syncing may be done in threads.
    """

    def __init__(
        self, files: Files, path: Path, fd: int, *, alignment: int = 1, writable: bool = True
    ) -> None:
        self.path: Final = path
        self.writable: Final = writable
        self.fd = fd
        """-1 once it is closed: the number may be another file's then."""
        self._files: Final = files
        size = files.size(fd)
        self.end = size + -size % alignment
        self.is_torn = False
        self._holders = 1
        self._closed = False

    @classmethod
    def open(cls, files: Files, path: Path, *, alignment: int = 1, create: bool = False) -> "DataFile":
        """Open for reading and writing, or for reading alone where the owner may not write.

        Raises:
            OSError: it is not there, or may not be read.
        """
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        writable = create or bool(path.stat().st_mode & 0o200)
        try:
            fd = files.open(path, flags if writable else os.O_RDONLY)
        except PermissionError:
            fd, writable = files.open(path, os.O_RDONLY), False
        try:
            return cls(files, path, fd, alignment=alignment, writable=writable)
        except BaseException:
            files.close(fd)
            raise

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called; the descriptor may still be open for others."""
        return self._closed

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file.

        Raises:
            OSError: the disk failed.
        """
        found = self._files.pread(self.fd, length, offset)
        if len(found) == length or not found:
            return found
        parts = [found]
        missing = length - len(found)
        while missing and (more := self._files.pread(self.fd, missing, offset + length - missing)):
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)

    def append(self, pieces: Sequence[Bytes]) -> int:
        """Write pieces at the end and move the end. One system call for each piece.

        If it fails the file is cut back to its old end, so that the next append follows the last whole one.
        If that fails too, `is_torn` is set: what lies behind the end is unknown from then on.

        Returns:
            Where they begin.

        Raises:
            OSError: nothing is appended.
        """
        start = self.end
        try:
            self.end = write_all(self._files, self.fd, pieces, start)
        except BaseException:
            self.cut(start)
            raise
        return start

    def cut(self, length: int) -> None:
        """Take back what was appended behind `length`; sets `is_torn` if the disk refuses even that."""
        self.end = length
        try:
            self._files.truncate(self.fd, length)
            self.is_torn = False
        except OSError:
            self.is_torn = True

    def sync(self) -> None:
        """Flush to the disk. Call it in a thread.

        Raises:
            OSError: it is not certain that anything written since the last flush is on the disk.
        """
        self._files.sync(self.fd)

    def size(self) -> int:
        """Length on disk."""
        return self._files.size(self.fd)

    def retain(self) -> "DataFile":
        """Keep the descriptor open until `release`."""
        self._holders += 1
        return self

    def release(self) -> None:
        """Let go of what `retain` held."""
        self._holders -= 1
        if not self._holders:
            fd, self.fd = self.fd, -1
            self._files.close(fd)

    def close(self) -> None:
        """Close the descriptor as soon as nobody holds it any more. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self.release()


class FileSlice:
    """Where bytes lie in a file, which stays open until `release`."""

    __slots__ = ("data_file", "length", "offset")

    def __init__(self, data_file: DataFile, offset: int, length: int) -> None:
        self.data_file: Final = data_file.retain()
        self.offset: Final = offset
        self.length: Final = length

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes, `offset` counted from the start of the slice. May be called in a thread."""
        return self.data_file.read(self.offset + offset, max(0, min(length, self.length - offset)))

    def release(self) -> None:
        """Let go of the file; call it exactly once."""
        self.data_file.release()


def open_data(files: Files, path: Path, *, create: bool = False) -> DataFile:
    """Open a data file: its end is rounded up to a multiple of 8."""
    return DataFile.open(files, path, alignment=ALIGNMENT, create=create)
