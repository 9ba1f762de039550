"""Opens the files of a volume, mends what a crash left, and finds out what the volume may do.

All of it is blocking: run it in a thread.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from less_sync.volume.engine.data_file import DataFile, open_data
from less_sync.volume.engine.errors import VolumeError, VolumeNotLoaded
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.index_head import repair_index_head
from less_sync.volume.engine.index_walk import walk_index
from less_sync.volume.engine.info_file import read_volume_info, save_volume_info
from less_sync.volume.engine.integrity import check_last_record
from less_sync.volume.engine.memory import LARGE_BYTES, return_memory
from less_sync.volume.engine.needle_map import NeedleMap
from less_sync.volume.engine.recovery import VolumePaths, recover
from less_sync.volume.engine.volume_state import Clock, Loaded
from less_sync.volume.engine.walk import read_up_to
from less_sync.volume.engine.width import choose_width
from less_sync.volume.format.errors import FormatError, SuperblockError
from less_sync.volume.format.placement import parse_placement
from less_sync.volume.format.rows import ALIGNMENT, ROW_BYTES
from less_sync.volume.format.superblock import SUPERBLOCK_BYTES, Superblock, decode_superblock
from less_sync.volume.format.volume_info import VolumeInfo
from less_sync.volume.logs import Logger

SUPERBLOCK_BYTES_MAX: Final = SUPERBLOCK_BYTES + 65_535
_OWNER_WRITES: Final = 0o200
_SECOND_NS: Final = 1_000_000_000
_log: Final = Logger(__name__)


@dataclass(frozen=True, slots=True)
class VolumeFiles:
    """Where the files of a volume lie."""

    directory: Path
    index_directory: Path
    base: str

    @property
    def data(self) -> Path:
        """The data file."""
        return self.directory / f"{self.base}.dat"

    @property
    def info(self) -> Path:
        """The volume info."""
        return self.directory / f"{self.base}.vif"

    @property
    def index(self) -> Path:
        """The index: beside the data if there is one, although an index directory is set."""
        beside = self.directory / f"{self.base}.idx"
        return beside if beside.exists() else self.index_directory / f"{self.base}.idx"


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads volumes with the same files, clock and width of new indexes."""

    files: Files
    clock: Clock
    configured_width: int

    def load(self, place: VolumeFiles) -> Loaded:
        """Open a volume.

        Raises:
            VolumeNotLoaded: it cannot be served; its files are as they were.
            OSError: the disk failed.
        """
        info = read_volume_info(place.info)
        if info is not None and info.files:
            raise VolumeNotLoaded(f"its data lies in {_backend(info)}, which is not configured")
        if not place.data.exists():
            raise VolumeNotLoaded("it has no data file")
        superblock = read_superblock(self.files, place.data)
        paths = VolumePaths(place.data, place.index)
        stated = info.bytes_offset if info is not None else 0
        version = superblock.version
        width = choose_width(
            self.files, paths, version=version, stated=stated, configured=self.configured_width
        )
        may_write = bool(place.data.stat().st_mode & _OWNER_WRITES)
        frozen = not may_write or (info is not None and info.read_only)
        if frozen and not paths.index.exists():
            raise VolumeNotLoaded(f"its index {paths.index.name} is missing, and it is read-only")
        doubt = "" if frozen else self._mend(paths, superblock, width)
        loaded = self._open(paths, superblock, info or VolumeInfo(), width)
        try:
            self._decide(loaded, doubt)
            if info is None:
                self._save_info(place, loaded)
        except BaseException:
            loaded.close()
            raise
        return loaded

    def _mend(self, paths: VolumePaths, superblock: Superblock, width: int) -> str:
        """Bring the files in step; why the volume should take no writes, or nothing."""
        version, start = superblock.version, superblock.end
        now_s = self.clock() // _SECOND_NS
        try:
            repair = recover(self.files, paths, version=version, width=width, start=start, now_s=now_s)
        except OSError as error:
            return f"not repaired: {error}"
        try:
            repair_index_head(self.files, paths, version=version, width=width, start=start)
        except OSError as error:
            _log.warning("head of an index not repaired", volume=paths.data.stem, reason=str(error))
        return repair.doubt

    def _open(self, paths: VolumePaths, superblock: Superblock, info: VolumeInfo, width: int) -> Loaded:
        """Both files, and what the volume info says; the map is still empty."""
        data = open_data(self.files, paths.data)
        try:
            index = DataFile.open(self.files, paths.index, create=not paths.index.exists())
        except BaseException:
            data.close()
            raise
        loaded = Loaded(data, index, NeedleMap(width), superblock, info, superblock.placement)
        info.version = superblock.version
        info.bytes_offset = width
        loaded.last_modified = int(paths.data.stat().st_mtime)
        if info.read_only:
            loaded.no_write_can_delete = info.read_only_can_delete
            loaded.no_write_or_delete = not info.read_only_can_delete
        try:
            if info.replication:
                loaded.placement = parse_placement(info.replication)
        except FormatError as error:
            _log.warning("placement of a volume info not understood", volume=paths.data.stem, why=str(error))
        return loaded

    def _decide(self, loaded: Loaded, doubt: str) -> None:
        """Check the files against each other, and fill the map."""
        data, index, width = loaded.data, loaded.index, loaded.needles.width
        version = loaded.superblock.version
        if index.end % ROW_BYTES[width]:
            raise VolumeNotLoaded(f"unexpected file {index.path.name} size: {index.end}")
        fault, loaded.last_append_ns = check_last_record(
            self.files, data, index, version=version, width=width
        )
        loaded.no_write_or_delete |= bool(doubt or fault) or not (data.writable and index.writable)
        # Existing servers count a volume that takes no writes in another way, and so do the recorded ones.
        backward = loaded.no_write_or_delete or loaded.no_write_can_delete
        walked = walk_index(index.read(0, index.end), width, version, backward=backward)
        loaded.needles = NeedleMap(width, walked.settled, walked.counters)
        if index.end >= LARGE_BYTES:
            return_memory()
        if walked.furthest_end > data.end:
            fault = fault or f"a row points at a record that ends at {walked.furthest_end}"
            loaded.no_write_or_delete = True
        if fault:
            _log.warning("volume takes no writes", volume=data.path.stem, reason=fault)

    def _save_info(self, place: VolumeFiles, loaded: Loaded) -> None:
        now_s = self.clock() // _SECOND_NS
        try:
            save_volume_info(self.files, place.info, loaded.info, ttl=loaded.superblock.ttl, now_s=now_s)
        except (OSError, VolumeError) as error:
            _log.warning("volume info not written", volume=place.base, reason=str(error))


def read_superblock(files: Files, path: Path) -> Superblock:
    """The superblock of a data file whose records an index can point at.

    Raises:
        VolumeNotLoaded: there is none, or the volume is of another kind.
        OSError: the disk failed.
    """
    fd = files.open(path, os.O_RDONLY)
    try:
        head = read_up_to(files, fd, SUPERBLOCK_BYTES_MAX, 0)
    finally:
        files.close(fd)
    if len(head) < SUPERBLOCK_BYTES:
        raise VolumeNotLoaded(f"volume {path.name} not initialized")
    try:
        superblock = decode_superblock(head)
    except SuperblockError as error:
        raise VolumeNotLoaded(str(error)) from None
    if superblock.end % ALIGNMENT:
        # Existing servers serve no volume with an extra part; this one could be served for none of its rows.
        raise VolumeNotLoaded(f"its records begin at {superblock.end}, where no row can point at")
    return superblock


def _backend(info: VolumeInfo) -> str:
    file = info.files[0]
    return f"the remote store {file.backend_type}.{file.backend_id}"
