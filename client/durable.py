"""Small files that may not be lost: whole or not there at all, private, and still there after a power cut.

A file's content is on disk once the file is synced, its name once the directory is. Who sees a name may rely
on both: so whoever makes one syncs in this order, and whoever finds that another was faster syncs it too.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOCK_WAIT_S: Final = 5.0
_LOCK_PAUSE_S: Final = 0.01


class Disk:
    """The calls that names depend on. Tests record them, or let somebody else be faster."""

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name. Raises FileExistsError when that is taken."""
        os.link(source, target)

    def replace(self, source: Path, target: Path) -> None:
        """Rename over what is there."""
        os.replace(source, target)

    def sync(self, path: Path) -> None:
        """Wait until a file's content, or a directory's names, are on disk."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


DISK: Final = Disk()


def make_directories(directory: Path, *, disk: Disk = DISK) -> None:
    """As `mkdir -p`, but every directory made is private, and on disk."""
    for part in (*reversed(directory.parents), directory):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)
            disk.sync(part.parent)


def create(path: Path, content: bytes, *, disk: Disk = DISK) -> bool:
    """Make a file of mode 0600 in a directory that exists. False, and nothing else, if the name is taken."""
    with _written_beside(path, content, disk) as temporary:
        try:
            disk.link(temporary, path)
            made = True
        except FileExistsError:
            made = False
    disk.sync(path.parent)
    return made


def replace(path: Path, content: bytes, *, disk: Disk = DISK) -> None:
    """Put a file of mode 0600 where another may be, at once: at no time is there neither."""
    with _written_beside(path, content, disk) as temporary:
        disk.replace(temporary, path)
    disk.sync(path.parent)


@contextmanager
def _written_beside(path: Path, content: bytes, disk: Disk) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        disk.sync(temporary)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked_directory(directory: Path, *, wait_s: float = _LOCK_WAIT_S) -> Iterator[None]:
    """Be the only one in this directory who replaces files; those who only create need no lock.

    Raises:
        TimeoutError: somebody held it for `wait_s`.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for _ in range(round(wait_s / _LOCK_PAUSE_S)):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_S)
        else:
            raise TimeoutError
        yield
    finally:
        os.close(fd)
