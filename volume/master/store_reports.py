"""What a heartbeat tells of a store, and how many volumes fit where nobody has said it."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.expiry import Expiry, volume_expiry
from less_sync.volume.engine.location import Location
from less_sync.volume.engine.store import Store
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.ttl import ttl_number
from less_sync.volume.logs import Logger
from less_sync.volume.master.reports import Change, DiskReport, VolumeReport

_log = Logger(__name__)
_NS: Final = 1_000_000_000


class _Space(NamedTuple):
    total_bytes: int
    free_bytes: int


class StoreReports:
    """Reads the volumes at the moment of asking; of the disks, what the last `look` saw."""

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._spaces: dict[int, _Space] = {}
        self._missing: set[Path] = set()
        self._preallocates = False

    def reports(self) -> list[VolumeReport]:
        """All volumes but those that are closed, fail, have lost their file, or whose time is over."""
        return [
            _report(volume)
            for volume in self._store.volumes()
            if not (volume.is_closed or volume.is_quarantined or volume.data_path in self._missing)
            and self._expiry(volume) is Expiry.NO
        ]

    def disk_reports(self) -> list[DiskReport]:
        """All data directories, in order, with the limits that follow from what is free now."""
        self._count_what_fits()
        return [self._disk(location) for location in self._store.locations]

    def take_limits(self, volume_bytes_max: int, preallocate: bool) -> bool:
        """Remember what the master said; True if a directory may hold another number of volumes now."""
        store = self._store
        if preallocate == self._preallocates and volume_bytes_max in (0, store.volume_bytes_limit):
            return False
        self._preallocates = preallocate
        store.volume_bytes_limit = volume_bytes_max or store.volume_bytes_limit
        return self._count_what_fits()

    def watch(self, told: Callable[[Change], None]) -> None:
        """Have `told` called for every volume that comes or goes from now on."""
        self._store.changes.append(told)

    async def look(self) -> None:
        """Look at the disks, and for the data files of all volumes."""
        paths = [volume.data_path for volume in self._store.volumes() if volume.needles.file_count]
        directories = [location.directory for location in self._store.locations]
        self._spaces, self._missing = await asyncio.to_thread(_looked, directories, paths)

    async def destroy_expired(self) -> None:
        """Remove the volumes whose time, and the grace behind it, is over."""
        for volume in list(self._store.volumes()):
            if not volume.is_closed and self._expiry(volume) is Expiry.DESTROY:
                _log.info("volume has expired", volume=volume.id)
                try:
                    await self._store.destroy(volume)
                except (OSError, VolumeError) as error:
                    _log.error("expired volume cannot be removed", volume=volume.id, fault=error)

    def _expiry(self, volume: Volume) -> Expiry:
        return volume_expiry(
            ttl=volume.ttl,
            data_bytes=volume.data_bytes,
            last_modified_s=volume.last_modified,
            volume_bytes_max=self._store.volume_bytes_limit,
            now_s=self._store.clock() // _NS,
        )

    def _count_what_fits(self) -> bool:
        """Work out the limits of the directories that have none; True if one changed."""
        limit, changed = self._store.volume_bytes_limit, False
        for location in self._store.locations:
            if location.options.max_volumes or not limit:
                continue
            volumes = location.volumes.values()
            claimed = sum(max(0, limit - one.data_bytes) for one in volumes if not one.read_only)
            free = self._spaces.get(location.disk_id, _Space(0, 0)).free_bytes
            unclaimed = free - (0 if self._preallocates else claimed)
            fits = max(1, len(volumes) + max(0, unclaimed // limit))
            changed |= fits != location.max_volumes
            location.max_volumes = fits
        return changed

    def _disk(self, location: Location) -> DiskReport:
        space = self._spaces.get(location.disk_id, _Space(0, 0))
        volumes = location.volumes.values()
        return DiskReport(
            disk_id=location.disk_id,
            disk_type=location.disk_type,
            tags=location.tags,
            max_volumes=location.max_volumes,
            slots=len(volumes) if location.is_low else location.max_volumes,
            total_bytes=space.total_bytes,
            free_bytes=space.free_bytes,
            uuid=location.uuid,
            healthy=not location.is_failed,
            max_file_key=max((one.needles.max_key for one in volumes), default=0),
        )


def _looked(directories: list[Path], paths: list[Path]) -> tuple[dict[int, _Space], set[Path]]:
    spaces: dict[int, _Space] = {}
    for disk_id, directory in enumerate(directories):
        try:
            found = os.statvfs(directory)
        except OSError as error:
            _log.warning("disk cannot be looked at", directory=str(directory), kind=type(error).__name__)
            continue
        spaces[disk_id] = _Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)
    return spaces, {path for path in paths if not path.exists()}


def _report(volume: Volume) -> VolumeReport:
    remote = volume.info.files[0] if volume.info.files else None
    needles, location = volume.needles, volume.location
    return VolumeReport(
        id=volume.id,
        size=volume.data_bytes,
        collection=volume.collection,
        file_count=needles.file_count,
        deleted_count=needles.deleted_count,
        deleted_bytes=needles.deleted_bytes,
        read_only=volume.read_only,
        placement=volume.placement,
        version=volume.version,
        ttl=ttl_number(volume.ttl),
        revision=volume.revision,
        modified_s=volume.modified_at_s,
        disk_type=location.disk_type,
        disk_id=location.disk_id,
        remote_name=f"{remote.backend_type}.{remote.backend_id}" if remote else "",
        remote_key=remote.key if remote else "",
    )
