"""Changes to a folder that cannot leave it and cannot overwrite what nobody has looked at.

Every path is walked from the folder's descriptor (`walk.py`). A change states what it expects to find; if
something else is there it does not happen. New content is written aside, synced, and put in place by one
`link` or `rename`, so that a kill leaves the old file or the new one. What is replaced or deleted goes to
the trash.

Files are written in groups, because a disk syncs many files in little more than the time of one:

    spool, spool, ... ─▶ sync_spooled ─▶ place, place, ... ─▶ sync_folders ─▶ and only then the state
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final
from uuid import UUID

from less_sync.client.folder.partial import PARTIAL, Partial, drop_partials, set_mtime
from less_sync.client.folder.trash import Trash, Trashed
from less_sync.client.folder.walk import (
    DIRECTORY,
    NO_LINKS,
    ChangedMeanwhile,
    FileStat,
    Obstacle,
    file_at,
    obstacles,
    parent_of,
    regular,
    rename_new,
)

SPOOL: Final = "tmp"
TRASH: Final = "trash"

_SYNCS_AT_ONCE: Final = 8
_MODES: Final = 0o777


class FileTree:
    """The files of one folder. Paths are relative, in the spelling of the disk."""

    def __init__(
        self,
        root: Path,
        state_dir: Path | None,
        *,
        link: Callable[..., None] = os.link,
        rename: Callable[..., None] = rename_new,
        sync: Callable[[int], None] = os.fsync,
    ) -> None:
        """`state_dir` is a directory of the same disk; what is being written lies there, and the trash. None
        for who only looks.

        Raises:
            OSError: one of them cannot be opened.
        """
        self._link = link
        self._rename = rename
        self._sync = sync
        self._spooled = 0
        self._changed_folders: set[str] = set()
        with ExitStack() as stack:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, self._root)
            if state_dir is not None:
                self._state_dir = os.open(state_dir, DIRECTORY)
                stack.callback(os.close, self._state_dir)
                self.trash = Trash(state_dir / TRASH, link=link)
                stack.callback(self.trash.close)
                self._syncing = ThreadPoolExecutor(_SYNCS_AT_ONCE, thread_name_prefix="fsync")
                stack.callback(self._syncing.shutdown)
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Give the descriptors back."""
        self._opened.close()

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
        with obstacles(), parent_of(self._root, path) as (parent, name):
            return None if parent is None else file_at(parent, name)

    @contextmanager
    def reading(self, path: str) -> Iterator[tuple[FileStat, FileIO]]:
        """The file, open, and its stat; at the end it must still have that stat.

        Raises:
            ChangedMeanwhile: it is gone, or was written to meanwhile.
            Obstacle: it cannot be read, or is no regular file.
        """
        with obstacles(), parent_of(self._root, path) as (parent, name):
            if parent is None:
                raise ChangedMeanwhile
            try:
                # Not blocking: a pipe may have taken the file's place.
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            except FileNotFoundError:
                raise ChangedMeanwhile from None
            with open(fd, "rb", buffering=0) as file:
                before = regular(os.fstat(fd))
                yield before, file
                if regular(os.fstat(fd)) != before:
                    raise ChangedMeanwhile

    def read(self, path: str, bytes_max: int) -> tuple[FileStat, bytes]:
        """The whole content and the stat it belongs to.

        Raises: as `reading`, and
            Obstacle: it is larger than `bytes_max`.
        """
        with self.reading(path) as (before, file):
            if before.size > bytes_max:
                raise Obstacle("it is too large")
            content = file.read(before.size + 1)
            while content and len(content) < before.size and (more := file.read(before.size)):
                content += more
            if len(content) != before.size:
                raise ChangedMeanwhile
            return before, content

    def spool(self, content: bytes, *, mtime_ns: int) -> str:
        """Write a file aside and return its name there. It is safe from a power cut after `sync_spooled`.

        Raises:
            Obstacle: it cannot be written.
            DiskFull: no space; nothing was changed.
        """
        self._spooled += 1
        name = f"{SPOOL}/{self._spooled}"
        with obstacles():
            fd = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._state_dir
            )
            try:
                with open(fd, "wb", buffering=0) as file:
                    rest = memoryview(content)
                    while rest:
                        rest = rest[file.write(rest) :]
                    set_mtime(fd, mtime_ns)
            except BaseException:
                self.drop(name)
                raise
        return name

    def sync_spooled(self, names: Iterable[str]) -> None:
        """Bring written files to the disk, several at once.

        Raises:
            Obstacle, DiskFull: as `spool`.
        """
        with obstacles():
            for _ in self._syncing.map(self._sync_spooled, names):
                pass

    def _sync_spooled(self, name: str) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._state_dir)
        try:
            self._sync(fd)
        finally:
            os.close(fd)

    def drop(self, spooled: str) -> None:
        """Remove a written file that is not wanted any more. What was downloaded stays, to be tried again."""
        if not spooled.startswith(PARTIAL):
            self._unlink(spooled)

    def _unlink(self, spooled: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(spooled, dir_fd=self._state_dir)

    def partial(self, content: UUID) -> Partial:
        """The file in which a large content is put together; it goes where it belongs by `place`.

        Raises:
            Obstacle: it cannot be opened.
            DiskFull: no space for it.
        """
        return Partial(self._state_dir, content)

    def drop_partials(self, keep: set[UUID]) -> list[UUID]:
        """Remove what was downloaded of other contents than these, and return of which.

        Raises:
            Obstacle: the disk refuses it.
        """
        return drop_partials(self._state_dir, keep)

    def place(self, spooled: str, path: str, *, expected: FileStat | None) -> FileStat:
        """Put a written file in place of the expected one, or where nothing is. Makes the folders above it.

        A file that is replaced keeps its mode. Whatever happens, the written file is not aside any more; one
        that was downloaded (`partial.py`) stays there unless it was placed.

        Raises:
            ChangedMeanwhile: something else is there.
            Obstacle: it cannot be put there.
            DiskFull: no space; nothing was changed.
        """
        try:
            with obstacles(), self._changing(path, make=True) as (parent, name):
                assert parent is not None
                if file_at(parent, name) != expected:
                    raise ChangedMeanwhile
                if expected is None:
                    self._link_new(spooled, parent, name)
                else:
                    self._replace(spooled, parent, name, path, expected)
                self._unlink(spooled)  # its link would go later and change the ctime
                placed = file_at(parent, name)
                if placed is None:
                    raise ChangedMeanwhile
                return placed
        finally:
            self.drop(spooled)

    def delete(self, path: str, *, expected: FileStat) -> None:
        """Move the expected file to the trash, and remove the folders above it that are empty then.

        Raises:
            ChangedMeanwhile, Obstacle: as `place`.
        """
        with obstacles(), self._changing(path) as (parent, name):
            if parent is None or file_at(parent, name) != expected:
                raise ChangedMeanwhile
            self.trash.take(parent, name, path, expected=expected)
        while "/" in path:
            path = path.rpartition("/")[0]
            try:
                with self._changing(path) as (parent, name):
                    if parent is None:
                        return
                    os.rmdir(name, dir_fd=parent)
            except (OSError, Obstacle):
                return  # not empty, or not ours to remove

    def rename(self, path: str, new_path: str, *, expected: FileStat) -> FileStat:
        """Give the expected file another name in the same folder, where nothing is.

        Raises:
            ChangedMeanwhile, Obstacle: as `place`.
        """
        new_name = new_path.rpartition("/")[2]
        with obstacles(), self._changing(path) as (parent, name):
            if parent is None or file_at(parent, name) != expected:
                raise ChangedMeanwhile
            try:
                self._rename(name, new_name, src_dir_fd=parent, dst_dir_fd=parent)
            except FileExistsError:
                raise ChangedMeanwhile from None
            renamed = file_at(parent, new_name)
            if renamed is None:
                raise ChangedMeanwhile
            return renamed

    def put_back(self, entry: Trashed) -> None:
        """Put a file from the trash back; what is in its place comes into the trash.

        Raises:
            ChangedMeanwhile, Obstacle, DiskFull: as `place`.
        """
        self.trash.put_back(entry, self._root)
        with suppress(Obstacle), self._changing(entry.path):
            pass
        self.sync_folders()

    def sync_folders(self) -> None:
        """Bring the names that were changed since the last call to the disk.

        Without this a power cut could undo a change and make it look like a deletion by the user.

        Raises:
            Obstacle, DiskFull: as `spool`.
        """
        while self._changed_folders:
            folder = self._changed_folders.pop()
            path = f"{folder}/x" if folder else "x"
            # A folder that is gone or replaced again has nothing to sync; those above it are synced too.
            with obstacles(), suppress(Obstacle), parent_of(self._root, path) as (fd, _):
                if fd is not None:
                    self._sync(fd)

    def is_spelled_so(self, path: str) -> bool:
        """Whether the disk lists every name of `path` exactly so; some disks find `A` under `a`."""
        names = path.split("/")
        for depth, name in enumerate(names):
            with parent_of(self._root, "/".join([*names[:depth], "x"])) as (parent, _):
                if parent is None or name not in os.listdir(parent):
                    return False
        return True

    @contextmanager
    def _changing(self, path: str, *, make: bool = False) -> Iterator[tuple[int | None, str]]:
        """As `parent_of`; the folder, and those above it that may be new, will be synced."""
        folder = path.rpartition("/")[0]
        with parent_of(self._root, path, make=make) as found:
            while folder not in self._changed_folders:
                self._changed_folders.add(folder)
                folder = folder.rpartition("/")[0]
            yield found

    def _link_new(self, spooled: str, parent: int, name: str) -> None:
        try:
            # Refuses an existing name: nothing that appeared meanwhile is overwritten.
            self._link(spooled, name, src_dir_fd=self._state_dir, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            raise ChangedMeanwhile from None
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            try:
                self._rename(spooled, name, src_dir_fd=self._state_dir, dst_dir_fd=parent)
            except FileExistsError:
                raise ChangedMeanwhile from None

    def _replace(self, spooled: str, parent: int, name: str, path: str, expected: FileStat) -> None:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        os.chmod(spooled, stat.S_IMODE(mode) & _MODES, dir_fd=self._state_dir)
        self.trash.keep(parent, name, path, expected=expected)
        found = file_at(parent, name)
        # The link in the trash has changed the file's ctime, and nothing else may have.
        if found is None or found._replace(ctime_ns=expected.ctime_ns) != expected:
            raise ChangedMeanwhile
        os.rename(spooled, name, src_dir_fd=self._state_dir, dst_dir_fd=parent)
