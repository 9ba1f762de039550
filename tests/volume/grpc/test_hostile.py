"""Messages that nobody would send, to every call: each is answered, and none with a fault of ours."""

from pathlib import Path
from random import Random

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.hostile import send
from tests.volume.grpc.serving import put, serving


async def test_no_message_is_more_than_a_call_can_take(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(3), 1, 7, b"x" * 1_000)
        assert await send(server, Random(1), per_call=2) == 2 * 49
        await server.call(pb.GetStateRequest())
