"""All volumes of a server."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from less_sync.volume.engine.data_file import DataFile, open_data
from less_sync.volume.engine.errors import NoSpace, VolumeExists, VolumeNotFound
from less_sync.volume.engine.files import Files, write_all
from less_sync.volume.engine.location import Location
from less_sync.volume.engine.needle_map import NeedleMap
from less_sync.volume.engine.volume import Volume
from less_sync.volume.engine.volume_state import Clock, Loaded
from less_sync.volume.format.names import base_name
from less_sync.volume.format.superblock import Superblock
from less_sync.volume.format.volume_info import VolumeInfo
from less_sync.volume.options import Options


@dataclass(frozen=True, slots=True)
class VolumeChange:
    """A volume appeared on the server, or left it. `ttl` as in `format.ttl`."""

    added: bool
    volume_id: int
    collection: str
    placement: int
    version: int
    ttl: int
    disk_type: str
    disk_id: int


@dataclass(slots=True)
class ServerState:
    """What the server remembers of itself; `version` counts its changes."""

    maintenance: bool = False
    version: int = 0


class Store:
    """The volumes of all data directories. Its methods belong to the event loop."""

    def __init__(self, options: Options, files: Files | None = None, clock: Clock = time.time_ns) -> None:
        self.options: Final = options
        self.files: Final = files or Files()
        self.clock: Final = clock
        self.locations: Final = [
            Location(directory, options.index_directory, disk_id)
            for disk_id, directory in enumerate(options.directories)
        ]
        self.changes: Final[list[Callable[[VolumeChange], None]]] = []
        """Called, on the loop, for every volume that comes or goes."""
        self.state = ServerState()
        self.stopping = False

    async def load(self) -> None:
        """Load what lies in the directories."""

    def volume(self, id: int) -> Volume | None:  # noqa: A002
        """The volume in the first directory that has it."""
        for location in self.locations:
            volume = location.volumes.get(id)
            if volume is not None:
                return volume
        return None

    def require(self, id: int) -> Volume:  # noqa: A002
        """The same.

        Raises:
            VolumeNotFound: no directory has it.
        """
        volume = self.volume(id)
        if volume is None:
            raise VolumeNotFound(f"volume {id} not found")
        return volume

    async def allocate(
        self,
        id: int,  # noqa: A002
        collection: str = "",
        *,
        placement: int = 0,
        ttl: int = 0,
        version: int = 3,
        disk_type: str = "",
        preallocate: int = 0,
    ) -> Volume:
        """Create an empty volume."""
        if self.volume(id) is not None:
            raise VolumeExists(f"Volume Id {id} already exists!")
        if not self.locations:
            raise NoSpace
        location = self.locations[0]
        base = base_name(collection, id)
        path = location.directory / f"{base}.dat"
        superblock = Superblock(version, placement, ttl)
        fd = self.files.open(path, os.O_RDWR | os.O_CREAT)
        write_all(self.files, fd, (superblock.encode(),), 0)
        self.files.close(fd)
        loaded = Loaded(
            open_data(self.files, path),
            DataFile.open(self.files, location.index_directory / f"{base}.idx", create=True),
            NeedleMap(self.options.offset_bytes),
            superblock,
            VolumeInfo(version=version, bytes_offset=self.options.offset_bytes),
            placement,
        )
        volume = Volume(id, collection, location, loaded, files=self.files, clock=self.clock)
        location.volumes[id] = volume
        self._tell(volume, added=True)
        return volume

    def _tell(self, volume: Volume, *, added: bool) -> None:
        location = volume.location
        change = VolumeChange(
            added,
            volume.id,
            volume.collection,
            volume.placement,
            volume.version,
            volume.ttl,
            location.disk_type,
            location.disk_id,
        )
        for told in self.changes:
            told(change)

    async def close(self) -> None:
        """Flush and close every volume."""
        for location in self.locations:
            for volume in location.volumes.values():
                volume.data.close()
                volume.index.close()
            location.volumes.clear()
