"""What a server tells its master of volumes and disks."""

import os
from typing import NamedTuple

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
    if volume.is_closed or volume.is_quarantined or _is_unlinked(volume):
        return None
    needles, location = volume.needles, volume.location
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


def _is_unlinked(volume: Volume) -> bool:
    """Whether somebody removed the data file, which is readable only until the server ends."""
    return volume.needles.file_count > 0 and not volume.is_remote and not os.fstat(volume.data.fd).st_nlink
