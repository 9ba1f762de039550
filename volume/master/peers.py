"""Calls to other volume servers."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import grpc.aio

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.master.channels import Channels, go_error_text
from less_sync.volume.master.lookup import Place
from less_sync.volume.options import parse_address

BATCH_DELETE_S: Final = 60.0


class PeerFailed(Exception):
    """Another volume server could not be asked; the text is what clients are told."""


class Deleted(NamedTuple):
    """What became of one file. `status` is that of HTTP: 202, 304 (it was not there), or an error."""

    file_id: str
    status: int
    error: str
    size: int


def grpc_address(place: Place) -> str:
    """`host:port` of the gRPC listener of the server at a place."""
    return parse_address(f"{place.url}.{place.grpc_port}" if place.grpc_port else place.url).grpc


async def batch_delete(
    channels: Channels, place: Place, file_ids: Sequence[str], *, skip_cookie_check: bool = False
) -> list[Deleted]:
    """Delete files on another server.

    Raises:
        PeerFailed: it does not answer, or refuses the whole call.
    """
    request = pb.BatchDeleteRequest(file_ids=file_ids, skip_cookie_check=skip_cookie_check)
    try:
        answer = await channels.call(
            grpc_address(place),
            "/volume_server_pb.VolumeServer/BatchDelete",
            request,
            pb.BatchDeleteResponse,
            timeout_s=BATCH_DELETE_S,
        )
    except grpc.aio.AioRpcError as error:
        raise PeerFailed(go_error_text(error)) from error
    return [Deleted(one.file_id, one.status, one.error, one.size) for one in answer.results]
