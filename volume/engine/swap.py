"""The files of a vacuum, and how they take the place of the old ones (docs/volume.md 7.5).

`.cpd` and `.cpx` are the new data and index. `.cpc`, the marker, is there from the moment at which it is
decided that they replace the old ones until they have. So whatever a crash leaves can be judged by the
marker alone: with it the pending renames are made, without it the new files are removed. For that to hold
the marker must never stand beside a `.cpd` that is not complete: it is created last and removed first.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.recovery import remove_derived


class SwapUnfinished(VolumeError):
    """The new data file is in place and nothing is lost, but not everything behind it was done."""


class SwapUndecided(VolumeError):
    """What a start would make of the files is not what is served now: nothing more may be written."""


@dataclass(frozen=True, slots=True)
class VacuumPaths:
    """Data and index of a volume, and what stands beside them during a vacuum."""

    data: Path
    index: Path

    @property
    def new_data(self) -> Path:
        """Compacted data."""
        return self.data.with_suffix(".cpd")

    @property
    def new_index(self) -> Path:
        """Its index."""
        return self.index.with_suffix(".cpx")

    @property
    def marker(self) -> Path:
        """Empty; the swap is decided."""
        return self.data.with_suffix(".cpc")

    @property
    def directories(self) -> set[Path]:
        """One or two."""
        return {self.data.parent, self.index.parent}


def finish_or_roll_back(files: Files, directory: Path, index_directory: Path, base: str) -> bool:
    """Bring a vacuum that a crash interrupted to one of its ends. The volume must not be open.

    Args:
        directory: of the data; an index may lie there too, although there is a directory for indexes.

    Returns:
        Whether there was anything to do.

    Raises:
        OSError: the disk refused; the next start finds the same or less to do.
    """
    sides = [
        VacuumPaths(directory / f"{base}.dat", where / f"{base}.idx")
        for where in dict.fromkeys((index_directory, directory))
    ]
    marker = sides[0].marker
    if marker.exists():
        complete = any(paths.new_index.exists() for paths in sides)
        if sides[0].new_data.exists() and not complete:
            # No swap begins without both files or ends with the data: existing servers leave a marker behind
            # when there is nothing to commit, and the next compaction has died beside it.
            files.remove(sides[0].new_data)
            files.sync_directory(directory)
        _finish(files, *sides)
        return True
    left = [path for paths in sides for path in (paths.new_data, paths.new_index) if path.exists()]
    for paths in sides:
        remove_new_files(files, paths)
    if left:
        for paths in sides:
            remove_derived(files, paths.index)
            files.sync_directory(paths.index.parent)
    return bool(left)


def remove_new_files(files: Files, paths: VacuumPaths) -> None:
    """Remove the new files, and a copy of a map that other servers keep during a vacuum."""
    files.remove(paths.new_data)
    files.remove(paths.new_index)
    files.remove_tree(paths.index.with_suffix(".cpldb"))


def settle(files: Files, paths: VacuumPaths) -> None:
    """Get a marker out of the way that an unfinished swap of a volume now open has left.

    A new `.cpd` beside it would be taken for complete after a crash.

    Raises:
        OSError: it cannot be removed, and nothing new may be begun.
    """
    if not paths.marker.exists():
        return
    if paths.new_data.exists():
        if not withdraw(files, paths):
            raise OSError(errno.EIO, f"{paths.marker.name} cannot be removed")
    else:
        _finish(files, paths)


def swap(files: Files, paths: VacuumPaths) -> None:
    """Put the new files in the place of the old ones. Both are on the disk already, names included.

    Raises:
        OSError: nothing has changed, and nothing of the new files or the marker is left.
        SwapUnfinished: the new data file is in place; `finish_or_roll_back` or `settle` does the rest.
        SwapUndecided: nothing has changed, but a crash now would still put the new files in place.
    """
    try:
        _mark(files, paths)
        files.rename(paths.new_data, paths.data)
    except OSError as error:
        if not withdraw(files, paths):
            raise SwapUndecided(f"{paths.marker.name} cannot be removed: {error}") from error
        raise
    try:
        _finish(files, paths)
    except OSError as error:
        raise SwapUnfinished(f"compact swap of {paths.data.stem} unfinished: {error}") from error


def withdraw(files: Files, paths: VacuumPaths) -> bool:
    """Make sure that a crash does not put the new files in place: remove the marker, or else both of them."""
    harmless = False
    for group in ((paths.marker,), (paths.new_data, paths.new_index)):
        try:
            for path in group:
                files.remove(path)
            for directory in paths.directories:
                files.sync_directory(directory)
        except OSError:
            continue
        harmless = True
    return harmless


def _mark(files: Files, paths: VacuumPaths) -> None:
    fd = files.open(paths.marker, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        files.sync(fd)
    finally:
        files.close(fd)
    files.sync_directory(paths.marker.parent)


def _finish(files: Files, *sides: VacuumPaths) -> None:
    """Make all renames that are pending, and only then drop the marker."""
    for paths in sides:
        if paths.new_data.exists():
            files.rename(paths.new_data, paths.data)
        if paths.new_index.exists():
            files.rename(paths.new_index, paths.index)
    for directory in {directory for paths in sides for directory in paths.directories}:
        files.sync_directory(directory)
    for paths in sides:
        remove_derived(files, paths.index)
    files.remove(sides[0].marker)
    files.sync_directory(sides[0].marker.parent)
