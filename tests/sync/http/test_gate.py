"""A gate that takes its time: what those who wait at it may hold, and what ends their wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from less_sync.auth import Identity, SignedRequest, peer_identity
from less_sync.sync.http.gate import Answer, Later
from less_sync.sync.http.socket import GuardedRoute, Route
from less_sync.sync.http.upgrade import Refusal
from less_sync.sync.limits import Limits
from less_sync.sync.session.session import SessionWire
from tests.live import Live, live_server
from tests.sync.http.test_app import RPC, UPGRADE, has_common_headers
from tests.sync.http.test_socket import Parrot
from tests.sync.http.test_strangers import until
from tests.sync.raw_http import Connection, connected

KNOWN: Final = peer_identity("peer.example")
REQUEST: Final = f"GET /guarded HTTP/1.1\r\nHost: h\r\n{UPGRADE}{RPC}\r\n".encode()
WORD: Final = b"\x82\x84\0\0\0\0word"
SAID: Final = b"\x82\x04word"


@dataclass(slots=True)
class HeldGate:
    """Answers when it is told to, or at once when it has `at_once`."""

    at_once: Answer | None = None
    answer: Answer = KNOWN
    fault: Exception | None = None
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[SignedRequest] = field(default_factory=list)
    waiting: int = 0
    cancelled: int = 0

    def admit(self, request: SignedRequest) -> Answer | Later:
        self.asked.append(request)
        return self.at_once or self._wait

    async def _wait(self) -> Answer:
        self.waiting += 1
        try:
            await self.opened.wait()
            if self.fault is not None:
                raise self.fault
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return self.answer


def parrot(wire: SessionWire, identity: Identity) -> Parrot:
    assert identity is KNOWN
    return Parrot(wire)


@dataclass(frozen=True, slots=True)
class Guarded:
    live: Live
    gate: HeldGate

    @property
    def strangers(self) -> int:
        return self.live.services.sessions.unauthenticated

    @property
    def pipelined_bytes(self) -> int:
        sockets = self.live.server.config.ws_protocol_class
        taken: int = sockets.pipelined.taken  # type: ignore[union-attr]
        return taken

    def settled(self) -> bool:
        return self.gate.waiting == 0 and self.strangers == 0 and self.pipelined_bytes == 0


@asynccontextmanager
async def guarded(database_url: str, limits: Limits | None = None) -> AsyncIterator[Guarded]:
    gate = HeldGate()
    routes: dict[bytes, Route] = {b"/guarded": GuardedRoute(gate, parrot)}
    async with live_server(database_url, limits, routes=lambda _: routes) as live:
        yield Guarded(live, gate)
        gate.opened.set()


async def refused(connection: Connection) -> tuple[int, bytes]:
    response = await connection.receive()
    assert has_common_headers(response)
    assert response.header("connection") == "close"
    assert await connection.ended() == b""
    return response.status, response.body


async def test_request_waits_for_the_gate_and_is_then_let_in(database_url: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        connection.send(REQUEST + WORD)
        await until(lambda: guard.gate.waiting == 1)
        assert guard.strangers == 1
        assert guard.pipelined_bytes == len(WORD)
        guard.gate.opened.set()
        assert (await connection.receive(body=False)).status == 101
        assert await connection.reader.readexactly(len(SAID)) == SAID
        assert guard.settled()


async def test_gate_sees_the_request_as_it_was_sent(database_url: str) -> None:
    async with guarded(database_url) as guard:
        guard.gate.at_once = Refusal(403, "no")
        for target in ("/guarded?a=%41", "http://x/guarded"):
            async with connected(guard.live.port) as connection:
                connection.send(REQUEST.replace(b"/guarded", target.encode()))
                assert await refused(connection) == (403, b"no")
        assert [(one.method, one.target) for one in guard.gate.asked] == [
            ("GET", "/guarded?a=%41"),
            ("GET", "http://x/guarded"),
        ]
        assert guard.gate.asked[0].headers["host"] == "h"


async def test_refusal_after_a_wait_reaches_who_is_still_sending_nothing(database_url: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        guard.gate.answer = Refusal(401, "no")
        connection.send(REQUEST + WORD)
        await until(lambda: guard.gate.waiting == 1)
        guard.gate.opened.set()
        assert await refused(connection) == (401, b"no")
        assert guard.settled()


async def test_refusal_is_not_taken_away_by_what_comes_behind_it(database_url: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        guard.gate.at_once = Refusal(401, "no")
        connection.send(REQUEST + bytes(1_000_000))
        await connection.writer.drain()
        assert await refused(connection) == (401, b"no")


async def test_who_sends_more_while_it_waits_is_refused(database_url: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        connection.send(REQUEST)
        await until(lambda: guard.gate.waiting == 1)
        connection.send(WORD)
        assert (await connection.receive()).status == 400
        await until(guard.settled)
        assert guard.gate.cancelled == 1


@pytest.mark.parametrize("how", ["close", "reset", "half"])
async def test_hang_up_ends_the_wait(database_url: str, how: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        connection.send(REQUEST + WORD)
        await until(lambda: guard.gate.waiting == 1)
        if how == "half":
            connection.writer.write_eof()
        elif how == "reset":
            connection.writer.transport.abort()
        else:
            connection.writer.close()
        await until(guard.settled)
        assert guard.gate.cancelled == 1


async def test_fault_of_the_gate_is_500(database_url: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        guard.gate.fault = LookupError()
        guard.gate.opened.set()
        connection.send(REQUEST)
        assert await refused(connection) == (500, b"")
        assert guard.settled()


async def test_stop_of_the_server_ends_the_wait(database_url: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        connection.send(REQUEST)
        await until(lambda: guard.gate.waiting == 1)
        guard.live.services.sessions.refuse()
        await guard.live.services.sessions.shutdown(1)
        assert await refused(connection) == (503, b"")
        assert guard.settled()
        assert guard.gate.cancelled == 1


async def test_stop_of_the_listener_ends_the_wait(database_url: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        connection.send(REQUEST)
        await until(lambda: guard.gate.waiting == 1)
        for one in list(guard.live.server.server_state.connections):
            one.shutdown()
        assert await refused(connection) == (503, b"")
        assert guard.settled()


async def test_who_was_let_in_while_the_server_began_to_stop_is_turned_away(database_url: str) -> None:
    async with guarded(database_url) as guard, connected(guard.live.port) as connection:
        connection.send(REQUEST)
        await until(lambda: guard.gate.waiting == 1)
        guard.live.services.sessions.refuse()
        guard.gate.opened.set()
        assert (await connection.receive()).status == 503
        assert guard.settled()


async def test_those_who_wait_are_bounded_as_strangers_and_the_known_are_let_in(database_url: str) -> None:
    async with guarded(database_url, Limits(unauthenticated_sessions=2)) as guard:
        async with connected(guard.live.port) as one, connected(guard.live.port) as two:
            one.send(REQUEST)
            two.send(REQUEST)
            await until(lambda: guard.strangers == 2)
            async with connected(guard.live.port) as third:
                third.send(REQUEST)
                assert await refused(third) == (503, b"")
            guard.gate.at_once = KNOWN
            async with connected(guard.live.port) as known:
                known.send(REQUEST)
                assert (await known.receive(body=False)).status == 101
        await until(guard.settled)


async def test_what_they_send_early_is_bounded_together(database_url: str) -> None:
    async with guarded(database_url, Limits(pipelined_bytes=len(WORD))) as guard:
        async with connected(guard.live.port) as one, connected(guard.live.port) as two:
            one.send(REQUEST + WORD)
            await until(lambda: guard.gate.waiting == 1)
            two.send(REQUEST + WORD)
            assert await refused(two) == (503, b"")
        await until(guard.settled)


async def test_large_head_is_counted_while_it_waits(database_url: str) -> None:
    async with guarded(database_url) as guard:
        large = REQUEST.replace(b"Host: h", b"X-Large: " + b"x" * 100_000 + b"\r\nHost: h")
        heads = guard.live.server.config.http_protocol_class.large_heads  # type: ignore[attr-defined]
        async with connected(guard.live.port) as connection:
            connection.send(large)
            await until(lambda: guard.gate.waiting == 1)
            assert heads.taken > 100_000
            guard.gate.opened.set()
            assert (await connection.receive(body=False)).status == 101
            assert heads.taken == 0
        await until(guard.settled)


async def test_thousands_of_refused_upgrades_leave_nothing_behind(database_url: str) -> None:
    async with guarded(database_url) as guard:
        guard.gate.at_once = Refusal(401, "no")
        before = len(asyncio.all_tasks())
        for _ in range(10):
            await asyncio.gather(*[_refused_once(guard.live.port) for _ in range(100)])
        await until(lambda: not guard.live.server.server_state.connections)
        assert guard.settled()
        assert len(asyncio.all_tasks()) == before


async def _refused_once(port: int) -> None:
    async with connected(port) as connection:
        connection.send(REQUEST)
        assert await refused(connection) == (401, b"no")
