"""`/status`, `/healthz` and `/readyz` (docs/volume.md, section 3.8)."""

import asyncio
import struct
from typing import TYPE_CHECKING, Final

from less_sync.volume.format.placement import placement_of
from less_sync.volume.http.handlers import Immediate
from less_sync.volume.http.json_text import json_response
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response
from less_sync.volume.version import version_text

if TYPE_CHECKING:
    from less_sync.volume.engine.disk_space import DiskWatch
    from less_sync.volume.engine.location import Location
    from less_sync.volume.engine.volume import Volume
    from less_sync.volume.services import Services

_F32: Final = struct.Struct("f")
_F32_DIGITS_MAX: Final = 9


class HealthHandler(Immediate):
    """200 as long as the server takes part: neither stopping nor told to leave its master."""

    def __init__(self, services: "Services") -> None:
        self._services: Final = services

    def begin(self, request: Request) -> Response:
        """No body, whatever the method."""
        services = self._services
        healthy = services.masters.heartbeating and not services.store.stopping
        return Response(200 if healthy else 503)


class StatusHandler(Immediate):
    """Disks and volumes as JSON."""

    def __init__(self, services: "Services") -> None:
        self._services: Final = services

    async def begin(self, request: Request) -> Response:
        """Looks at the disks in threads."""
        services = self._services
        return json_response(
            request,
            200,
            {
                "DiskStatuses": await disk_statuses(services),
                "Version": version_text(services.options.offset_bytes),
                "Volumes": [_volume(one) for one in sorted_volumes(services)] or None,
            },
        )


def sorted_volumes(services: "Services") -> list["Volume"]:
    """All volumes here, by id."""
    return sorted(services.store.volumes(), key=lambda volume: (volume.id, volume.location.disk_id))


async def disk_statuses(services: "Services") -> list[dict[str, object]]:
    """Sizes of the file systems of the data directories, in bytes, in their order."""
    store = services.store
    return list(await asyncio.gather(*(_disk(store.disks, location) for location in store.locations)))


async def _disk(disks: "DiskWatch", location: "Location") -> dict[str, object]:
    status: dict[str, object] = {"dir": str(location.directory.absolute())}
    error = ""
    try:
        found = await disks.ask(location)
    except OSError as fault:
        error = str(fault) or "the disk does not answer"
    else:
        size, used, free = found.all_bytes, found.used_bytes, found.free_bytes
        figures: dict[str, int | float] = {"all": size, "used": used, "free": free}
        if size:
            figures["percent_free"] = shortest_f32(100 * free / size)
            figures["percent_used"] = shortest_f32(100 * used / size)
        status |= {name: value for name, value in figures.items() if value}
    told = (("disk_type", location.disk_type), ("error", error))
    return status | {name: value for name, value in told if value}


def shortest_f32(value: float) -> int | float:
    """A number that prints as the shortest text which still is `value` in 32 bits."""
    rounded = _F32.unpack(_F32.pack(value))[0]
    for digits in range(1, _F32_DIGITS_MAX + 1):
        short = float(f"{rounded:.{digits}g}")
        if _F32.unpack(_F32.pack(short))[0] == rounded:
            return int(short) if short.is_integer() else short
    return float(rounded)


def _volume(volume: "Volume") -> dict[str, object]:
    placement, needles = placement_of(volume.placement), volume.needles
    remote = volume.info.files[0] if volume.info.files else None
    copies = {"node": placement.servers, "rack": placement.racks, "dc": placement.data_centres}
    return {
        "Collection": volume.collection,
        "DiskType": volume.location.disk_type,
        "RemoteStorageName": f"{remote.backend_type}.{remote.backend_id}" if remote else "",
        "ReplicaPlacement": {name: count for name, count in copies.items() if count},
        "Ttl": {"Count": volume.ttl >> 8, "Unit": volume.ttl & 0xFF},
        "Size": volume.content_bytes,
        "DeletedByteCount": needles.deleted_bytes,
        "ModifiedAtSecond": volume.modified_at_s,
        "Id": volume.id,
        "DiskId": volume.location.disk_id,
        "CompactRevision": volume.revision,
        "FileCount": needles.file_count,
        "DeleteCount": needles.deleted_count,
        "Version": volume.version,
        "ReadOnly": volume.read_only,
    }
