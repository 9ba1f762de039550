"""The files of a volume: their sizes, and their bytes for another server."""

import asyncio
import os
from pathlib import Path
from typing import Final

from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.names import base_name
from less_sync.volume.format.placement import placement_text
from less_sync.volume.format.quoting import quoted
from less_sync.volume.format.ttl import ttl_text
from less_sync.volume.format.volume_info import VolumeInfo
from less_sync.volume.grpc.calls.lookup import refuse_escaping_collection, volume_of
from less_sync.volume.grpc.errors import CallError, system_text
from less_sync.volume.grpc.limits import FRAME_BYTES
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.grpc.row import Send
from less_sync.volume.services import Services

ANY_REVISION: Final = 2**32 - 1
_IN_INDEX_DIRECTORY: Final = frozenset({".idx", ".cpx", ".ldb", ".cpldb", ".rdb"})
_SIGN: Final = 1 << 63


async def sync_status(services: Services, request: pb.VolumeSyncStatusRequest) -> pb.VolumeSyncStatusResponse:
    """What another holder of the volume compares with its own."""
    volume = volume_of(services, request.volume_id)
    return pb.VolumeSyncStatusResponse(
        volume_id=volume.id,
        collection=volume.collection,
        replication=placement_text(volume.placement),
        ttl=ttl_text(volume.ttl),
        tail_offset=volume.data_bytes,
        compact_revision=volume.revision,
        idx_file_size=volume.index_bytes,
        version=volume.version,
    )


async def file_status(
    services: Services, request: pb.ReadVolumeFileStatusRequest
) -> pb.ReadVolumeFileStatusResponse:
    """What whoever copies the volume has to know before; both times are that of the data file."""
    volume = volume_of(services, request.volume_id)
    modified_s = int(os.fstat(volume.data.fd).st_mtime)
    return pb.ReadVolumeFileStatusResponse(
        volume_id=volume.id,
        idx_file_timestamp_seconds=modified_s,
        idx_file_size=volume.index_bytes,
        dat_file_timestamp_seconds=modified_s,
        dat_file_size=volume.data_bytes,
        file_count=volume.needles.file_count,
        compaction_revision=volume.revision,
        collection=volume.collection,
        disk_type=volume.location.disk_type,
        volume_info=_info(volume.info),
        version=volume.version,
    )


async def copy_file(services: Services, request: pb.CopyFileRequest, send: Send) -> None:
    """Send a file in frames of at most `FRAME_BYTES`; the first has the time of its last change."""
    refuse_escapes(request.ext, request.collection)
    path = await (_shard_path if request.is_ec_volume else _volume_path)(services, request)
    if path is None:
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        if request.ignore_source_file_not_found or not request.stop_offset:
            return
        raise CallError(system_text(error)) from error
    try:
        # A number of 64 bits with sign on existing servers: beyond its reach it is below 0, so nothing.
        stop = request.stop_offset if request.stop_offset < _SIGN else 0
        await _send_frames(fd, stop, send)
    finally:
        os.close(fd)


def refuse_escapes(ext: str, collection: str) -> None:
    """Let nobody name a file outside the directories: the only parts of a path that clients choose.

    Raises:
        CallError: the extension or the collection is none.
    """
    name = ext[1:]
    if ext[:1] != "." or not (name.isascii() and name.isalnum()):
        raise CallError(f"invalid file extension {quoted(ext)}")
    refuse_escaping_collection(collection)


async def _volume_path(services: Services, request: pb.CopyFileRequest) -> Path:
    """The file of a mounted volume, which is flushed before. `collection` does not matter."""
    volume = volume_of(services, request.volume_id)
    if request.compaction_revision not in {volume.revision, ANY_REVISION}:
        raise CallError(f"volume {volume.id} is compacted")
    await _flush(volume)
    directory = volume.index_directory if request.ext in _IN_INDEX_DIRECTORY else volume.data_directory
    return directory / f"{volume.base}{request.ext}"


async def _shard_path(services: Services, request: pb.CopyFileRequest) -> Path | None:
    """The file of an erasure-coded volume, wherever it lies; the last directory that has it counts."""
    name = f"{base_name(request.collection, request.volume_id)}{request.ext}"
    directories = dict.fromkeys(
        directory
        for location in services.store.locations
        for directory in (location.directory, location.index_directory)
    )
    found = [directory / name for directory in directories if (directory / name).is_file()]
    if found:
        return found[-1]
    if request.ignore_source_file_not_found:
        return None
    raise CallError(f"CopyFile not found ec volume id {request.volume_id}")


async def _flush(volume: Volume) -> None:
    data, index = volume.data.retain(), volume.index.retain()

    def flush() -> None:
        data.sync()
        index.sync()

    try:
        await to_the_end(asyncio.to_thread(flush))
    finally:
        data.release()
        index.release()


async def _send_frames(fd: int, stop: int, send: Send) -> None:
    modified_ns = os.fstat(fd).st_mtime_ns
    offset = 0
    while offset < stop:
        length = min(FRAME_BYTES, stop - offset)
        content = await to_the_end(asyncio.to_thread(os.pread, fd, length, offset))
        if not content:
            break
        await send(pb.CopyFileResponse(file_content=content, modified_ts_ns=0 if offset else modified_ns))
        offset += len(content)
    if not offset:
        await send(pb.CopyFileResponse(modified_ts_ns=modified_ns))


def _info(info: VolumeInfo) -> pb.VolumeInfo:
    shards = info.ec_shard_config
    return pb.VolumeInfo(
        files=[
            pb.RemoteFile(
                backend_type=file.backend_type,
                backend_id=file.backend_id,
                key=file.key,
                offset=file.offset,
                file_size=file.file_size,
                modified_time=file.modified_time,
                extension=file.extension,
            )
            for file in info.files
        ],
        version=info.version,
        replication=info.replication,
        bytes_offset=info.bytes_offset,
        dat_file_size=info.dat_file_size,
        expire_at_sec=info.expire_at_sec,
        read_only=info.read_only,
        ec_shard_config=None
        if shards is None
        else pb.EcShardConfig(
            data_shards=shards.data_shards,
            parity_shards=shards.parity_shards,
            encode_ts_ns=shards.encode_ts_ns,
        ),
        read_only_can_delete=info.read_only_can_delete,
    )
