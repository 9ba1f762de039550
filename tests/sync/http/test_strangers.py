"""What a WebSocket may send before its token is accepted, and what becomes of what it sent behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import cbor2
import pytest

from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import Authenticator
from less_sync.sync.http.receiver import Receiver
from less_sync.sync.limits import Limits
from tests.live import ISSUER, Live, live_server
from tests.sync.http.test_http1 import held_bytes
from tests.sync.http.test_socket import HANDSHAKE, masked, raw, read_close
from tests.sync.jwks_server import Gate, JwksServer, serving
from tests.wire.client import Closed

KIB: Final = 1024
LIMITS: Final = Limits(pipelined_bytes=30 * KIB)


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """One client frame of any length, with the mask 0."""
    length = len(payload)
    size = (
        bytes([0xFE]) + length.to_bytes(2, "big") if length < 1 << 16 else b"\xff" + length.to_bytes(8, "big")
    )
    return bytes([opcode | (0x80 if fin else 0)]) + size + bytes(4) + payload


def auth_frame(live: Live, user: str = "alice", **changes: object) -> bytes:
    return cbor2.dumps({"type": 2, "method": "auth", "params": {"token": live.token(user, **changes)}})


def request_frame(id: str, size: int = 0) -> bytes:
    params = {"x": bytes(size)}
    return cbor2.dumps({"type": 0, "id": id, "method": "?", "params": params})


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def upgraded(stream: Stream) -> None:
    reader, writer = stream
    writer.write(HANDSHAKE.encode())
    await reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def waiting_server(database_url: str, limits: Limits = LIMITS) -> AsyncIterator[tuple[Live, Gate]]:
    """A server whose issuer's keys come when the gate opens."""
    async with live_server(database_url, limits) as live:
        gate = Gate(serving(live.issuer.key_set()))
        async with JwksServer(gate) as issuer:
            live.services.authenticator = Authenticator(KeyFetcher({ISSUER: issuer.url}))
            yield live, gate
            gate.opened.set()
            await live.services.authenticator.aclose()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  nothing to wait for but the state itself
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("size", [32 * KIB, 32 * KIB + 1])
async def test_a_first_message_may_have_32_kibibytes(database_url: str, size: int) -> None:
    async with live_server(database_url) as live, raw(live) as stream:
        await upgraded(stream)
        stream[1].write(frame(2, bytes(size)))
        expected = (4000, "invalid auth frame") if size == 32 * KIB else (1009, "message too big")
        assert await read_close(stream[0]) == expected


async def test_a_first_message_that_is_too_big_is_refused_by_the_header_of_its_frame(
    database_url: str,
) -> None:
    async with live_server(database_url) as live, raw(live) as stream:
        await upgraded(stream)
        stream[1].write(frame(2, bytes(32 * KIB + 1))[:8])
        assert await read_close(stream[0]) == (1009, "message too big")


async def test_who_sends_too_much_with_the_request_leaves_nothing_of_it_behind(database_url: str) -> None:
    sent = HANDSHAKE.encode() + frame(2, bytes(400 * KIB))
    async with live_server(database_url) as live, AsyncExitStack() as stack:

        async def refuse() -> None:
            reader, writer = await stack.enter_async_context(raw(live))
            writer.write(sent)
            await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readexactly(4))[2:] == (1009).to_bytes(2, "big")
            await until(lambda: not writer.transport.get_write_buffer_size())

        await refuse()
        assert await held_bytes(refuse, 8) < 8 * 50 * KIB


async def test_fragments_of_a_first_message_count_together(database_url: str) -> None:
    async with live_server(database_url) as live, raw(live) as stream:
        await upgraded(stream)
        stream[1].write(frame(2, bytes(20 * KIB), fin=False) + masked(9, b"still there"))
        assert (await stream[0].readexactly(13))[:2] == b"\x8a\x0b"
        stream[1].write(frame(0, bytes(20 * KIB))[:8])
        assert await read_close(stream[0]) == (1009, "message too big")


async def test_frames_before_the_token_have_a_bound_pings_and_empty_fragments_too(database_url: str) -> None:
    async with live_server(database_url) as live:
        for many in (masked(9, b""), masked(0, b"", fin=False)):
            async with raw(live) as stream:
                await upgraded(stream)
                stream[1].write(masked(2, b"", fin=False) + many * 64)
                while (opcode := (await stream[0].readexactly(1))[0]) == 0x8A:
                    await stream[0].readexactly(1)
                assert opcode == 0x88
                size = (await stream[0].readexactly(1))[0]
                assert (await stream[0].readexactly(size))[:2] == (1002).to_bytes(2, "big")


async def test_a_close_frame_before_the_token_is_answered(database_url: str) -> None:
    async with live_server(database_url) as live, raw(live) as stream:
        await upgraded(stream)
        stream[1].write(masked(8, (1000).to_bytes(2, "big")))
        assert await read_close(stream[0]) == (1000, "")


