"""What a pull removed or replaced, kept in `.less-sync/trash/` for 30 days.

    trash/20261126T073000Z/notes/todo.txt      the file as it was when the pull took it away, UTC
    trash/20261126T073000Z-2/notes/todo.txt    the same path once more within that second

Files get there by a link or a rename, so that nothing is copied and no moment is without them. The folder's
lock makes the command the only writer.
"""

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from less_sync.client.folder.walk import (
    DIRECTORY,
    NO_LINKS,
    ChangedMeanwhile,
    FileStat,
    Obstacle,
    file_at,
    obstacles,
    parent_of,
)

KEPT_DAYS: Final = 30

_STAMP: Final = "%Y%m%dT%H%M%SZ"
_FOLDER: Final = re.compile(r"(\d{8}T\d{6}Z)(?:-(\d{1,4}))?", re.ASCII)
_SAME_SECOND_MAX: Final = 1000
_COPY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Trashed:
    """One file in the trash. `path` is where it was, `folder` the name of its folder in the trash."""

    path: str
    at: datetime
    size_bytes: int
    folder: str


class Trash:
    """The trash of one folder. `now` names what comes in."""

    def __init__(
        self,
        directory: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        link: Callable[..., None] = os.link,
    ) -> None:
        """Open or make it.

        Raises:
            OSError: it cannot be opened, or is a link.
        """
        self._directory = directory
        self._now = now
        self._link = link
        directory.mkdir(mode=0o700, exist_ok=True)
        self._fd = os.open(directory, DIRECTORY)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def keep(self, parent: int, name: str, path: str, *, expected: FileStat) -> None:
        """Keep the file `name` of a folder, which is about to be replaced, beside its place.

        Raises:
            ChangedMeanwhile: it is not the expected file.
            OSError: it cannot be kept, and must not be replaced then.
        """
        self._put(parent, name, path, expected, self._linked)

    def take(self, parent: int, name: str, path: str, *, expected: FileStat) -> None:
        """Move the file `name` of a folder into the trash.

        Raises: as `keep`.
        """
        self._put(parent, name, path, expected, _moved)

    def _put(
        self,
        parent: int,
        name: str,
        path: str,
        expected: FileStat,
        put: Callable[[int, str, int, str], None],
    ) -> None:
        stamp = self._now().strftime(_STAMP)
        for number in range(1, _SAME_SECOND_MAX):
            folder = stamp if number == 1 else f"{stamp}-{number}"
            try:
                with parent_of(self._fd, f"{folder}/{path}", make=True) as (kept_in, kept_as):
                    assert kept_in is not None
                    if _exists(kept_in, kept_as):
                        continue
                    put(parent, name, kept_in, kept_as)
                    if _identity(file_at(kept_in, kept_as)) != _identity(expected):
                        _back(kept_in, kept_as, parent, name)  # it was replaced in this moment
                        raise ChangedMeanwhile
                    return
            except Obstacle:
                continue  # a file of the trash has the name of a folder above this one
        raise Obstacle("too many files of this name came into the trash within one second")

    def _linked(self, parent: int, name: str, kept_in: int, kept_as: str) -> None:
        try:
            self._link(name, kept_as, src_dir_fd=parent, dst_dir_fd=kept_in, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            _copy(parent, name, kept_in, kept_as)

    def entries(self) -> list[Trashed]:
        """All that is in the trash, the latest first. What cannot be read is left out."""
        found = []
        for folder, at in self._folders():
            top = self._directory / folder
            for above, _, names in os.walk(top):
                for name in names:
                    file = Path(above, name)
                    with suppress(OSError):
                        kept = file.lstat()
                        if stat.S_ISREG(kept.st_mode):
                            path = str(file.relative_to(top))
                            found.append(Trashed(path, at, kept.st_size, folder))
        return sorted(found, key=lambda one: (one.at, one.folder, one.path), reverse=True)

    def put_back(self, entry: Trashed, root: int) -> None:
        """Put a file back in its place; what is there now comes into the trash.

        Raises:
            Obstacle: it cannot be put there.
            ChangedMeanwhile: the place changed in this moment: try again.
            DiskFull: no space for a folder.
        """
        with (
            obstacles(),
            parent_of(self._fd, f"{entry.folder}/{entry.path}") as (kept_in, kept_as),
            parent_of(root, entry.path, make=True) as (parent, name),
        ):
            if kept_in is None or parent is None or file_at(kept_in, kept_as) is None:
                raise ChangedMeanwhile
            there = file_at(parent, name)
            if there is not None:
                self.take(parent, name, entry.path, expected=there)
            if _exists(parent, name):
                raise ChangedMeanwhile
            _moved(kept_in, kept_as, parent, name)

    def prune(self, *, everything: bool = False) -> int:
        """Remove what is older than 30 days, or everything. Returns how many folders of the trash went."""
        oldest = self._now() - timedelta(days=KEPT_DAYS)
        old = [folder for folder, at in self._folders() if everything or at < oldest]
        for folder in old:
            shutil.rmtree(self._directory / folder, ignore_errors=True)
        return len(old)

    def _folders(self) -> Iterator[tuple[str, datetime]]:
        for folder in sorted(os.listdir(self._fd)):
            match = _FOLDER.fullmatch(folder)
            if match is not None:
                with suppress(ValueError):
                    yield folder, datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)


def _identity(found: FileStat | None) -> tuple[int, int] | None:
    """What stays of a file's stat when it is linked or moved; a copy has another inode."""
    return None if found is None else (found.size, found.mtime_ns)


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _moved(parent: int, name: str, kept_in: int, kept_as: str) -> None:
    os.rename(name, kept_as, src_dir_fd=parent, dst_dir_fd=kept_in)


def _back(kept_in: int, kept_as: str, parent: int, name: str) -> None:
    """Undo, without losing what somebody has put there: then the trash keeps what it has."""
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        _moved(kept_in, kept_as, parent, name)
        return
    if os.path.samestat(there, os.stat(kept_as, dir_fd=kept_in, follow_symlinks=False)):
        os.unlink(kept_as, dir_fd=kept_in)


def _copy(parent: int, name: str, kept_in: int, kept_as: str) -> None:
    with (
        open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent), "rb") as source,
        open(
            os.open(kept_as, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=kept_in), "wb"
        ) as target,
    ):
        shutil.copyfileobj(source, target, _COPY_BYTES)
        found = os.fstat(source.fileno())
        target.flush()
        os.utime(target.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
