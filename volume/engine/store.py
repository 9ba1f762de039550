"""All volumes of a server: the operations that make them come, go and change."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from less_sync.volume.engine.create import create_volume
from less_sync.volume.engine.disk_space import DiskWatch
from less_sync.volume.engine.errors import (
    ConfigureFailed,
    StateMismatch,
    VolumeError,
    VolumeExists,
    VolumeNotEmpty,
    VolumeNotFound,
)
from less_sync.volume.engine.expiry import Expiry, volume_expiry
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.loaded_volumes import LoadedVolumes, VolumeChange
from less_sync.volume.engine.move_index import move_index
from less_sync.volume.engine.reports import DiskReport, VolumeReport, disk_report, volume_report
from less_sync.volume.engine.state_file import STATE_NAME, ServerState, read_state, write_state
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.turn import Turn
from less_sync.volume.engine.volume import Volume
from less_sync.volume.engine.volume_state import Clock
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.names import base_name
from less_sync.volume.format.placement import parse_placement
from less_sync.volume.format.superblock import Superblock
from less_sync.volume.logs import Logger
from less_sync.volume.options import Options

_SECOND_NS: Final = 1_000_000_000
_log: Final = Logger(__name__)


class Store(LoadedVolumes):
    """The volumes of all data directories. Its methods belong to the event loop.

    Whatever makes a volume come or go waits for whatever does so with the same id.
    """

    def __init__(self, options: Options, files: Files | None = None, clock: Clock = time.time_ns) -> None:
        super().__init__(options, files, clock)
        self.state = ServerState()
        self.stopping = False
        self.volume_bytes_max = 0
        """What the master wants a volume to have at most; 0 until it has said so."""
        self.disks: Final = DiskWatch(self.locations)
        self._state_turn: Final = Turn()
        self._ending: Final[dict[Volume, asyncio.Task[None]]] = {}

    async def load(self) -> None:
        """Read the identities of the directories and the state, and load what lies in the directories.

        A volume that cannot be served is logged and left alone.

        Raises:
            VolumeError: the state is damaged.
            OSError: a directory is not there or may not be written.
        """
        for location in self.locations:
            await asyncio.to_thread(location.identify, self.files)
        await self.look_at_disks()
        await self.reload()
        if self.locations:
            self.state = await asyncio.to_thread(read_state, self._state_path)

    async def reload(self) -> None:
        """Load the volumes that are not loaded yet.

        Raises:
            OSError: a directory is not there or may not be read.
        """
        await self.load_all()

    async def sync(self) -> None:
        """Flush every volume that was written since its last flush; a failure is logged."""
        for volume in list(self.volumes()):
            try:
                await volume.sync()
            except OSError as error:
                _log.error("volume not flushed", volume=volume.id, fault=error)

    async def close(self) -> None:
        """Flush and close every volume; a failure is logged."""
        self.stopping = True
        if self._ending:
            await asyncio.wait(self._ending.values())
        for volume in list(self.volumes()):
            await self.close_one(volume)
        for location in self.locations:
            location.volumes.clear()

    async def set_state(self, state: ServerState) -> ServerState:
        """Change the state, if the version in `state` is that of the present one.

        Returns:
            The new state, with the next version.

        Raises:
            StateMismatch: it is not.
            VolumeError: the disk refused; nothing has changed.
        """
        async with self._state_turn:
            if state.version != self.state.version:
                raise StateMismatch(
                    f"version mismatch for VolumeServerState (got {self.state.version}, want {state.version})"
                )
            changed = ServerState(state.maintenance, state.version + 1)
            await to_the_end(asyncio.to_thread(write_state, self.files, self._state_path, changed))
            self.state = changed
            return changed

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
        """Create an empty volume where the fewest are; it is on the disk when this returns.

        Raises:
            VolumeExists: the server has one with this id.
            NoSpace: no directory of the disk type may take another one.
            VolumeError: no records can be written in `version`, or files that were there cannot be served.
            OSError: the disk refused.
        """
        async with self.alone_with(id):
            if self.volume(id) is not None:
                raise VolumeExists(f"Volume Id {id} already exists!")
            location = self.location_for(disk_type)
            location.being_created.add(id)
            try:
                superblock = Superblock(version, placement, ttl)
                place = location.place(base_name(collection, id))
                creation = asyncio.to_thread(
                    create_volume, self.loader, place, superblock, preallocate=preallocate
                )
                return self.add(location, id, collection, await to_the_end(creation))
            except FormatError as error:
                raise VolumeError(str(error)) from None
            finally:
                location.being_created.discard(id)

    async def mount(self, id: int) -> Volume:  # noqa: A002
        """Load a volume from the first directory that has it; one that is mounted is announced again.

        Raises:
            VolumeNotFound: there is none that can be served.
        """
        async with self.alone_with(id):
            return await self.mount_alone(id)

    async def unmount(self, id: int) -> None:  # noqa: A002
        """Close a volume in every directory and forget it; its files stay. Waits for a running compaction."""
        async with self.alone_with(id):
            await self.unmount_alone(id)

    async def delete_volume(self, id: int, *, only_empty: bool = False, keep_remote: bool = False) -> None:  # noqa: A002
        """Remove a volume and its files from every directory.

        Args:
            keep_remote: leave an object in a remote store where it is.

        Raises:
            VolumeNotFound: no directory has it.
            VolumeNotEmpty: something is stored in it, and `only_empty` is set.
            VolumeError: it is being compacted, or the disk refused.
        """
        async with self.alone_with(id):
            copies = self.copies(id)
            if not copies:
                raise VolumeNotFound(f"delete volume {id} not found on disk")
            faults: list[str] = []
            for volume in copies:
                try:
                    await self.destroy_alone(volume, only_empty=only_empty)
                except VolumeNotEmpty as error:
                    raise VolumeNotEmpty(f"DeleteVolume {id}: {error}") from None
                except (VolumeError, OSError) as error:
                    faults.append(str(error))
            if faults:
                raise VolumeError(f"DeleteVolume {id} failed on some disks: " + "\n".join(faults))

    async def delete_collection(self, collection: str) -> None:
        """Remove all volumes of a collection, the empty name meaning those of none, but not compacting ones.

        Raises:
            VolumeError: the disk refused some of it.
        """
        faults: list[str] = []
        for volume in [volume for volume in self.volumes() if volume.collection == collection]:
            async with self.alone_with(volume.id):
                if volume.is_compacting or volume.is_closed:
                    continue
                try:
                    await self.destroy_alone(volume)
                except (VolumeError, OSError) as error:
                    faults.append(str(error))
        if faults:
            raise VolumeError("; ".join(faults))

    async def configure(self, id: int, replication: str) -> None:  # noqa: A002
        """Give a volume another replica placement, in its `.vif`; it is unmounted and mounted for that.

        Raises:
            ConfigureFailed: with the step at which.
        """
        try:
            parse_placement(replication)
        except FormatError as error:
            raise ConfigureFailed("replication ", str(error)) from None
        async with self.alone_with(id):
            try:
                await self.unmount_alone(id)
            except OSError as error:
                raise ConfigureFailed("unmount ", str(error)) from error
            try:
                await to_the_end(asyncio.to_thread(self.save_replication, id, replication))
            except (VolumeError, OSError) as error:
                text = str(error)
                try:
                    await self.mount_alone(id)
                except VolumeError as second:
                    text += f". Also failed to restore mount: {second}"
                raise ConfigureFailed("", text) from None
            try:
                await self.mount_alone(id)
            except VolumeError as error:
                raise ConfigureFailed("mount ", str(error)) from None

    async def mark_read_only(
        self, volume: Volume, *, can_delete: bool = False, persist: bool = False
    ) -> None:
        """Let a volume take no writes any more, and no deletions unless `can_delete`.

        Args:
            persist: until it is marked writable; otherwise until the next load.

        Raises:
            VolumeClosed: it is.
            VolumeError: the `.vif` may not be written; the mark is set nevertheless.
            OSError: the disk refused; the mark is set nevertheless.
        """
        async with volume.turn:
            volume.require_open()  # The `.vif` may be that of another volume by now, or of none.
            volume.no_write_or_delete = not can_delete
            volume.no_write_can_delete = can_delete or volume.is_remote
            if persist:
                volume.info.read_only = True
                volume.info.read_only_can_delete = can_delete
                await self.save_info(volume)

    async def mark_writable(self, volume: Volume) -> None:
        """Let a volume take writes again, unless its data lies in a remote store; ends a quarantine.

        Raises:
            VolumeClosed: it is.
            VolumeError: the `.vif` may not be written; the volume takes writes nevertheless.
            OSError: the disk refused; the volume takes writes nevertheless.
        """
        async with volume.turn:
            volume.require_open()
            for file in (volume.data, volume.index):
                if file.is_torn:
                    file.cut(file.end)
            volume.no_write_or_delete = not (volume.data.writable and volume.index.writable)
            volume.no_write_can_delete = volume.is_remote
            volume.notice_torn_files()
            volume.is_quarantined = False
            volume.io_faults = 0
            volume.info.read_only = volume.info.read_only_can_delete = False
            await self.save_info(volume)

    async def consolidate_index(self, id: int) -> None:  # noqa: A002
        """Move the index of a volume that lies beside its data to the index directory.

        Raises:
            VolumeNotFound: the server does not have the volume.
            VolumeError: it could not be moved; the volume is served from where it lies.
        """
        async with self.alone_with(id):
            volume = self.volume(id)
            if volume is None:
                raise VolumeNotFound(f"volume {id} not found on disk")
            target = volume.location.index_directory
            if volume.index_directory == target or volume.is_closed:
                return
            async with volume.turn:
                await to_the_end(self._consolidate(volume))

    def watch(self, told: Callable[[VolumeChange], None]) -> None:
        """Have `told` called, on the loop, for every volume that comes or goes from now on."""
        self.changes.append(told)

    def reports(self) -> list[VolumeReport]:
        """All volumes that a master may know of, and the end of those whose time is long over."""
        now_s = self.clock() // _SECOND_NS
        found: list[VolumeReport] = []
        for volume in self.volumes():
            expiry = volume_expiry(
                ttl=volume.ttl,
                data_bytes=volume.data_bytes,
                last_modified_s=volume.last_modified,
                volume_bytes_max=self.volume_bytes_max,
                now_s=now_s,
            )
            if expiry is Expiry.DESTROY and volume not in self._ending:
                self._ending[volume] = asyncio.get_running_loop().create_task(self._end(volume))
            report = volume_report(volume) if expiry is Expiry.NO else None
            if report is not None:
                found.append(report)
        return found

    def disk_reports(self) -> list[DiskReport]:
        """All data directories, in order, and how many volumes each may hold as things stand now."""
        return [
            disk_report(place, self.disks.usage(place), self.volume_bytes_max) for place in self.locations
        ]

    def take_limits(self, volume_bytes_max: int, preallocate: bool) -> bool:
        """Remember what the master said; True if a directory may hold another number of volumes now.

        `preallocate` changes nothing here: what is reserved is not free, and is told with each volume.
        """
        if not volume_bytes_max:
            return False
        before = [report.slots for report in self.disk_reports()]
        self.volume_bytes_max = volume_bytes_max
        return before != [report.slots for report in self.disk_reports()]

    async def look_at_disks(self) -> None:
        """See how much space is free; takes half a second at most."""
        await self.disks.look_at_all()

    async def _end(self, volume: Volume) -> None:
        """Remove a volume whose time is over; one that is being compacted, at a later report."""
        try:
            async with self.alone_with(volume.id):
                if not volume.is_closed:
                    await self.destroy_alone(volume)
                    _log.info("volume removed: its time is over", volume=volume.id)
        except (VolumeError, OSError) as error:
            _log.warning("volume not removed although its time is over", volume=volume.id, reason=str(error))
        finally:
            del self._ending[volume]

    async def _consolidate(self, volume: Volume) -> None:
        """Move an index under the volume's turn. Reads go on: they need the map and the data alone."""
        source, directory = volume.index, volume.location.index_directory
        volume.index = await asyncio.to_thread(move_index, self.files, source, directory)
        source.close()

    @property
    def _state_path(self) -> Path:
        return self.locations[0].index_directory / STATE_NAME


__all__ = ["ServerState", "Store", "VolumeChange"]
