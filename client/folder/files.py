"""Changes to a folder that cannot leave it and cannot overwrite what nobody has looked at.

Every path is walked from the folder's descriptor, one name at a time, without following symbolic links: a
link that appears in the way is an obstacle, not a way out. A change states what it expects to find; if
something else is there it does not happen. New content is written beside, synced, and put in place by one
`link` or `rename`, so that a kill leaves the old file or the new one.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from less_sync.client.folder.errors import DiskFull

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


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


class FileTree:
    """The files of one folder. Paths are relative, in the spelling of the disk."""

    def __init__(self, root: Path, spool: Path, *, link: Callable[..., None] = os.link) -> None:
        """`spool` is a directory of the same file system for what is being written.

        Raises:
            OSError: either cannot be opened.
        """
        self._link = link
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._spool = os.open(spool, _DIRECTORY)
        except BaseException:
            os.close(self._root)
            raise

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._spool)
        os.close(self._root)

    def is_still_at(self, root: Path) -> bool:
        """Whether this is the folder that `root` names now; an unmounted disk leaves another one there."""
        try:
            named = os.stat(root)
        except OSError:
            return False
        return os.path.samestat(named, os.fstat(self._root))

    def stat(self, path: str) -> FileStat | None:
        """The file's stat, or None when there is none.

        Raises:
            Obstacle: it is no regular file, or a parent is no folder.
        """
        with _obstacles(), self._parent(path) as (parent, name):
            return None if parent is None else _stat(parent, name)

    def read(self, path: str, bytes_max: int) -> tuple[FileStat, bytes]:
        """The whole content and the stat it belongs to.

        Raises:
            ChangedMeanwhile: it is gone, or was written to while it was read.
            Obstacle: it cannot be read, is no regular file, or is larger than `bytes_max`.
        """
        with _obstacles(), self._parent(path) as (parent, name):
            if parent is None:
                raise ChangedMeanwhile
            try:
                # Not blocking: a pipe may have taken the file's place.
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            except FileNotFoundError:
                raise ChangedMeanwhile from None
            with open(fd, "rb", buffering=0) as file:
                before = _regular(os.fstat(fd))
                if before.size > bytes_max:
                    raise Obstacle("it is too large")
                content = file.read(before.size + 1)
                while content and len(content) < before.size and (more := file.read(before.size)):
                    content += more
                if _regular(os.fstat(fd)) != before or len(content) != before.size:
                    raise ChangedMeanwhile
                return before, content

    def write(self, path: str, content: bytes, *, mtime_ns: int, expected: FileStat | None) -> FileStat:
        """Put a file in place of the expected one, or where nothing is. Makes the folders above it.

        Raises:
            ChangedMeanwhile: something else is there.
            Obstacle: it cannot be written there.
            DiskFull: no space; nothing was changed.
        """
        with _obstacles(), self._parent(path, make=True) as (parent, name):
            assert parent is not None
            found = _stat(parent, name)
            if found != expected:
                raise ChangedMeanwhile
            spooled = self._write_aside(parent, name if expected else None, content, mtime_ns)
            try:
                if expected is None:
                    self._link_new(spooled, parent, name)
                else:
                    self._replace(spooled, parent, name, expected)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(spooled, dir_fd=self._spool)
            # Without this a power cut could undo the change and make it look like a deletion by the user.
            os.fsync(parent)
            written = _stat(parent, name)
            if written is None:
                raise ChangedMeanwhile
            return written

    def delete(self, path: str, *, expected: FileStat) -> None:
        """Delete the expected file, and the folders above it that are empty then.

        Raises:
            ChangedMeanwhile, Obstacle: as `write`.
        """
        with _obstacles(), self._parent(path) as (parent, name):
            if parent is None or _stat(parent, name) != expected:
                raise ChangedMeanwhile
            os.unlink(name, dir_fd=parent)
            os.fsync(parent)
        while "/" in path:
            path = path.rpartition("/")[0]
            try:
                with self._parent(path) as (parent, name):
                    if parent is None:
                        return
                    os.rmdir(name, dir_fd=parent)
            except (OSError, Obstacle):
                return  # not empty, or not ours to remove

    def rename(self, path: str, new_path: str, *, expected: FileStat) -> FileStat:
        """Give the expected file another name in the same folder, where nothing is.

        Raises:
            ChangedMeanwhile, Obstacle: as `write`.
        """
        new_name = new_path.rpartition("/")[2]
        with _obstacles(), self._parent(path) as (parent, name):
            if parent is None or _stat(parent, name) != expected or _stat(parent, new_name) is not None:
                raise ChangedMeanwhile
            os.rename(name, new_name, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)
            renamed = _stat(parent, new_name)
            if renamed is None:
                raise ChangedMeanwhile
            return renamed

    def is_spelled_so(self, path: str) -> bool:
        """Whether the disk lists every name of `path` exactly so; some disks find `A` under `a`."""
        names = path.split("/")
        for depth, name in enumerate(names):
            with self._parent("/".join([*names[:depth], "x"])) as (parent, _):
                if parent is None or name not in os.listdir(parent):
                    return False
        return True

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int | None, str]]:
        """Descriptor of the folder that holds `path` (None when there is none) and the last name."""
        *above, name = path.split("/")
        current = os.dup(self._root)
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

    def _write_aside(self, parent: int, like: str | None, content: bytes, mtime_ns: int) -> str:
        spooled = secrets.token_hex(8)
        fd = os.open(spooled, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._spool)
        try:
            with open(fd, "wb", buffering=0) as file:
                rest = memoryview(content)
                while rest:
                    rest = rest[file.write(rest) :]
                if like is not None:
                    mode = os.stat(like, dir_fd=parent, follow_symlinks=False).st_mode
                    os.fchmod(fd, stat.S_IMODE(mode) & 0o777)
                with suppress(OSError, OverflowError):  # a time this disk cannot hold is not worth the file
                    os.utime(fd, ns=(mtime_ns, mtime_ns))
                os.fsync(fd)
        except BaseException:
            os.unlink(spooled, dir_fd=self._spool)
            raise
        return spooled

    def _link_new(self, spooled: str, parent: int, name: str) -> None:
        try:
            # Refuses an existing name: nothing that appeared meanwhile is overwritten.
            self._link(spooled, name, src_dir_fd=self._spool, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            raise ChangedMeanwhile from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if _stat(parent, name) is not None:
                raise ChangedMeanwhile from None
            os.rename(spooled, name, src_dir_fd=self._spool, dst_dir_fd=parent)

    def _replace(self, spooled: str, parent: int, name: str, expected: FileStat) -> None:
        if _stat(parent, name) != expected:
            raise ChangedMeanwhile
        os.rename(spooled, name, src_dir_fd=self._spool, dst_dir_fd=parent)


@contextmanager
def _obstacles() -> Iterator[None]:
    """Turn what the system refuses into Obstacle, a full disk into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                "no space left on the disk", "nothing was lost; make room and run it again"
            ) from error
        raise Obstacle((error.strerror or str(error)).lower()) from error


def _enter(current: int, name: str, *, make: bool) -> int | None:
    try:
        return os.open(name, _DIRECTORY, dir_fd=current)
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
    os.fsync(current)
    return os.open(name, _DIRECTORY, dir_fd=current)


def _stat(parent: int, name: str) -> FileStat | None:
    try:
        return _regular(os.stat(name, dir_fd=parent, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _regular(found: os.stat_result) -> FileStat:
    if stat.S_ISREG(found.st_mode):
        return FileStat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    if stat.S_ISDIR(found.st_mode):
        raise Obstacle("a folder has this name here", replaced=True)
    kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
    raise Obstacle(f"it is {kind} here")
