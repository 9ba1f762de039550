"""Every file operation that a volume stands on, in one object, so that a test can make each of them fail."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from less_sync.volume.format.checksums import Bytes

MODE_NEW = 0o644


class Files:
    """The operating system's file operations, as they are. Raises `OSError`."""

    def open(self, path: Path, flags: int, mode: int = MODE_NEW) -> int:
        """A descriptor, closed on exec."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """Let go of a descriptor."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """Length of an open file."""
        return os.fstat(fd).st_size

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes; fewer at the end of the file."""
        return os.pread(fd, length, offset)

    def pwrite(self, fd: int, data: Bytes, offset: int) -> int:
        """How many bytes were written, which may be fewer than asked."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, length: int) -> None:
        """Cut or extend to `length`."""
        os.ftruncate(fd, length)

    def preallocate(self, fd: int, length: int) -> None:
        """Reserve blocks; where the file system cannot, nothing happens."""
        _preallocate(fd, length)

    def sync(self, fd: int) -> None:
        """Flush data and what is needed to find it again."""
        os.fdatasync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Put a file in the place of another one."""
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        """Remove a file; that it is not there is no fault."""
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """The same, and of a directory all that is in it."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            self.remove(path)

    def sync_directory(self, path: Path) -> None:
        """Make creations, renames and removals in a directory last."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace_text(self, path: Path, content: bytes, mode: int = MODE_NEW) -> None:
        """Write a small file so that a crash leaves the old one or the new one, never a mixture."""
        temporary = path.with_name(path.name + ".tmp")
        try:
            fd = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            try:
                write_all(self, fd, (content,), 0)
                self.sync(fd)
            finally:
                self.close(fd)
            self.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                self.remove(temporary)
            raise
        self.sync_directory(path.parent)


def write_all(files: Files, fd: int, pieces: Sequence[Bytes], offset: int) -> int:
    """Write pieces one behind the other, each with as few calls as the system allows.

    Returns:
        Where they end.

    Raises:
        OSError: the disk refused; what was written before it did stays.
    """
    for piece in pieces:
        written = files.pwrite(fd, piece, offset)
        offset += written
        if written != len(piece):
            rest = memoryview(piece)[written:]
            while rest:
                written = files.pwrite(fd, rest, offset)
                if not written:
                    raise OSError(5, "nothing was written")
                offset += written
                rest = rest[written:]
    return offset


def _preallocate(fd: int, length: int) -> None:
    """Reserve blocks beyond the end without changing the size, so that the file still ends at its data."""
    import ctypes

    keep_size = 1
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(libc, "fallocate", None)
    if fallocate is not None:
        fallocate(fd, keep_size, ctypes.c_int64(0), ctypes.c_int64(length))
