"""Deleting files on other volume servers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from less_sync.volume.master.channels import Channels

TIMEOUT_S: Final = 60.0


async def delete_at(channels: "Channels", address: str, fids: Sequence[str]) -> list[str]:
    """Delete `fids` at the gRPC `address`, whatever their cookies are, chunk manifests included.

    Returns:
        For each why it is not deleted, or nothing. One that is not there counts as deleted.
    """
    # A server whose manifests never name chunks elsewhere does not load the messages at its start.
    import grpc.aio

    from less_sync.volume.grpc.protos import volume_server_pb2 as pb
    from less_sync.volume.master.channels import go_error_text

    request = pb.BatchDeleteRequest(file_ids=fids, skip_cookie_check=True)
    try:
        answer = await channels.call(
            address,
            "/volume_server_pb.VolumeServer/BatchDelete",
            request,
            pb.BatchDeleteResponse,
            timeout_s=TIMEOUT_S,
        )
    except grpc.aio.AioRpcError as fault:
        return [go_error_text(fault)] * len(fids)
    failures = {result.file_id: result.error for result in answer.results if result.error}
    return [failures.get(fid, "") for fid in fids]
