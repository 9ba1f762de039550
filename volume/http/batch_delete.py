"""Deleting files on another server, by its gRPC call `BatchDelete`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from less_sync.volume.master.channels import Channels

METHOD: Final = "/volume_server_pb.VolumeServer/BatchDelete"
CALL_S_MAX: Final = 30.0
_GONE: Final = 304
"""The status of a file that was not there, or deleted already: nothing is left to do."""


async def delete_at(channels: "Channels", address: str, fids: Sequence[str]) -> list[str]:
    """One text for each of `fids` at the gRPC `address`: why it is not deleted, or nothing.

    Cookies are not compared: a manifest names what is its own.
    """
    # The messages take longer to load than the rest of this package; only deleting manifests needs them here.
    import grpc.aio

    from less_sync.volume.grpc.protos import volume_server_pb2 as pb
    from less_sync.volume.master.channels import go_error_text

    request = pb.BatchDeleteRequest(file_ids=fids, skip_cookie_check=True)
    try:
        answer = await channels.call(address, METHOD, request, pb.BatchDeleteResponse, timeout_s=CALL_S_MAX)
    except grpc.aio.AioRpcError as error:
        return [go_error_text(error)] * len(fids)
    errors = {result.file_id: result.error for result in answer.results if result.status != _GONE}
    missing = set(fids) - {result.file_id for result in answer.results}
    return ["no answer" if fid in missing else errors.get(fid, "") for fid in fids]
