"""Volumes of a directory as files: looked at and read without a server, and without changing anything.

A server may run beside it and write. What it writes meanwhile may be missed, or looked at twice; it is never
taken for damage, because rows are read before the records that they point at.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from less_sync.volume.engine.compaction import OldRecords
from less_sync.volume.engine.errors import VolumeNotLoaded
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.index_head import missing_head_rows
from less_sync.volume.engine.index_walk import walk_index
from less_sync.volume.engine.info_file import read_volume_info
from less_sync.volume.engine.load import read_superblock
from less_sync.volume.engine.recovery import Repair, VolumePaths, plan_repair
from less_sync.volume.engine.swap import VacuumPaths
from less_sync.volume.engine.walk import read_up_to
from less_sync.volume.engine.width import choose_width
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.names import parse_base_name
from less_sync.volume.format.rows import ALIGNMENT, Row, encode_row
from less_sync.volume.format.superblock import Superblock
from less_sync.volume.format.volume_info import VolumeInfo

LOOKS_MAX: Final = 5
"""At files that change while they are looked at."""
PAUSE_S: Final = 0.2
"""Before the next look."""
Advance = Callable[[int], None]
"""Told how many more bytes of the data files are done."""


@dataclass(frozen=True, slots=True)
class OfflineVolume:
    """A volume that could be served, and what a start would repair first."""

    base: str
    collection: str
    id: int
    paths: VolumePaths
    """Those that a start would serve: the new ones where a vacuum is decided."""
    info: VolumeInfo
    superblock: Superblock
    width: int
    repair: Repair
    head_rows: tuple[Row, ...]
    """That an old defect of existing servers wrote over."""

    def rows(self, files: Files) -> bytes:
        """The index as it would be after the repair.

        Raises:
            OSError: the disk failed.
        """
        head = b"".join(encode_row(*row, self.width) for row in self.head_rows)
        kept = b""
        if self.repair.index_end:
            fd = files.open(self.paths.index, os.O_RDONLY)
            try:
                kept = read_up_to(files, fd, self.repair.index_end, 0)
            finally:
                files.close(fd)
        return head + kept + self.repair.rows_added

    def live_by_offset(self, files: Files) -> Iterator[Row]:
        """The live rows in the order of their records, so that the disk is read from front to back.

        Raises:
            OSError: the disk failed.
        """
        import numpy as np

        settled = walk_index(self.rows(files), self.width, self.superblock.version, backward=False).settled
        values = np.frombuffer(settled.values, np.uint64)
        offsets = (values >> np.uint64(32)).astype(np.int64)
        if len(settled.high):
            offsets |= np.frombuffer(settled.high, np.uint8).astype(np.int64) << 32
        sizes = (values & np.uint64(0xFFFFFFFF)).astype(np.uint32).astype(np.int32)
        for at in np.argsort(offsets, kind="stable"):
            if sizes[at] >= 0:
                yield Row(settled.ids[at], int(offsets[at]) * ALIGNMENT, int(sizes[at]))

    def records(self, files: Files, data: int) -> OldRecords:
        """Its records; `data` is the open data file."""
        return OldRecords(files, data, self.superblock.version, self.width)


def bases_in(directory: Path) -> tuple[list[str], list[str]]:
    """Names of volumes in a directory, and of data files of which nothing says that they are volumes.

    Raises:
        OSError: it cannot be read.
    """
    names = {path.name for path in directory.iterdir() if path.is_file()}
    named = {
        Path(name).stem for name in names if name.endswith((".idx", ".vif")) and is_base(Path(name).stem)
    }
    lone = {Path(name).stem for name in names if name.endswith(".dat")} - named
    return sorted(named), sorted(lone)


def look_at(
    files: Files,
    directory: Path,
    index_directory: Path,
    base: str,
    *,
    configured_width: int,
    pause_s: float = PAUSE_S,
) -> OfflineVolume:
    """Find out what a volume is, and what a start would do to it.

    Raises:
        VolumeNotLoaded: a start would not serve it.
        OSError: the disk failed.
    """
    for _ in range(LOOKS_MAX):
        paths = _paths(directory, index_directory, base)
        before = _state(paths)
        found = _look_once(files, directory, paths, base, configured_width)
        if not found.repair.changes_anything and not found.repair.doubt:
            return found
        # Perhaps somebody writes, or has just put compacted files in place.
        time.sleep(pause_s)
        if _state(_paths(directory, index_directory, base)) == before:
            return found
    return found


def _look_once(
    files: Files, directory: Path, paths: VolumePaths, base: str, configured_width: int
) -> OfflineVolume:
    info = read_volume_info(directory / f"{base}.vif") or VolumeInfo()
    if info.files:
        raise VolumeNotLoaded("its data lies in a remote store")
    if not paths.data.exists():
        raise VolumeNotLoaded("it has no data file")
    superblock = read_superblock(files, paths.data)
    version, start = superblock.version, superblock.end
    width = choose_width(files, paths, version=version, stated=info.bytes_offset, configured=configured_width)
    repair = plan_repair(files, paths, version=version, width=width, start=start)
    head: list[Row] = []
    if repair.index_bytes >= 0:
        head = missing_head_rows(files, paths, version=version, width=width, start=start)
    collection, id_ = parse_base_name(base)
    return OfflineVolume(base, collection, id_, paths, info, superblock, width, repair, tuple(head))


def _paths(directory: Path, index_directory: Path, base: str) -> VolumePaths:
    beside = directory / f"{base}.idx"
    index = beside if beside.exists() else index_directory / f"{base}.idx"
    vacuum = VacuumPaths(directory / f"{base}.dat", index)
    if not vacuum.marker.exists():
        return VolumePaths(vacuum.data, vacuum.index)
    return VolumePaths(
        vacuum.new_data if vacuum.new_data.exists() else vacuum.data,
        vacuum.new_index if vacuum.new_index.exists() else vacuum.index,
    )


def _state(paths: VolumePaths) -> list[tuple[int, int]]:
    """Which files they are, and how long."""
    found = [path.stat() for path in (paths.data, paths.index) if path.exists()]
    return [(one.st_ino, one.st_size) for one in found]


def is_base(name: str) -> bool:
    """Whether files so named, but for the extension, can be those of a volume."""
    try:
        parse_base_name(name)
    except FormatError:
        return False
    return True