async def test_a_megabyte_may_follow_the_first_message_at_once(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        client.socket.send(request_frame("big", 1024 * KIB))
        response, _ = await client.response("big")
        assert response.error is not None
        assert response.error.code == "method_not_found"


async def test_what_came_with_the_first_message_waits_unread_for_the_token(database_url: str) -> None:
    async with waiting_server(database_url) as (live, gate), raw(live) as stream:
        await upgraded(stream)
        # An unmasked frame breaks RFC 6455, but that is judged when it is read.
        behind = frame(2, request_frame("a", 10 * KIB)) + b"\x82\x01x"
        stream[1].write(frame(2, auth_frame(live)) + behind)
        await gate.reached.wait()
        (socket,) = live.connections()
        await until(lambda: not socket.transport.is_reading())
        held = socket.pipelined.taken
        assert 0 < held <= len(behind)
        gate.opened.set()
        opcode, length = await asyncio.wait_for(stream[0].readexactly(2), 20)
        assert (opcode, length < 126) == (0x82, True)
        body = cbor2.loads(await stream[0].readexactly(length))
        assert (body["id"], body["error"]["code"]) == ("a", "method_not_found")
        assert await read_close(stream[0]) == (1002, "protocol violation")
        assert socket.pipelined.taken == 0


async def test_what_waits_for_tokens_shares_a_bound_and_the_one_beyond_it_is_told_to_come_back(
    database_url: str,
) -> None:
    async with waiting_server(database_url) as (live, gate), raw(live) as first, raw(live) as second:
        behind = frame(2, request_frame("a", 20 * KIB))[: 18 * KIB]
        for stream in (first, second):
            await upgraded(stream)
            stream[1].write(frame(2, auth_frame(live)) + behind)
        closed, served = await asyncio.wait(
            [asyncio.create_task(read_close(stream[0])) for stream in (first, second)],
            return_when=asyncio.FIRST_COMPLETED,
            timeout=20,
        )
        assert [task.result() for task in closed] == [(1013, "auth temporarily unavailable")]
        for task in served:
            task.cancel()
        (waiting,) = [
            one for one in live.connections() if one.pipelined.taken and not one.transport.is_reading()
        ]
        assert waiting.pipelined.taken <= LIMITS.pipelined_bytes
        gate.opened.set()
        await until(lambda: waiting.pipelined.taken == 0)


@pytest.mark.parametrize("hang_up", [False, True])
async def test_who_is_refused_or_goes_gives_its_share_back(database_url: str, hang_up: bool) -> None:
    async with waiting_server(database_url) as (live, gate), raw(live) as stream:
        await upgraded(stream)
        stream[1].write(frame(2, auth_frame(live, sub=None)) + frame(2, bytes(10 * KIB)))
        await gate.reached.wait()
        (socket,) = live.connections()
        await until(lambda: socket.pipelined.taken > 0)
        if hang_up:
            socket.abort()
            await until(lambda: socket.pipelined.taken == 0)
        gate.opened.set()
        if not hang_up:
            assert await read_close(stream[0]) == (4000, "invalid auth token")
            assert socket.pipelined.taken == 0


async def test_after_a_refusal_nothing_is_kept_and_the_peers_close_frame_is_found_behind_megabytes(
    database_url: str,
) -> None:
    async with live_server(database_url, Limits(close_timeout_s=60)) as live, raw(live) as stream:
        await upgraded(stream)
        stream[1].write(masked(2, b""))
        assert await read_close(stream[0]) == (4000, "empty auth frame")
        (socket,) = live.connections()
        for payload in (bytes(3 * 1024 * KIB), b"", bytes(70_000)):
            stream[1].write(frame(2, payload) + masked(9, b"ping"))
        stream[1].write(masked(8, (1000).to_bytes(2, "big")))
        assert await asyncio.wait_for(stream[0].read(), 20) == b""
        assert socket.transport.is_closing()


def test_a_receiver_keeps_nothing_of_what_it_passes_over() -> None:
    receiver = Receiver(first_message_bytes=1000, first_frames=8)
    receiver.receive_data(masked(2, b"first") + masked(2, b"second"))
    assert [bytes(event.data) for event in receiver.events_received()] == [b"first"]  # type: ignore[union-attr]  # frames
    assert (receiver.held, receiver.unread_bytes) == (True, len(masked(2, b"second")))
    receiver.close_only()
    assert receiver.unread_bytes == 0
    stream = frame(2, bytes(100_000)) + frame(2, bytes(300)) + masked(8, b"")
    for byte in range(0, len(stream), 7):
        receiver.receive_data(stream[byte : byte + 7])
        assert receiver.unread_bytes < 14
    assert [event.opcode for event in receiver.events_received()] == [8]  # type: ignore[union-attr]  # frames


async def test_a_handshake_that_waits_too_long_for_keys_is_told_to_come_back(database_url: str) -> None:
    limits = Limits(auth_timeout_s=30, handshake_timeout_s=30.05)
    async with waiting_server(database_url, limits) as (live, _gate):
        client = await live.connect()
        assert await client.closed() == Closed(1013, "auth temporarily unavailable")
