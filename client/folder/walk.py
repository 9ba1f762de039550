"""Walking a folder by descriptors, one name at a time, without following symbolic links.

A link that appears in the way is an obstacle, not a way out. What the system refuses becomes `Obstacle`, a
full disk `DiskFull`.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from less_sync.client.folder.errors import DiskFull

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DISK_IS_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)

_RENAME_NOREPLACE: Final = 1
_CANNOT: Final = (errno.EINVAL, errno.ENOSYS)


class FileStat(NamedTuple):
    """What tells one version of a file from the next without reading it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Obstacle(Exception):
    """This path cannot be used here; `str()` says why.

    `replaced` when the file is certainly not there: a folder has its name, or a file the name of a folder
    above it. Another change of the same pull may clear that.
    """

    def __init__(self, reason: str, *, replaced: bool = False) -> None:
        super().__init__(reason)
        self.replaced = replaced


class ChangedMeanwhile(Exception):
    """The file is not the one that was expected: look again."""


@contextmanager
def obstacles() -> Iterator[None]:
    """Turn what the system refuses into Obstacle, a full disk into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise DiskFull(
                "no space left on the disk", "nothing was lost; make room and run it again"
            ) from error
        raise Obstacle((error.strerror or str(error)).lower()) from error


@contextmanager
def parent_of(root: int, path: str, *, make: bool = False) -> Iterator[tuple[int | None, str]]:
    """Descriptor of the folder that holds `path` below `root` (None when there is none) and the last name.

    Raises:
        Obstacle: a link or a file is in the way.
    """
    *above, name = path.split("/")
    current = os.dup(root)
    try:
        for step in above:
            below = _enter(current, step, make=make)
            if below is None:
                yield None, name
                return
            os.close(current)
            current = below
        yield current, name
    finally:
        os.close(current)


def _enter(current: int, name: str, *, make: bool) -> int | None:
    try:
        return os.open(name, DIRECTORY, dir_fd=current)
    except FileNotFoundError:
        if not make:
            return None
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        found = os.stat(name, dir_fd=current, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise Obstacle(f"{name} is in the way: it is a symbolic link") from None
        raise Obstacle(f"{name} is in the way: it is no folder", replaced=True) from None
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=current)
    return os.open(name, DIRECTORY, dir_fd=current)


def file_at(parent: int, name: str) -> FileStat | None:
    """The stat of a file in a folder, None when there is none.

    Raises:
        Obstacle: it is no regular file.
        OSError: the system does not tell.
    """
    try:
        return regular(os.stat(name, dir_fd=parent, follow_symlinks=False))
    except FileNotFoundError:
        return None


def regular(found: os.stat_result) -> FileStat:
    """The stat of a regular file.

    Raises:
        Obstacle: it is anything else.
    """
    if stat.S_ISREG(found.st_mode):
        return FileStat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    if stat.S_ISDIR(found.st_mode):
        raise Obstacle("a folder has this name here", replaced=True)
    kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
    raise Obstacle(f"it is {kind} here")


def rename_new(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Rename, but never over something: in one step where the system has it, else a link and an unlink.

    Raises:
        FileExistsError: the new name is taken.
        OSError: as `os.rename`.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        names = os.fsencode(name), os.fsencode(new_name)
        if function(src_dir_fd, names[0], dst_dir_fd, names[1], _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number), new_name)
    link_and_unlink(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


def link_and_unlink(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    """As `rename_new`, in two steps: a kill between them leaves the file under both names."""
    try:
        os.link(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # A disk that knows neither way has the old one left: look, then rename.
        if file_at(dst_dir_fd, new_name) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name) from None
        os.rename(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        return
    os.unlink(name, dir_fd=src_dir_fd)
