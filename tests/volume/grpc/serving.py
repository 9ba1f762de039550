"""A gRPC server in the test's own process, with a real store and masters of our own."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from less_sync.volume.counters import Counters
from less_sync.volume.engine.store import Store
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import Needle
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.grpc.server import GrpcServer
from less_sync.volume.master.masters import Mark, MasterFailed
from less_sync.volume.options import DirectoryOptions, Options
from less_sync.volume.security.security import Security
from less_sync.volume.services import Services

SERVICE = "/volume_server_pb.VolumeServer/"
LARGE = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
MASTER = "127.0.0.1:9333"


@dataclass
class ToldMasters:
    """Stands for the masters: remembers what it is told, and fails if told to."""

    told: list[tuple[Mark, bool]] = field(default_factory=list)
    pinged: list[str] = field(default_factory=list)
    fails_from: int | None = None
    """The number of the call, from 0, that is the first to fail."""
    left: int = 0

    def knows(self, target: str) -> bool:
        return target == MASTER

    async def ping(self, target: str) -> int:
        self.pinged.append(target)
        if target != MASTER:
            raise MasterFailed(f"ping master {target}: no address")
        return time.time_ns()

    async def mark_read_only(self, mark: Mark, read_only: bool) -> None:
        if self.fails_from is not None and len(self.told) >= self.fails_from:
            raise MasterFailed("the master refuses")
        self.told.append((mark, read_only))

    def leave(self) -> None:
        self.left += 1


@dataclass
class Serving:
    """A running server and a channel to it."""

    services: Services
    masters: ToldMasters
    channel: grpc.aio.Channel
    server: GrpcServer
    port: int

    @property
    def store(self) -> Store:
        return self.services.store

    async def call(self, request: Message, method: str = "") -> Any:
        """Make a unary call; the method is told by the kind of the request."""
        method = method or type(request).__name__.removesuffix("Request")
        answer = getattr(pb, f"{method}Response").FromString
        return await self.channel.unary_unary(SERVICE + method, _raw, answer)(request)

    async def stream(self, request: Message) -> list[Any]:
        """Make a call that streams, and return all that comes."""
        return [message async for message in self.open(request)]

    def open(self, request: Message) -> Any:
        """Begin a call that streams."""
        method = type(request).__name__.removesuffix("Request")
        answer = getattr(pb, f"{method}Response").FromString
        return self.channel.unary_stream(SERVICE + method, _raw, answer)(request)

    async def refused(self, request: Message) -> tuple[grpc.StatusCode, str]:
        """Code and text of a call that fails, whatever its kind."""
        method = type(request).__name__.removesuffix("Request")
        call: Any = self.channel.stream_stream(SERVICE + method, _raw)
        try:
            async for message in call(iter([request])):
                raise AssertionError(message)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError("not refused")

    async def volume(self, volume_id: int, collection: str = "") -> Volume:
        """A new volume of version 3."""
        return await self.store.allocate(volume_id, collection)


def _raw(message: Message) -> bytes:
    return message.SerializeToString()


async def put(volume: Volume, needle_id: int, cookie: int, data: bytes, **fields: Any) -> Needle:
    """Write a needle into a volume, as an upload would."""
    needle = Needle(needle_id, cookie, data, checksum=crc32c(data), **fields)
    if volume.try_write(needle) is None:
        await volume.write(needle)
    return needle


@asynccontextmanager
async def serving(
    directory: Path, environment: Mapping[str, str] | None = None, **changes: Any
) -> AsyncIterator[Serving]:
    """Start a server with one data directory, and stop it."""
    options = Options(directories=(DirectoryOptions(directory, max_volumes=100),), port=8080, grpc_port=0)
    options = replace(options, **changes)
    store, masters = Store(options), ToldMasters()
    await store.load()
    absent = cast("Any", None)
    services = Services(
        options,
        store,
        Security(options, environment or {}),
        cast("Any", masters),
        lookup=absent,
        channels=absent,
        counters=Counters(),
        outgoing=absent,
    )
    server = GrpcServer(services)
    port = await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=LARGE) as channel:
            yield Serving(services, masters, channel, server, port)
    finally:
        await server.stop()
        await store.close()
