"""Deleting many files at once: a result for each, in order, and none that ends the call."""

import asyncio
from http import HTTPStatus
from typing import Final

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.reading import LARGE_BYTES
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.fid import parse_key, parse_needle, parse_volume_id, split_fid
from less_sync.volume.format.needle import MANIFEST, Needle
from less_sync.volume.grpc.errors import text_of
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.services import Services

_UNBROKEN: Final = 64
"""So many deletions follow each other before other work on the loop has its turn."""


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status: Final = status


async def batch_delete(services: Services, request: pb.BatchDeleteRequest) -> pb.BatchDeleteResponse:
    """Delete here, without telling other holders of the volumes."""
    answer = pb.BatchDeleteResponse()
    for count, fid in enumerate(request.file_ids, start=1):
        answer.results.append(await _delete(services, fid, check_cookie=not request.skip_cookie_check))
        if not count % _UNBROKEN:
            await asyncio.sleep(0)
    return answer


async def _delete(services: Services, fid: str, *, check_cookie: bool) -> pb.DeleteResult:
    try:
        volume_id, needle_id, cookie = _parsed(fid, check_cookie=check_cookie)
        volume = services.store.volume(volume_id)
        checksum = 0
        if check_cookie:
            checksum = _checked(volume, volume_id, needle_id, cookie)
        if volume is None:
            text = f"volume {volume_id} not found on {services.options.own_address}"
            raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR, text)
        size = await _removed(volume, needle_id, cookie, checksum)
    except _Refused as refused:
        return pb.DeleteResult(file_id=fid, status=refused.status, error=str(refused))
    if not size:
        return pb.DeleteResult(file_id=fid, status=HTTPStatus.NOT_MODIFIED)
    return pb.DeleteResult(file_id=fid, status=HTTPStatus.ACCEPTED, size=size)


def _parsed(fid: str, *, check_cookie: bool) -> tuple[int, int, int]:
    """Volume, needle and cookie; a volume that is no number is volume 0, which does not exist."""
    try:
        volume_text, needle_text = split_fid(fid)
        needle_id, cookie = parse_needle(needle_text) if check_cookie else parse_key(needle_text)
    except FormatError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    try:
        volume_id = parse_volume_id(volume_text)
    except FormatError:
        volume_id = 0
    return volume_id, needle_id, cookie


def _checked(volume: Volume | None, volume_id: int, needle_id: int, cookie: int) -> int:
    """The checksum of a needle that may be deleted with this cookie. One of size 0 has none to compare."""
    if volume is None:
        raise _Refused(HTTPStatus.NOT_FOUND, f"volume {volume_id} not found")
    try:
        needle = _read(volume, needle_id)
    except (VolumeError, OSError) as error:
        raise _Refused(HTTPStatus.NOT_FOUND, text_of(error)) from error
    if needle.size and needle.cookie != cookie:
        raise _Refused(HTTPStatus.BAD_REQUEST, "File Random Cookie does not match.")
    if needle.flags & MANIFEST:
        raise _Refused(HTTPStatus.NOT_ACCEPTABLE, "ChunkManifest: not allowed in batch delete mode.")
    return needle.checksum


def _read(volume: Volume, needle_id: int) -> Needle:
    """A needle; a large one without its data, which is not needed to delete it."""
    if volume.record_size(needle_id) <= LARGE_BYTES:
        return volume.read(needle_id)
    needle, data = volume.read_around(needle_id)
    data.release()
    return needle


async def _removed(volume: Volume, needle_id: int, cookie: int, checksum: int) -> int:
    """The size of what was deleted. Safe beside other writers: at once, or when it is our turn."""
    try:
        size = volume.try_delete(needle_id, cookie, checksum=checksum)
        return await volume.delete(needle_id, cookie, checksum=checksum) if size is None else size
    except (VolumeError, OSError) as error:
        raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR, text_of(error)) from error
