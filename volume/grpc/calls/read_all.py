"""Sending every needle of volumes, in the order in which they lie in the data file."""

import asyncio
from collections.abc import Iterator
from typing import Final, NamedTuple

from less_sync.volume.engine.data_file import DataFile
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.checksums import masked
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import GZIP, HEADER, HEADER_BYTES, Needle, decode, record_length
from less_sync.volume.grpc.calls.lookup import volume_of
from less_sync.volume.grpc.limits import FRAME_BYTES
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.grpc.row import Send
from less_sync.volume.services import Services

_RECORDS_MAX: Final = 1_024
"""Read in one go; or `FRAME_BYTES`, whichever is reached first."""


class _Found(NamedTuple):
    offset: int
    needle: Needle


async def read_all(services: Services, request: pb.ReadAllNeedlesRequest, send: Send) -> None:
    """Send the last version of every needle, of a deleted one too: the index is asked only where it lies."""
    for volume_id in request.volume_ids:
        await _send_volume(volume_of(services, volume_id), send)


async def _send_volume(volume: Volume, send: Send) -> None:
    """File and index of one moment belong together: a vacuum meanwhile exchanges both, we keep the old."""
    needles, data, end = volume.needles, volume.data.retain(), volume.data_bytes
    offset, version = volume.superblock.end, volume.version
    try:
        while offset < end:
            found, offset = await to_the_end(asyncio.to_thread(_records, data, offset, end, version))
            for place, needle in found:
                entry = needles.get(needle.id)
                if entry is not None and entry[0] == place:
                    await send(_message(volume.id, needle))
    finally:
        data.release()


def _records(data: DataFile, offset: int, end: int, version: int) -> tuple[list[_Found], int]:
    """Some records from `offset` on, and where the next one begins: `end` when no whole one follows."""
    found: list[_Found] = []
    start = offset
    for place, needle, behind in _walk(data, offset, end, version):
        found.append(_Found(place, needle))
        offset = behind
        if len(found) >= _RECORDS_MAX or offset - start >= FRAME_BYTES:
            return found, offset
    return found, end


def _walk(data: DataFile, offset: int, end: int, version: int) -> Iterator[tuple[int, Needle, int]]:
    while offset < end:
        header = data.read(offset, HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return
        length = record_length(HEADER.unpack(header)[2], version)
        if offset + length > end:
            return
        try:
            needle = decode(data.read(offset, length), version, check=False)
        except DamagedNeedleError:
            return
        yield offset, needle, offset + length
        offset += length


def _message(volume_id: int, needle: Needle) -> pb.ReadAllNeedlesResponse:
    return pb.ReadAllNeedlesResponse(
        volume_id=volume_id,
        needle_id=needle.id,
        cookie=needle.cookie,
        needle_blob=bytes(needle.data),
        needle_blob_compressed=bool(needle.flags & GZIP),
        last_modified=needle.last_modified,
        crc=masked(needle.checksum),
        name=needle.name,
        mime=needle.mime,
    )
