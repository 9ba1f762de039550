"""Every hook of uvicorn's WebSocket class that the socket overrides, driven over real connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from uuid import UUID

import cbor2
import pytest

from less_sync.sync.http.framing import ws_frame
from less_sync.sync.http.headers import COMMON_HEADERS
from less_sync.sync.http.socket import Route
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.codes import Close
from less_sync.sync.session.session import SessionWire
from tests.live import Live, live_server
from tests.wire.client import Closed, Message, Refused, open_socket

HANDSHAKE = (
    "GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: betterbase-rpc-v1\r\n\r\n"
)


@asynccontextmanager
async def raw(live: Live) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection without a WebSocket library."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def request(live: Live, text: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request and return status, headers and body."""
    async with raw(live) as (reader, writer):
        writer.write(text.encode("latin-1"))
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1")
        status, *lines = head.split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        lower = {name.lower(): value for name, value in headers.items()}
        body = await reader.readexactly(int(lower.get("content-length", "0")))
        return int(status.split()[1]), lower, body


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """One client frame with the mask 0, so that the payload is sent as it is."""
    assert len(payload) < 126
    return bytes([opcode | (0x80 if fin else 0), 0x80 | len(payload)]) + bytes(4) + payload


async def read_close(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The next frame, which must be a close."""
    opcode, length = await asyncio.wait_for(reader.readexactly(2), 10)
    assert opcode == 0x88
    data = await reader.readexactly(length)
    return int.from_bytes(data[:2], "big"), data[2:].decode()


async def test_the_upgrade_is_answered_with_the_common_headers_and_the_accept_of_rfc_6455(
    database_url: str,
) -> None:
    async with live_server(database_url) as live, raw(live) as (reader, writer):
        writer.write(HANDSHAKE.encode())
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
        lines = head.split("\r\n")
        assert lines[0] == "HTTP/1.1 101 Switching Protocols"
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines
        assert "Sec-WebSocket-Protocol: betterbase-rpc-v1" in lines
        for name, value in COMMON_HEADERS:
            assert f"{name}: {value}" in lines
        assert "extensions" not in head.lower()
        (sent,) = [line.removeprefix("Date: ") for line in lines if line.startswith("Date: ")]
        assert abs(datetime.now(UTC) - parsedate_to_datetime(sent)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("old", "new", "status", "body"),
    [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 400, b"`Sec-WebSocket-Version` header did"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, b"`Sec-WebSocket-Key` header missing"),
        ("betterbase-rpc-v1", "Betterbase-rpc-v1", 400, b""),
        ("Sec-WebSocket-Protocol: betterbase-rpc-v1\r\n", "", 400, b""),
        ("GET", "POST", 405, b""),
        ("Connection: Upgrade\r\n", "", 400, b"Connection header did not include 'upgrade'"),
        ("Upgrade: websocket\r\n", "", 400, b"`Upgrade` header did not include 'websocket'"),
    ],
)
async def test_a_wrong_upgrade_is_refused_with_its_status_and_the_common_headers(
    database_url: str, old: str, new: str, status: int, body: bytes
) -> None:
    async with live_server(database_url) as live:
        got, headers, text = await request(live, HANDSHAKE.replace(old, new))
        assert got == status
        assert text.startswith(body)
        assert bool(text) == bool(body)
        assert headers["x-protocol-version"] == "1"


async def test_the_key_of_the_upgrade_is_not_examined(database_url: str) -> None:
    async with live_server(database_url) as live:
        status, _, _ = await request(live, HANDSHAKE.replace("dGhlIHNhbXBsZSBub25jZQ==", "anything"))
        assert status == 101


async def test_every_header_line_of_subprotocols_counts_and_the_servers_order_decides(
    database_url: str,
) -> None:
    async with live_server(database_url) as live:
        for offered, chosen in [
            (["less-rpc-v1"], "less-rpc-v1"),
            (["x, less-rpc-v1", "betterbase-rpc-v1"], "betterbase-rpc-v1"),
        ]:
            socket = await open_socket("127.0.0.1", live.port, subprotocols=offered)
            assert socket.subprotocol == chosen
            socket.abort()


async def test_more_unauthenticated_sockets_than_the_cap_are_refused_with_503(database_url: str) -> None:
    async with live_server(database_url, Limits(unauthenticated_sessions=2)) as live:
        first, second = await live.open(), await live.open()
        with pytest.raises(Refused, match="503"):
            await live.open()
        client = await live.connect_over(first)
        await live.settled(client)
        third = await live.open()
        for socket in (second, third):
            socket.abort()


async def test_no_upgrade_is_accepted_while_the_server_drains(database_url: str) -> None:
    async with live_server(database_url) as live:
        live.services.sessions.refuse()
        with pytest.raises(Refused, match="503"):
            await live.open()


async def test_fragments_are_joined_and_empty_ones_cost_nothing(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        frame = cbor2.dumps({"type": 0, "id": "f", "method": "?", "params": {}})
        client.socket.send_raw(masked(2, frame[:5], fin=False))
        for _ in range(3000):
            client.socket.send_raw(masked(0, b"", fin=False))
        client.socket.send_raw(masked(0, frame[5:10], fin=False) + masked(0, frame[10:]))
        response, _ = await client.response("f")
        assert response.error is not None
        assert response.error.code == "method_not_found"


async def test_a_ping_is_answered_even_between_fragments(database_url: str) -> None:
    async with live_server(database_url) as live, raw(live) as (reader, writer):
        writer.write(HANDSHAKE.encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(masked(2, b"\xa1", fin=False) + masked(9, b"hi"))
        assert await asyncio.wait_for(reader.readexactly(4), 10) == b"\x8a\x02hi"


async def test_a_message_before_a_violation_is_handled_first(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        await live.settled(client)
        frame = cbor2.dumps({"type": 0, "id": "b", "method": "?", "params": {}})
        unmasked = b"\x82\x01x"
        client.socket.send_raw(masked(2, frame) + unmasked + b"and more that nobody reads")
        response, _ = await client.response("b")
        assert response.error is not None
        assert await client.closed() == Closed(1002, "protocol violation")


async def test_an_oversize_message_is_1009_as_soon_as_its_header_is_read(database_url: str) -> None:
    async with live_server(database_url, Limits(frame_bytes=1000)) as live:
        client = await live.connect()
        await live.settled(client)
        client.socket.send_raw(b"\x82\xfe\x03\xe9" + bytes(4))  # 1001 bytes announced, none sent
        assert await client.closed() == Closed(1009, "message too big")


async def test_exactly_the_limit_passes(database_url: str) -> None:
    async with live_server(database_url, Limits(frame_bytes=1000)) as live:
        client = await live.connect()
        await live.settled(client)
        head = b"\xa4dtype\x00bidamfmethoda?fparams\xa1axY"
        data = head + (1000 - len(head) - 2).to_bytes(2, "big") + bytes(1000 - len(head) - 2)
        assert len(data) == 1000
        client.socket.send(data)
        response, _ = await client.response("m")
        assert response.error is not None


async def test_text_that_is_no_utf8_is_4005_like_any_other_text(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        await live.settled(client)
        client.socket.send_raw(masked(1, b"\xff\xfe"))
        assert await client.closed() == Closed(4005, "expected binary rpc frame")


async def test_the_peers_close_frame_is_returned_and_the_connection_closed(database_url: str) -> None:
    async with live_server(database_url) as live, raw(live) as (reader, writer):
        writer.write(HANDSHAKE.encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(masked(8, (4321).to_bytes(2, "big") + b"bye"))
        assert await read_close(reader) == (4321, "bye")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert len(live.services.sessions) == 0


async def test_after_its_own_close_frame_the_server_drains_input_and_waits_for_the_peers(
    database_url: str,
) -> None:
    async with live_server(database_url) as live, raw(live) as (reader, writer):
        writer.write(HANDSHAKE.encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(masked(2, b""))
        assert await read_close(reader) == (4000, "empty auth frame")
        for _ in range(50):
            writer.write(masked(2, b"still in flight"))
        writer.write(masked(8, (1000).to_bytes(2, "big")))
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_peer_that_never_closes_is_dropped_after_the_close_timeout(database_url: str) -> None:
    limits = Limits(close_timeout_s=0.05)
    async with live_server(database_url, limits) as live, raw(live) as (reader, writer):
        writer.write(HANDSHAKE.encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(masked(2, b""))
        assert await read_close(reader) == (4000, "empty auth frame")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 10)


async def test_a_lost_connection_frees_its_place_and_its_subscriptions(database_url: str) -> None:
    def heard_by(live: Live, space: str) -> int:
        return live.services.broker.publish(UUID(space), lambda _spelling: ws_frame(b"\xf6"))

    async with live_server(database_url, Limits(connections_per_mailbox=1)) as live:
        client = await live.connect()
        await client.subscribe()
        assert (len(live.services.sessions), heard_by(live, client.space)) == (1, 1)
        client.socket.abort()
        async with asyncio.timeout(20):
            while len(live.services.sessions):  # noqa: ASYNC110  nothing to wait for but the state itself
                await asyncio.sleep(0.005)
        assert heard_by(live, client.space) == 0
        await live.settled(await live.connect())  # it takes the one place there is


async def test_uvicorns_own_shutdown_sends_1001(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        await live.settled(client)
        (socket,) = live.connections()
        socket.shutdown()
        assert await client.closed() == Closed(1001, "server shutting down")


async def test_nagle_is_off_so_that_a_small_frame_is_not_held_back(database_url: str) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        await live.settled(client)
        (socket,) = live.connections()
        assert socket.transport.get_extra_info("socket").getsockopt(6, 1) == 1  # IPPROTO_TCP, TCP_NODELAY


class Parrot:
    """A session that says back what it hears, and needs no token."""

    heard = True
    closing = False

    def __init__(self, wire: SessionWire) -> None:
        self._wire = wire
        wire.accepted()

    def binary_received(self, data: bytes) -> None:
        self._wire.write(ws_frame(data))

    def text_received(self) -> None:
        raise AssertionError

    def violated(self, close: Close) -> None:
        self.close(close)

    def writing_paused(self) -> None: ...

    def writing_resumed(self) -> None: ...

    def close(self, close: Close) -> None:
        self._wire.send_close(close)

    def lost(self) -> None: ...


async def test_the_path_chooses_what_serves_a_socket(database_url: str) -> None:
    routes: dict[bytes, Route] = {b"/parrot": Parrot}
    async with live_server(database_url, routes=lambda _: routes) as live:
        socket = await open_socket("127.0.0.1", live.port, path="/parrot")
        for word in (b"hello", b"again"):
            socket.send(word)
            assert await socket.receive(10) == Message(word, binary=True)
        socket.abort()
        with pytest.raises(Refused):
            await open_socket("127.0.0.1", live.port, path="/api/v1/ws")
