"""Draining: who is let in, in which order and when sessions are closed, and what taking it back saves."""

import random
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close
from less_sync.sync.session.open_sessions import TURN_S, Doors, Sessions
from tests.live import Live, live_server
from tests.simulation.loop import SimulatedLoop
from tests.sync.raw_http import connected, fetch
from tests.wire.client import Closed

SPREAD_S = 30.0
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: less-rpc-v1\r\n"
)


class Noted:
    """A session that notes when it is told to end, and ends at once."""

    def __init__(self, sessions: Sessions, loop: SimulatedLoop) -> None:
        self._sessions = sessions
        self._loop = loop
        self.told_s: list[float] = []
        sessions.opened(self)
        sessions.authenticated(self)

    def retire(self, close: Close, *, within_s: float) -> None:
        assert close is codes.SHUTTING_DOWN
        assert within_s >= 0
        self.told_s.append(self._loop.time())
        self._sessions.closed(self)


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    """Hours pass at once, and callbacks take no time worth mentioning."""
    loop = SimulatedLoop(
        random.Random(1),
        callback_s_max=1e-9,
        steps_max=1_000_000,
        on_outside=lambda at_s, label: None,
        on_fault=lambda context: pytest.fail(str(context)),
    )
    yield loop
    loop.close()


def opened(loop: SimulatedLoop, count: int) -> tuple[Sessions, list[Noted]]:
    loop.run_until_complete(nothing())  # `asyncio.Event` wants a loop
    sessions = Sessions()
    return sessions, [Noted(sessions, loop) for _ in range(count)]


async def nothing() -> None:
    """Takes no time."""


def within(loop: SimulatedLoop, act: Callable[[], object]) -> None:
    def outside() -> None:
        act()

    loop.outside(0.0, "act", outside)
    loop.run_for(0.001)


@pytest.mark.parametrize("count", [1, 7, 10_000])
def test_a_drain_closes_in_the_order_of_opening_evenly_over_its_time(loop: SimulatedLoop, count: int) -> None:
    sessions, noted = opened(loop, count)
    begun_s = loop.time()
    within(loop, lambda: sessions.drain(spread_s=SPREAD_S, within_s=8))
    loop.run_for(SPREAD_S + 1)
    assert len(sessions) == 0
    for index, one in enumerate(noted):
        (told_s,) = one.told_s
        # A turn comes late by one pause at most, and never early.
        assert -1e-6 <= told_s - begun_s - index * SPREAD_S / count <= 2 * TURN_S


def test_draining_twice_is_draining_once(loop: SimulatedLoop) -> None:
    sessions, noted = opened(loop, 30)
    within(loop, lambda: sessions.drain(spread_s=SPREAD_S, within_s=8))
    loop.run_for(10)
    within(loop, lambda: sessions.drain(spread_s=SPREAD_S, within_s=8))
    loop.run_for(SPREAD_S - 9)
    assert [len(one.told_s) for one in noted] == [1] * 30


def test_taking_a_drain_back_leaves_those_open_whose_turn_has_not_come(loop: SimulatedLoop) -> None:
    sessions, noted = opened(loop, 30)
    within(loop, lambda: sessions.drain(spread_s=SPREAD_S, within_s=8))
    loop.run_for(10)
    assert sessions.reopen()
    loop.run_for(100)
    assert sessions.doors is Doors.OPEN
    assert [len(one.told_s) for one in noted] == [1] * 11 + [0] * 19
    within(loop, lambda: sessions.drain(spread_s=SPREAD_S, within_s=8))
    loop.run_for(SPREAD_S + 1)
    assert [len(one.told_s) for one in noted] == [1] * 30


def test_a_stop_during_a_drain_is_over_in_its_own_time_and_cannot_be_taken_back(loop: SimulatedLoop) -> None:
    sessions, noted = opened(loop, 30)
    within(loop, lambda: sessions.drain(spread_s=SPREAD_S, within_s=8))
    loop.run_for(1.5)
    begun_s = loop.time()
    loop.run_until_complete(sessions.shutdown(8))
    assert loop.time() - begun_s <= 2 + TURN_S
    assert not sessions.reopen()
    assert sessions.doors is Doors.STOPPING
    loop.run_for(100)
    assert [len(one.told_s) for one in noted] == [1] * 30


def test_one_session_that_fails_to_end_does_not_keep_the_others_from_it() -> None:
    faults: list[object] = []
    loop = SimulatedLoop(
        random.Random(1),
        callback_s_max=1e-9,
        steps_max=1_000_000,
        on_outside=lambda at_s, label: None,
        on_fault=faults.append,
    )
    sessions, noted = opened(loop, 3)

    class Faulty(Noted):
        def retire(self, close: Close, *, within_s: float) -> None:
            raise ArithmeticError

    Faulty(sessions, loop)
    noted.append(Noted(sessions, loop))
    within(loop, lambda: sessions.drain(spread_s=SPREAD_S, within_s=8))
    loop.run_for(SPREAD_S + 1)
    loop.close()
    assert [len(one.told_s) for one in noted] == [1] * 4
    assert len(faults) == 1


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


async def test_a_draining_server_takes_nobody_and_says_so_until_it_is_taken_back(live: Live) -> None:
    first, second = await live.connect("alice"), await live.connect("bob")
    await live.settled(first)
    await live.settled(second)
    live.services.sessions.drain(spread_s=600, within_s=8)
    assert await first.closed() == Closed(1001, "server shutting down")
    health = await fetch(live.port, "GET", "/health")
    assert (health.status, health.body) == (503, b'{"status":"unhealthy","error":"shutting down"}')
    async with connected(live.port) as connection:
        assert (await connection.request("GET", "/api/v1/ws", UPGRADE)).status == 503
    await second.subscribe()
    assert live.services.sessions.reopen()
    assert (await fetch(live.port, "GET", "/health")).status == 200
    again = await live.connect("alice")
    await live.settled(again)
    await live.settled(second)
    assert len(live.services.sessions) == 2
