"""What a volume is made of: its files, its map of needles, and what it may do."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.data_file import DataFile
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.needle_map import NeedleMap
from less_sync.volume.engine.turn import Turn
from less_sync.volume.format.names import base_name
from less_sync.volume.format.rows import ROW_BYTES
from less_sync.volume.format.superblock import Superblock
from less_sync.volume.format.volume_info import VolumeInfo

if TYPE_CHECKING:
    from less_sync.volume.engine.compaction import Compacted
    from less_sync.volume.engine.location import Location

Clock = Callable[[], int]
"""Unix nanoseconds."""


@dataclass(slots=True)
class Loaded:
    """The open files of a volume and what they say (`engine.load`)."""

    data: DataFile
    index: DataFile
    needles: NeedleMap
    superblock: Superblock
    info: VolumeInfo
    placement: int
    last_append_ns: int = 0
    last_modified: int = 0
    no_write_or_delete: bool = False
    no_write_can_delete: bool = False

    def close(self) -> None:
        """Close both files."""
        self.data.close()
        self.index.close()


class VolumeState:
    """A volume's attributes. They change on the event loop only.

    `placement` is the replica placement byte in force (`.vif` before superblock), `version` that of new and
    old records; `last_modified` is the greatest time of a needle written or the one of the data file at the
    load, `modified_at_s` that of the last append, both in Unix seconds.
    """

    def __init__(
        self,
        id: int,  # noqa: A002
        collection: str,
        location: "Location",
        loaded: Loaded,
        *,
        files: Files,
        clock: Clock = time.time_ns,
    ) -> None:
        self.id: Final = id
        self.collection: Final = collection
        self.location: Final = location
        self.files: Final = files
        self.clock: Final = clock
        self.last_append_ns = 0
        self.adopt(loaded)
        self.turn: Final = Turn()
        self.is_quarantined = False
        """The disk failed three reads one after the other: the volume is not reported any more."""
        self.no_compaction: Final = asyncio.Event()
        """Not set while one is running: unmounting waits for it, deleting refuses."""
        self.no_compaction.set()
        self.compacted: Compacted | None = None
        """What the last compaction has seen, until it is committed or cleaned up."""
        self.is_closed = False
        self.closers = 0
        """Who waits to close it."""
        self.is_dirty = False
        """Whether anything was written since the last flush."""
        self.io_faults = 0

    def adopt(self, loaded: Loaded) -> None:
        """Serve from these files from now on. Whoever reads from the former ones finishes with them."""
        self.data = loaded.data
        self.index = loaded.index
        self.needles = loaded.needles
        self.superblock = loaded.superblock
        self.info = loaded.info
        self.placement = loaded.placement
        self.last_append_ns = max(self.last_append_ns, loaded.last_append_ns)
        self.last_modified = loaded.last_modified
        self.modified_at_s = loaded.last_modified
        self.no_write_or_delete = loaded.no_write_or_delete
        self.no_write_can_delete = loaded.no_write_can_delete

    @property
    def is_compacting(self) -> bool:
        """Whether a compaction is running."""
        return not self.no_compaction.is_set()

    @is_compacting.setter
    def is_compacting(self, running: bool) -> None:
        if running:
            self.no_compaction.clear()
        else:
            self.no_compaction.set()

    @property
    def is_closing(self) -> bool:
        """Whether it is closed, or somebody waits to close it: no vacuum may begin.

        One that did would go on beside the vacuum of a volume that is mounted from the same files, and both
        would write into the same new ones.
        """
        return self.is_closed or self.closers > 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written to it."""
        return self.data.end <= self.superblock.end and not self.needles.content_bytes

    @property
    def version(self) -> int:
        """Of the records: 1, 2 or 3."""
        return self.superblock.version

    @property
    def ttl(self) -> int:
        """As in `format.ttl`."""
        return self.superblock.ttl

    @property
    def revision(self) -> int:
        """How often it was compacted, modulo 65,536."""
        return self.superblock.revision

    @property
    def offset_bytes(self) -> int:
        """Width of offsets in its index, 4 or 5."""
        return self.needles.width

    @property
    def row_bytes(self) -> int:
        """Length of a row of its index."""
        return ROW_BYTES[self.needles.width]

    @property
    def base(self) -> str:
        """The name of its files without an extension."""
        return base_name(self.collection, self.id)

    @property
    def data_directory(self) -> Path:
        """Where its data and its `.vif` lie."""
        return self.location.directory

    @property
    def index_directory(self) -> Path:
        """Where its index lies, which may be beside the data although an index directory is set."""
        return self.index.path.parent

    @property
    def data_path(self) -> Path:
        """Of the data file, whether it is there or remote."""
        return self.data_directory / f"{self.base}.dat"

    @property
    def index_path(self) -> Path:
        """Of the index."""
        return self.index.path

    @property
    def info_path(self) -> Path:
        """Of the volume info."""
        return self.data_directory / f"{self.base}.vif"

    @property
    def is_remote(self) -> bool:
        """Whether the data lies in a remote store."""
        return bool(self.info.files)

    @property
    def read_only(self) -> bool:
        """Whether it takes no writes, for any of three reasons."""
        return self.no_write_or_delete or self.no_write_can_delete or self.location.is_low

    @property
    def data_bytes(self) -> int:
        """Size of the data file."""
        return self.data.end

    @property
    def index_bytes(self) -> int:
        """Size of the index."""
        return self.index.end

    @property
    def content_bytes(self) -> int:
        """Sum of the sizes of all needles ever written, garbage included."""
        return self.needles.content_bytes
