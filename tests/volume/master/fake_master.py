"""A master in this process: a real gRPC server that says what a test wants and keeps what it hears."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from less_sync.volume.grpc.protos import master_pb2 as pb
from less_sync.volume.options import Address

NOWHERE = Address("127.0.0.1", 1, 1)
SETTINGS = pb.HeartbeatResponse(volume_size_limit=32 << 20, volume_digest_supported=True)


@dataclass
class FakeMaster:
    """`greeting` answers the first message of each stream; `say` puts further answers on the running one."""

    greeting: pb.HeartbeatResponse | bytes = field(default_factory=lambda: SETTINGS)
    ends_after_greeting: bool = False
    heard: "asyncio.Queue[pb.Heartbeat | None]" = field(default_factory=asyncio.Queue)
    """None: the stream ended."""
    streams: int = 0
    looked_up: list[list[str]] = field(default_factory=list)
    places: dict[str, list[pb.Location]] = field(default_factory=dict)
    marked: list[pb.VolumeMarkReadonlyRequest] = field(default_factory=list)
    refuses_marks: str = ""
    leader: str = ""
    configuration_raw: bytes | None = None
    """Sent instead of a configuration."""
    address: Address = NOWHERE
    _say: "asyncio.Queue[pb.HeartbeatResponse | None]" = field(default_factory=asyncio.Queue)

    def say(self, answer: pb.HeartbeatResponse | None) -> None:
        """Send an answer on the running stream; None ends it."""
        self._say.put_nowait(answer)

    async def next(self, wanted: Callable[[pb.Heartbeat], bool] = lambda _: True) -> pb.Heartbeat:
        """The next message that `wanted` takes; those before it are passed over."""
        while True:
            message = await asyncio.wait_for(self.heard.get(), 10)
            assert message is not None, "the stream ended"
            if wanted(message):
                return message

    async def heartbeats(self, stream: Any, _context: Any) -> AsyncIterator[pb.HeartbeatResponse | bytes]:
        self.streams += 1
        self._say = asyncio.Queue()
        reading = asyncio.create_task(self._read(stream))
        try:
            yield self.greeting
            while not self.ends_after_greeting and (answer := await self._say.get()) is not None:
                yield answer
        finally:
            reading.cancel()

    async def _read(self, stream: Any) -> None:
        try:
            async for message in stream:
                self.heard.put_nowait(message)
        finally:
            self.heard.put_nowait(None)
            self.say(None)

    async def configuration(self, _request: Any, _context: Any) -> pb.GetMasterConfigurationResponse | bytes:
        if self.configuration_raw is not None:
            return self.configuration_raw
        return pb.GetMasterConfigurationResponse(leader=self.leader, metrics_interval_seconds=15)

    async def look_up(self, request: pb.LookupVolumeRequest, _context: Any) -> pb.LookupVolumeResponse:
        self.looked_up.append(list(request.volume_or_file_ids))
        answer = pb.LookupVolumeResponse()
        for one in request.volume_or_file_ids:
            found = self.places.get(one)
            answer.volume_id_locations.add(
                volume_or_file_id=one, locations=found, error="" if found else f"volume id {one} not found"
            )
        return answer

    async def mark(
        self, request: pb.VolumeMarkReadonlyRequest, context: Any
    ) -> pb.VolumeMarkReadonlyResponse:
        self.marked.append(request)
        if self.refuses_marks:
            await context.abort(grpc.StatusCode.UNKNOWN, self.refuses_marks)
        return pb.VolumeMarkReadonlyResponse()

    async def ping(self, _request: Any, _context: Any) -> pb.PingResponse:
        return pb.PingResponse(start_time_ns=7)


def _serialized(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


@asynccontextmanager
async def running(
    master: FakeMaster, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[FakeMaster]:
    """Run a master; its address has the gRPC port, and an HTTP port that nothing listens on."""
    server = grpc.aio.server()
    unary = grpc.unary_unary_rpc_method_handler
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "SendHeartbeat": grpc.stream_stream_rpc_method_handler(
            master.heartbeats, pb.Heartbeat.FromString, _serialized
        ),
        "GetMasterConfiguration": unary(
            master.configuration,
            pb.GetMasterConfigurationRequest.FromString,
            _serialized,
        ),
        "LookupVolume": unary(
            master.look_up, pb.LookupVolumeRequest.FromString, pb.LookupVolumeResponse.SerializeToString
        ),
        "VolumeMarkReadonly": unary(
            master.mark,
            pb.VolumeMarkReadonlyRequest.FromString,
            pb.VolumeMarkReadonlyResponse.SerializeToString,
        ),
        "Ping": unary(master.ping, pb.PingRequest.FromString, pb.PingResponse.SerializeToString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("master_pb.Seaweed", handlers),))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    master.address = Address("127.0.0.1", port % 50_000 + 1, port)
    try:
        yield master
    finally:
        await server.stop(None)
