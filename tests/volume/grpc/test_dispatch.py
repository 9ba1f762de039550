"""What holds for every call: decoding, unknown methods, request ids, failures, and who outlives whom."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from less_sync.volume.engine.errors import NoSpace
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.grpc.dispatch import Dispatch
from less_sync.volume.grpc.errors import TEXT_CHARS_MAX, CallError
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.grpc.row import Maintenance, Row, Send, server_stream, unary
from less_sync.volume.master.channels import Channels
from less_sync.volume.request_id import CURRENT
from less_sync.volume.services import Services
from tests.volume.grpc.serving import SERVICE, serving


def unary_call(channel: grpc.aio.Channel, method: str, raw: bytes = b"", metadata: Any = None) -> Any:
    """Begin a call with the bytes as they are; what comes are bytes as well."""
    call: Any = channel.unary_unary(method)
    return call(raw, metadata=metadata)


def stream_call(channel: grpc.aio.Channel, method: str, raw: bytes = b"") -> Any:
    """The same, of a call that may answer more than once."""
    call: Any = channel.stream_stream(method)
    return call(iter([raw]))


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


@asynccontextmanager
async def listening(rows: Sequence[Row]) -> AsyncIterator[tuple[str, Dispatch]]:
    """A server of these rows alone, and its address."""
    dispatch = Dispatch(cast("Services", None), rows)
    server = grpc.aio.server(handlers=(dispatch,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", dispatch
    finally:
        await server.stop(None)
        await dispatch.stop()


@asynccontextmanager
async def dispatching(rows: Sequence[Row]) -> AsyncIterator[tuple[grpc.aio.Channel, Dispatch]]:
    """The same with a channel to it."""
    async with listening(rows) as (address, dispatch), grpc.aio.insecure_channel(address) as channel:
        yield channel, dispatch


def get_state(handler: Any) -> Row:
    return unary("GetState", pb.GetStateRequest, False, Maintenance.SERVED, handler)


def compact(handler: Any, *, lasting: bool) -> Row:
    return server_stream(
        "VacuumVolumeCompact",
        pb.VacuumVolumeCompactRequest,
        False,
        Maintenance.SERVED,
        handler,
        lasting=lasting,
    )


class Large:
    """Stands for a request that holds much memory, which a real message does not let us watch."""

    held: ClassVar[list["weakref.ref[Large]"]] = []

    @classmethod
    def FromString(cls, _raw: bytes) -> "Large":
        large = cls()
        cls.held.append(weakref.ref(large))
        return large


async def test_a_call_that_fails_leaves_nothing_for_the_collector() -> None:
    async def fail(_services: Services, request: Large, *_: object) -> None:
        async def work() -> None:
            raise CallError(f"with {request}")

        await to_the_end(work())

    rows = [get_state(fail), compact(fail, lasting=True), compact(fail, lasting=False)]
    gc.disable()
    try:
        for row in rows:
            async with dispatching([replace(row, request=cast("type[Message]", Large))]) as (channel, _):
                await failure(anext(aiter(stream_call(channel, SERVICE + row.name))))
                async with asyncio.timeout(5):
                    while Large.held[-1]() is not None:  # noqa: ASYNC110, grpcio lets go after the answer
                        await asyncio.sleep(0.001)
        assert len(Large.held) == 3
    finally:
        gc.enable()


NO_MESSAGES = (b"\xff", b"\x0a\x05ab", b"\x08" + b"\xff" * 11, b"\x0b" * 1_000, bytes(1))


@pytest.mark.parametrize("method", ["VolumeMount", "CopyFile", "BatchDelete"])
async def test_a_request_that_is_no_message_is_internal(tmp_path: Path, method: str) -> None:
    async with serving(tmp_path) as server:
        for raw in NO_MESSAGES:
            call = stream_call(server.channel, SERVICE + method, raw)
            code, text = await failure(anext(aiter(call)))
            assert code is grpc.StatusCode.INTERNAL
            assert text.startswith("grpc: error unmarshalling request")


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (
            "/volume_server_pb.VolumeServer/Nothing",
            "unknown method Nothing for service volume_server_pb.VolumeServer",
        ),
        ("/grpc.health.v1.Health/Check", "unknown service grpc.health.v1.Health"),
        ("/VolumeServer", 'malformed method name: "/VolumeServer"'),
    ],
)
async def test_a_method_that_is_not_there_is_unimplemented(tmp_path: Path, method: str, text: str) -> None:
    async with serving(tmp_path) as server:
        call = unary_call(server.channel, method)
        assert await failure(call) == (grpc.StatusCode.UNIMPLEMENTED, text)


async def trailers(call: Any) -> dict[str, str]:
    return {key: value for key, value in await call.trailing_metadata() or () if key == "x-amz-request-id"}


async def test_a_unary_call_returns_the_request_id_of_its_client(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        good, bad = (
            unary_call(server.channel, SERVICE + method, metadata=(("x-amz-request-id", "an-id"),))
            for method in ("GetState", "VolumeMount")
        )
        await good
        await failure(bad)
        assert await trailers(good) == await trailers(bad) == {"x-amz-request-id": "an-id"}


@pytest.mark.parametrize("given", [(), (("x-amz-request-id", ""),), (("x-amz-request-id", "x" * 1_000),)])
async def test_without_a_request_id_each_call_gets_its_own(tmp_path: Path, given: tuple[Any, ...]) -> None:
    async with serving(tmp_path) as server:
        found = set()
        for _ in range(2):
            call = unary_call(server.channel, SERVICE + "GetState", metadata=given)
            await call
            found.add((await trailers(call))["x-amz-request-id"])
        assert [len(one) for one in found] == [36, 36]


async def test_calls_made_meanwhile_carry_the_request_id_and_later_ones_none() -> None:
    channels = Channels()
    ids: list[str] = []

    async def note(_services: Services, _request: Message) -> Message:
        ids.append(CURRENT.get())
        return pb.GetStateResponse()

    async with listening([get_state(note)]) as (address, _):

        async def ask(*_: object) -> Message:
            answer: Message = await channels.call(
                address, f"{SERVICE}GetState", pb.GetStateRequest(), pb.GetStateResponse
            )
            return answer

        async with dispatching([get_state(ask)]) as (first, _):
            await unary_call(first, SERVICE + "GetState", metadata=(("x-amz-request-id", "an-id"),))
        await ask()
    await channels.close()
    assert ids[0] == "an-id"
    assert len(ids[1]) == 36


async def test_a_stream_has_no_request_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        call = server.open(pb.ReadAllNeedlesRequest())
        assert [message async for message in call] == []
        assert await trailers(call) == {}


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CallError("so", grpc.StatusCode.FAILED_PRECONDITION), grpc.StatusCode.FAILED_PRECONDITION, "so"),
        (NoSpace(), grpc.StatusCode.UNKNOWN, "No more free space left"),
        (FileNotFoundError(2, "", "/x"), grpc.StatusCode.UNKNOWN, "open /x: no such file or directory"),
        (OSError(28, "full"), grpc.StatusCode.UNKNOWN, "no space left on device"),
        (ZeroDivisionError("secret"), grpc.StatusCode.UNKNOWN, "internal error"),
        (CallError("ä\n\ud800"), grpc.StatusCode.UNKNOWN, "ä\n\\ud800"),
        (CallError("x" * 100_000), grpc.StatusCode.UNKNOWN, "x" * TEXT_CHARS_MAX),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_what_fails_a_call_is_told_by_its_text(
    error: Exception, code: grpc.StatusCode, text: str
) -> None:
    async def fail(*_: object) -> Message:
        raise error

    async with dispatching([get_state(fail), compact(fail, lasting=True)]) as (channel, _):
        assert await failure(unary_call(channel, SERVICE + "GetState")) == (code, text)
        stream = stream_call(channel, SERVICE + "VacuumVolumeCompact")
        assert await failure(anext(aiter(stream))) == (code, text)


async def test_messages_before_a_failure_stand() -> None:
    async def fail(_services: Services, _request: Message, send: Send) -> None:
        await send(pb.VacuumVolumeCompactResponse(processed_bytes=1))
        raise CallError("half")

    async with dispatching([compact(fail, lasting=False)]) as (channel, _):
        stream = aiter(stream_call(channel, SERVICE + "VacuumVolumeCompact"))
        assert pb.VacuumVolumeCompactResponse.FromString(await anext(stream)).processed_bytes == 1
        assert await failure(anext(stream)) == (grpc.StatusCode.UNKNOWN, "half")


async def test_a_unary_call_goes_on_without_its_client() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(*_: object) -> Message:
        begun.set()
        await may_end.wait()
        ended.set()
        return pb.GetStateResponse()

    async with dispatching([get_state(work)]) as (channel, _):
        call = unary_call(channel, SERVICE + "GetState")
        await begun.wait()
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED
        await asyncio.sleep(0.05)
        may_end.set()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_stream_ends_with_its_client() -> None:
    ended = asyncio.Event()

    async def endless(_services: Services, _request: Message, send: Send) -> None:
        try:
            await send(pb.VacuumVolumeCompactResponse())
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with dispatching([compact(endless, lasting=False)]) as (channel, _):
        call = stream_call(channel, SERVICE + "VacuumVolumeCompact")
        await anext(aiter(call))
        call.cancel()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_lasting_work_learns_of_a_client_that_has_gone_when_it_would_tell_something() -> None:
    go_on: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work(_services: Services, _request: Message, send: Send) -> None:
        await send(pb.VacuumVolumeCompactResponse())
        await go_on
        try:
            await send(pb.VacuumVolumeCompactResponse())
        except CallError as error:
            outcome.set_result(str(error))

    async with dispatching([compact(work, lasting=True)]) as (channel, _):
        call = stream_call(channel, SERVICE + "VacuumVolumeCompact")
        await anext(aiter(call))
        call.cancel()
        await asyncio.sleep(0.1)
        go_on.set_result(None)
        async with asyncio.timeout(5):
            assert await outcome == "interrupted"


async def test_a_stop_cancels_what_outlives_its_client() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work(*_: object) -> Message:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with dispatching([get_state(work)]) as (channel, dispatch):
        call = unary_call(channel, SERVICE + "GetState")
        await begun.wait()
        call.cancel()
        await call.code()
        await dispatch.stop()
        assert cancelled.is_set()
