"""What a server tells its master of volumes and disks."""

import os
from typing import NamedTuple

from less_sync.volume.engine.disk_space import DiskUsage, volumes_max
from less_sync.volume.engine.location import Location
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.ttl import ttl_number


class VolumeReport(NamedTuple):
    """One volume. Equal reports are the same to a master."""

    id: int
    size: int
    """Bytes of the data file."""
    collection: str
    file_count: int
    deleted_count: int
    deleted_bytes: int
    read_only: bool
    placement: int
    version: int
    ttl: int
    """As in `format.ttl`."""
    revision: int
    modified_s: int
    """Unix time of the last append."""
    disk_type: str
    disk_id: int
    remote_name: str = ""
    remote_key: str = ""


class DiskReport(NamedTuple):
    """One data directory."""

    disk_id: int
    disk_type: str
    tags: tuple[str, ...]
    max_volumes: int
    """As configured, or worked out from the free space; 0 until the master has told the size of volumes."""
    slots: int
    """How many volumes it may hold now: on a disk low on space, those it has."""
    total_bytes: int
    free_bytes: int
    uuid: str
    healthy: bool = True
    max_file_key: int = 0


def volume_report(volume: Volume) -> VolumeReport | None:
    """What a master may know of a volume; None of one that it must send nobody to."""
    needles, location = volume.needles, volume.location
    if volume.is_closed or volume.is_quarantined or location.is_failed or _is_unlinked(volume):
        return None
    remote = volume.info.files[0] if volume.info.files else None
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


def disk_report(location: Location, usage: DiskUsage | None, volume_bytes_max: int) -> DiskReport:
    """What a master may know of a data directory.

    Args:
        usage: None if nobody has looked yet.
        volume_bytes_max: the master's limit of a volume; 0 until it has told it.
    """
    seen = usage or DiskUsage(0, 0)
    slots = volumes_max(location, seen.free_bytes, volume_bytes_max)
    return DiskReport(
        disk_id=location.disk_id,
        disk_type=location.disk_type,
        tags=location.tags,
        max_volumes=location.max_volumes or (slots if volume_bytes_max else 0),
        slots=slots,
        total_bytes=seen.all_bytes,
        free_bytes=seen.free_bytes,
        uuid=location.uuid,
        healthy=not location.is_failed,
        max_file_key=max((volume.needles.max_key for volume in location.volumes.values()), default=0),
    )


def _is_unlinked(volume: Volume) -> bool:
    """Whether somebody removed the data file, which is readable only until the server ends."""
    return volume.needles.file_count > 0 and not volume.is_remote and not os.fstat(volume.data.fd).st_nlink
