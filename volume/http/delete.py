"""DELETE: a file, or a manifest with all its chunks (docs/volume.md section 3).

The client may name a time (`ts`); it is not looked at, because a deletion keeps none that anybody can read.
Safe because the volume orders its writers (docs/volume.md section 7), and because the manifest goes last: if
a chunk cannot be deleted, it still names those that are left.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.reading import LARGE_BYTES
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.format.checksums import Bytes, crc32c
from less_sync.volume.format.errors import DamagedNeedleError, FormatError
from less_sync.volume.format.fid import parse_needle, parse_volume_id
from less_sync.volume.format.needle import GZIP, MANIFEST, Needle, verify
from less_sync.volume.http.access import token_of
from less_sync.volume.http.chunk_deletion import ChunkDeletion, ChunkError
from less_sync.volume.http.compress import LOOP_BYTES_MAX, LOOP_PACKED_BYTES_MAX, UnpackError, unpack
from less_sync.volume.http.go_json import json_fault
from less_sync.volume.http.handlers import Begun, Immediate
from less_sync.volume.http.json_text import json_error, json_response
from less_sync.volume.http.manifest import MANIFEST_BYTES_MAX, Manifest, parse_manifest
from less_sync.volume.http.replicate import Replication, ReplicationError
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response

if TYPE_CHECKING:
    from less_sync.volume.engine.volume import Volume
    from less_sync.volume.services import Services


class DeleteHandler(Immediate):
    """Deletes files. A body is not looked at."""

    __slots__ = ("_chunks", "_replication", "_services")

    def __init__(self, services: "Services", replication: Replication, chunks: ChunkDeletion) -> None:
        self._services: Final = services
        self._replication: Final = replication
        self._chunks: Final = chunks

    def begin(self, request: Request) -> Begun:
        """Judge and delete, at once if no other server and no thread is concerned."""
        security = self._services.security
        if not security.listed(request.peer_ip):
            return Response(401)
        try:
            id_, cookie = parse_needle(request.fid_text)
        except FormatError as fault:
            return json_error(request, 400, str(fault))
        vid = request.vid_text
        if security.wants_token(True) and not security.token_allows(
            token_of(request), vid, request.fid_text, write=True
        ):
            return json_error(request, 401, "wrong jwt")
        volume = self._services.store.volume(_volume_id(vid))
        needle = _read(volume, id_) if volume is not None else None
        if volume is None or needle is None:
            return json_response(request, 404, {"size": 0})
        # Of an empty file no cookie is kept, so that every one is right.
        if needle.size > 0 and needle.cookie != cookie:
            return json_error(request, 400, "File Random Cookie does not match.")
        needle.cookie = cookie
        if needle.flags & MANIFEST:
            return self._delete_manifest(request, volume, needle)
        if request.param("type") == "replicate" or not self._replication.has_copies(volume):
            try:
                if volume.try_delete(id_, cookie, checksum=needle.checksum) is not None:
                    return json_response(request, 202, {"size": needle.size})
            except (VolumeError, OSError) as fault:
                return _failed(request, fault)
        return self._delete_everywhere(request, volume, needle, needle.size)

    async def _delete_manifest(self, request: Request, volume: "Volume", needle: Needle) -> Response:
        try:
            data = await _manifest_data(volume, needle)
        except (VolumeError, DamagedNeedleError, OSError):
            return json_response(request, 404, {"size": 0})
        if len(data) > (LOOP_PACKED_BYTES_MAX if needle.flags & GZIP else LOOP_BYTES_MAX):
            manifest = await asyncio.to_thread(_load, data, needle)
        else:
            manifest = _load(data, needle)
        if isinstance(manifest, str):
            return json_error(request, 500, f"Load chunks manifest error: {manifest}")
        try:
            await self._chunks.delete([chunk.fid for chunk in manifest.chunks])
        except ChunkError as fault:
            return json_error(request, 500, f"Delete chunks error: {fault}")
        return await self._delete_everywhere(request, volume, needle, manifest.told_size)

    async def _delete_everywhere(
        self, request: Request, volume: "Volume", needle: Needle, size: int
    ) -> Response:
        """Delete here, then from all copies; `size` is what the answer tells."""
        try:
            is_replica = request.param("type") == "replicate"
            places = [] if is_replica else await self._replication.places(volume.id, volume)
            await volume.delete(needle.id, needle.cookie, checksum=needle.checksum)
            if places:
                await self._replication.delete(request, places)
        except (VolumeError, ReplicationError, OSError) as fault:
            return _failed(request, fault)
        return json_response(request, 202, {"size": size})


def _volume_id(vid: str) -> int:
    """The volume; 0, which no server has, if that is no number."""
    try:
        return parse_volume_id(vid)
    except FormatError:
        return 0


def _read(volume: "Volume", id_: int) -> Needle | None:
    """The needle, of a large one without its data; None if it cannot be had, for whatever reason."""
    try:
        if volume.record_size(id_) <= LARGE_BYTES:
            return volume.read(id_)
        needle, data = volume.read_around(id_)
        data.release()
    except (VolumeError, OSError):
        return None
    return needle


async def _manifest_data(volume: "Volume", needle: Needle) -> Bytes:
    """The stored list of chunks; of a large one, which `_read` left where it is, read and checked here.

    Raises:
        VolumeError, DamagedNeedleError, OSError: it cannot be read.
    """
    if len(needle.data):
        return needle.data
    around, data = volume.read_around(needle.id)
    try:
        stored = await to_the_end(asyncio.to_thread(data.read, 0, min(data.length, MANIFEST_BYTES_MAX + 1)))
        if data.length <= MANIFEST_BYTES_MAX:
            verify(around, crc32c(stored))
    finally:
        data.release()
    return stored


def _load(data: Bytes, needle: Needle) -> Manifest | str:
    """The list of chunks, or why it is none."""
    if needle.flags & GZIP:
        unpacked = bytearray()
        try:
            unpack(data, unpacked.extend, MANIFEST_BYTES_MAX)
            data = unpacked
        except UnpackError:
            # It only says that it is packed: existing servers then read it as it is.
            pass
    if len(data) > MANIFEST_BYTES_MAX:
        return f"more than {MANIFEST_BYTES_MAX} bytes"
    return parse_manifest(data) or json_fault(bytes(data).decode("utf-8", "replace"))


def _failed(request: Request, fault: Exception) -> Response:
    return json_error(request, 500, f"Deletion Failed: {fault}")
