"""The data directories of a server and the volumes in them: the steps by which volumes come and go."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from less_sync.volume.engine.errors import NoSpace, VolumeError, VolumeNotFound, VolumeNotLoaded
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.info_file import read_volume_info, save_volume_info
from less_sync.volume.engine.load import Loader
from less_sync.volume.engine.location import Location, unfinished_vacuums
from less_sync.volume.engine.swap import finish_or_roll_back
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.turn import Turn
from less_sync.volume.engine.volume import Volume
from less_sync.volume.engine.volume_state import Clock, Loaded
from less_sync.volume.format.volume_info import VolumeInfo
from less_sync.volume.logs import Logger
from less_sync.volume.options import Options

LOADS_MAX: Final = max(os.cpu_count() or 1, 10)
"""Volumes that are opened at once."""
_SECOND_NS: Final = 1_000_000_000
_log: Final = Logger(__name__)


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


class LoadedVolumes:
    """Which volumes there are. Belongs to the event loop; what it does with files it does in threads."""

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
        self.loader: Final = Loader(self.files, clock, options.offset_bytes)
        self._alone: Final[dict[int, Turn]] = {}

    def volume(self, id: int) -> Volume | None:  # noqa: A002
        """The volume in the first directory that has it."""
        for location in self.locations:
            volume = location.volumes.get(id)
            if volume is not None:
                return volume
        return None

    def volumes(self) -> Iterator[Volume]:
        """All of them, directory by directory; nothing may come or go meanwhile."""
        for location in self.locations:
            yield from location.volumes.values()

    def copies(self, id: int) -> list[Volume]:  # noqa: A002
        """The volume in every directory that has it."""
        return [location.volumes[id] for location in self.locations if id in location.volumes]

    @asynccontextmanager
    async def alone_with(self, id: int) -> AsyncIterator[None]:  # noqa: A002
        """Keep off whoever else makes the volume come or go.

        Raises:
            VolumeBusy: too many wait.
        """
        turn = self._alone.setdefault(id, Turn())
        try:
            async with turn:
                yield
        finally:
            if not turn.held and self._alone.get(id) is turn:
                del self._alone[id]

    def add(self, location: Location, id: int, collection: str, loaded: Loaded) -> Volume:  # noqa: A002
        """Serve a volume from now on."""
        volume = Volume(id, collection, location, loaded, files=self.files, clock=self.clock)
        location.volumes[id] = volume
        self.tell(volume, added=True)
        return volume

    def tell(self, volume: Volume, *, added: bool) -> None:
        """Say that a volume came or went."""
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
        for listener in self.changes:
            listener(change)

    def location_for(self, disk_type: str) -> Location:
        """Where the next volume of a disk type is created: where the fewest are, the first of equals.

        Raises:
            NoSpace: nowhere.
        """
        wanted = disk_type.lower()
        wanted = "" if wanted == "hdd" else wanted
        open_ones = [place for place in self.locations if place.disk_type == wanted and place.has_room]
        if not open_ones:
            raise NoSpace
        return min(open_ones, key=lambda location: location.local_volumes)

    async def load_all(self) -> None:
        """Load the volumes that are not loaded yet; one that cannot be served is logged and left alone.

        Raises:
            OSError: a directory is not there or may not be read.
        """
        places = asyncio.Semaphore(LOADS_MAX)
        async with asyncio.TaskGroup() as group:
            for location in self.locations:
                by_id: dict[int, list[tuple[str, str]]] = {}
                await self._finish_vacuums(location)
                for collection, id_, base in await asyncio.to_thread(location.bases):
                    by_id.setdefault(id_, []).append((collection, base))
                for id_, names in by_id.items():
                    if id_ not in location.volumes:
                        group.create_task(self._load_one(places, location, id_, names))

    async def mount_alone(self, id: int) -> Volume:  # noqa: A002
        """Load a volume from the first directory that has it; see `Store.mount`."""
        volume = self.volume(id)
        if volume is not None:
            self.tell(volume, added=True)
            return volume
        for location in self.locations:
            await self._finish_vacuum(location, id)
            for collection, _, base in await asyncio.to_thread(location.bases, id):
                loaded = await self._try_load(location, base)
                if loaded is not None:
                    return self.add(location, id, collection, loaded)
        raise VolumeNotFound(f"volume {id} not found on disk")

    async def unmount_alone(self, id: int) -> None:  # noqa: A002
        """Close and forget every copy of a volume; see `Store.unmount`."""
        for volume in self.copies(id):
            while volume.is_compacting:
                await volume.no_compaction.wait()
            await self.close_one(volume)
            self._forget(volume)

    async def destroy_alone(self, volume: Volume, *, only_empty: bool = False) -> None:
        """Close a volume and remove its files.

        Raises:
            VolumeNotEmpty: something is stored in it, and `only_empty` is set.
            VolumeError: it is being compacted.
            OSError: the disk refused.
        """
        if volume.is_compacting:
            raise VolumeError(f"volume {volume.id} is compacting")
        await self.close_one(volume, only_empty=only_empty)
        self._forget(volume)
        await to_the_end(asyncio.to_thread(volume.location.remove, self.files, volume.base))

    async def close_one(self, volume: Volume, *, only_empty: bool = False) -> None:
        """Flush and close; a flush that fails is logged. Raises `VolumeNotEmpty` as `Volume.close`."""
        try:
            await volume.close(only_empty=only_empty)
        except OSError as error:
            _log.error("volume not flushed before it was closed", volume=volume.id, fault=error)

    async def save_info(self, volume: Volume) -> None:
        """Write the `.vif` of a volume, whose turn the caller holds.

        Raises:
            VolumeError: it may not be written.
            OSError: the disk refused.
        """
        now_s = self.clock() // _SECOND_NS
        await to_the_end(
            asyncio.to_thread(
                save_volume_info, self.files, volume.info_path, volume.info, ttl=volume.ttl, now_s=now_s
            )
        )

    def save_replication(self, id: int, replication: str) -> None:  # noqa: A002
        """Write another placement into the `.vif` of a volume that is not loaded. Blocking.

        Raises:
            VolumeNotFound: no directory has it.
            VolumeError: it may not be written.
            OSError: the disk refused.
        """
        for location in self.locations:
            for _, _, base in location.bases(id):
                path = location.place(base).info
                info = read_volume_info(path) or VolumeInfo()
                info.replication = replication
                save_volume_info(self.files, path, info, ttl=0, now_s=0)
                return
        raise VolumeNotFound(f"volume {id} not found on disk")

    def _forget(self, volume: Volume) -> None:
        if volume.location.volumes.get(volume.id) is volume:
            del volume.location.volumes[volume.id]
            self.tell(volume, added=False)

    async def _finish_vacuums(self, location: Location) -> None:
        for id_ in await asyncio.to_thread(unfinished_vacuums, location):
            async with self.alone_with(id_):
                await self._finish_vacuum(location, id_)

    async def _finish_vacuum(self, location: Location, id: int) -> None:  # noqa: A002
        """Bring what a vacuum of a volume that is not loaded left to an end; a failure is logged."""
        if id in location.volumes:
            return
        for base in (await asyncio.to_thread(unfinished_vacuums, location)).get(id, ()):
            finishing = asyncio.to_thread(
                finish_or_roll_back, self.files, location.directory, location.index_directory, base
            )
            try:
                await to_the_end(finishing)
            except (VolumeError, OSError) as error:
                _log.error("vacuum not finished", volume=base, reason=str(error))

    async def _load_one(
        self,
        places: asyncio.Semaphore,
        location: Location,
        id: int,  # noqa: A002
        names: list[tuple[str, str]],
    ) -> None:
        """Load what goes by an id in a directory: the first name that can be served."""
        async with places, self.alone_with(id):
            for collection, base in names:
                if id not in location.volumes:
                    loaded = await self._try_load(location, base)
                    if loaded is not None:
                        self.add(location, id, collection, loaded)

    async def _try_load(self, location: Location, base: str) -> Loaded | None:
        """Open a volume; None, and a line in the log, if it cannot be served, whatever the reason."""
        try:
            return await to_the_end(asyncio.to_thread(location.load, self.loader, base))
        except (VolumeNotLoaded, OSError) as error:
            _log.warning("volume not loaded", volume=base, reason=str(error))
        except Exception as error:
            _log.error("volume not loaded", volume=base, fault=error)
        return None
