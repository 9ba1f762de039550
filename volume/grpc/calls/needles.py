"""Single records: as bytes, their fields without the data, and what stands in the index about them."""

import asyncio
from typing import Final

import grpc

from less_sync.volume.engine.data_file import FileSlice
from less_sync.volume.engine.errors import DamagedRecord, VolumeError
from less_sync.volume.engine.reading import LARGE_BYTES
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.checksums import crc32c, masked
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import Needle, record_length, verify
from less_sync.volume.format.ttl import ttl_text
from less_sync.volume.grpc.calls.lookup import volume_of
from less_sync.volume.grpc.calls.record_meta import read_meta
from less_sync.volume.grpc.errors import CallError, text_of
from less_sync.volume.grpc.limits import BLOB_BYTES_MAX
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.services import Services

_PIECE_BYTES: Final = 1 << 20


async def read_blob(services: Services, request: pb.ReadNeedleBlobRequest) -> pb.ReadNeedleBlobResponse:
    """The bytes of a record, whatever they are."""
    volume = volume_of(services, request.volume_id)
    failed = f"read needle blob offset {request.offset} size {request.size}: "
    if request.offset < 0:
        raise CallError(f"{failed}readat {volume.data.path}: negative offset")
    length = record_length(request.size, volume.version)
    if request.offset + length > volume.data_bytes:
        raise CallError(f"{failed}EOF")
    if length > BLOB_BYTES_MAX:
        raise CallError(
            f"trying to send message larger than max ({length} vs. {BLOB_BYTES_MAX})",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
    try:
        blob = await _read(volume, request.offset, length)
    except OSError as error:
        raise CallError(failed + text_of(error)) from error
    if len(blob) < length:
        raise CallError(f"{failed}EOF")
    return pb.ReadNeedleBlobResponse(needle_blob=blob)


async def read_needle_meta(
    services: Services, request: pb.ReadNeedleMetaRequest
) -> pb.ReadNeedleMetaResponse:
    """What a record says beside its data. The id of the request is compared with nothing."""
    volume = volume_of(
        services,
        request.volume_id,
        "not found volume id {} and read needle metadata at ec shards is not supported",
    )
    needle = read_meta(volume, request.offset, max(request.size, 0))
    return pb.ReadNeedleMetaResponse(
        cookie=needle.cookie,
        last_modified=needle.last_modified,
        crc=masked(needle.checksum),
        ttl=ttl_text(needle.ttl),
        append_at_ns=needle.append_at_ns,
    )


async def write_blob(services: Services, request: pb.WriteNeedleBlobRequest) -> pb.WriteNeedleBlobResponse:
    """Append a record as another server has it, under any id."""
    volume = volume_of(services, request.volume_id)
    try:
        await volume.write_blob(request.needle_id, request.size, request.needle_blob)
    except (VolumeError, OSError) as error:
        text = f"write blob needle {request.needle_id} size {request.size}: {text_of(error)}"
        raise CallError(text) from error
    return pb.WriteNeedleBlobResponse()


async def needle_status(
    services: Services, request: pb.VolumeNeedleStatusRequest
) -> pb.VolumeNeedleStatusResponse:
    """What is stored under an id, its checksum compared. The id of the answer is that of the record."""
    volume = volume_of(services, request.volume_id, "volume not found {}")
    if volume.record_size(request.needle_id) > LARGE_BYTES:
        needle = await _read_large(volume, request.needle_id)
    else:
        needle = volume.read(request.needle_id)
    return pb.VolumeNeedleStatusResponse(
        needle_id=needle.id,
        cookie=needle.cookie,
        size=needle.size,
        last_modified=needle.last_modified,
        crc=masked(needle.checksum),
        ttl=ttl_text(needle.ttl),
    )


async def _read(volume: Volume, offset: int, length: int) -> bytes:
    """Bytes of the data file; in a thread when they are many."""
    if length <= LARGE_BYTES:
        return volume.data.read(offset, length)
    piece = FileSlice(volume.data, offset, length)
    try:
        return await to_the_end(asyncio.to_thread(piece.read, 0, length))
    finally:
        piece.release()


async def _read_large(volume: Volume, needle_id: int) -> Needle:
    """A needle without its data, which is read piece by piece and compared with its checksum."""
    needle, data = volume.read_around(needle_id)
    try:
        computed = await to_the_end(asyncio.to_thread(_checksum, data))
    finally:
        data.release()
    try:
        verify(needle, computed)
    except DamagedNeedleError as error:
        raise DamagedRecord(str(error)) from None
    return needle


def _checksum(data: FileSlice) -> int:
    checksum = 0
    for offset in range(0, data.length, _PIECE_BYTES):
        checksum = crc32c(data.read(offset, _PIECE_BYTES), checksum)
    return checksum
