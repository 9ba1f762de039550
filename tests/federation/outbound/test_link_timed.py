"""The link with its real times, on a loop whose time is virtual: when it dials, and when it gives up."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from less_sync.federation.outbound.calls import (
    LinkState,
    PeerAddress,
    PeerFault,
    PeerSilent,
    PeerUnreachable,
    RestoreCall,
)
from less_sync.federation.outbound.dial import DialFailed, DialRefused
from less_sync.federation.outbound.link import PeerLink, request_ids
from less_sync.federation.outbound.socket import PeerSocket
from less_sync.sync.client.errors import NO_CLOSE_FRAME
from tests.simulation.loop import SimulatedLoop


class Wire:
    """A connection in memory, to a peer that answers nothing."""

    def __init__(self) -> None:
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self.writable = True
        self.on_writable: Callable[[], None] = lambda: None
        self.closed_with: int | None = None
        self.probes = 0
        self.written: list[bytes] = []
        self._ended = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        await self._ended.wait()
        raise StopAsyncIteration

    def end(self, code: int | None) -> None:
        self.close_code = code
        self._ended.set()

    def write(self, message: bytes) -> None:
        self.written.append(message)

    def probe(self) -> None:
        self.probes += 1

    def abort(self) -> None:
        self.end(None)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed_with = code
        self.end(code)


@dataclass
class World:
    """A link on a virtual loop; `outcomes` say how dials end, the last one again for the rest."""

    outcomes: list[Exception | None]
    wanted: bool = True
    dials: list[float] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    ends: list[tuple[float, int | None]] = field(default_factory=list)
    """For each connection after how many seconds it ends, and with which code."""

    def __post_init__(self) -> None:
        self.link = PeerLink(
            PeerAddress("home.example", "wss://home.example/x"),
            self.dial,
            new_id=request_ids(),
            chance=random.Random(3),
            restore=self.restore,
            wanted=lambda: self.wanted,
            on_notification=lambda frame: None,
        )

    async def restore(self, call: RestoreCall) -> None:
        """Nothing was wanted before."""

    async def dial(self, address: PeerAddress) -> PeerSocket:
        self.dials.append(asyncio.get_running_loop().time())
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome is not None:
            raise outcome
        wire = Wire()
        self.wires.append(wire)
        if self.ends:
            seconds, code = self.ends.pop(0)
            asyncio.get_running_loop().call_later(seconds, wire.end, code)
        return wire

    def gaps(self) -> list[float]:
        """Seconds between dials."""
        return [later - former for former, later in zip(self.dials, self.dials[1:], strict=False)]


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story in virtual time."""
    faults: list[dict[str, Any]] = []
    loop = SimulatedLoop(
        random.Random(1),
        callback_s_max=1e-6,
        steps_max=1_000_000,
        on_outside=lambda at, label: None,
        on_fault=faults.append,
    )
    try:
        loop.run_until_complete(story())
    finally:
        loop.close()
    assert faults == []


async def fault_of(world: World) -> tuple[type[PeerFault], float]:
    """Make a call that fails; how, and after how many seconds, to the nearest tenth."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(PeerFault) as failed:
        await world.link.call("push", b"\xa0", person="ann")
    return type(failed.value), round(asyncio.get_running_loop().time() - began, 1)


def within(gaps: list[float], middles: list[float]) -> bool:
    return len(gaps) >= len(middles) and all(
        0.8 * middle <= gap <= 1.2 * middle + 0.001 for gap, middle in zip(gaps, middles, strict=False)
    )


def test_a_wanted_peer_that_is_away_is_dialled_less_and_less_often() -> None:
    async def story() -> None:
        world = World([DialFailed("away")])
        world.link.wake()
        await asyncio.sleep(400)
        assert within(world.gaps(), [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60])
        await world.link.aclose()
        dials = len(world.dials)
        await asyncio.sleep(400)
        assert len(world.dials) == dials

    run(story)


@pytest.mark.parametrize("status", [400, 403, 404, 501])
def test_a_peer_that_will_not_have_us_is_dialled_from_half_a_minute_on(status: int) -> None:
    async def story() -> None:
        world = World([DialRefused(status, "")])
        world.link.wake()
        await asyncio.sleep(1500)
        assert within(world.gaps(), [30, 60, 120, 240, 300])
        await world.link.aclose()

    run(story)


@pytest.mark.parametrize(
    ("open_s", "code", "least", "most"),
    [
        (3600.0, 4001, 0.0, 1.0),
        (3600.0, 1001, 0.0, 1.0),
        (1.0, 4003, 24.0, 36.0),
        (1.0, 4005, 4.0, 6.0),
        (1.0, NO_CLOSE_FRAME, 0.4, 0.6),
        (1.0, None, 0.4, 0.6),
    ],
)
def test_the_code_of_the_end_decides_when_it_is_dialled_again(
    open_s: float, code: int | None, least: float, most: float
) -> None:
    async def story() -> None:
        world = World([None], ends=[(open_s, code)])
        world.link.wake()
        await asyncio.sleep(open_s + 60)
        (gap,) = world.gaps()
        assert least <= gap - open_s <= most + 0.001
        assert world.link.state is LinkState.OPEN
        await world.link.aclose()
        assert world.wires[-1].closed_with == 1001

    run(story)


def test_half_a_minute_open_forgets_what_failed_before() -> None:
    async def story() -> None:
        failed = DialFailed("away")
        world = World([failed, failed, failed, None, failed, None], ends=[(31.0, None), (1e6, None)])
        world.link.wake()
        await asyncio.sleep(60)
        assert within(world.gaps()[:3], [0.5, 1, 2])
        assert within([world.gaps()[3] - 31.0, world.gaps()[4]], [0.5, 1])
        await world.link.aclose()

    run(story)


def test_a_call_without_an_answer_ends_after_twenty_seconds_and_asks_for_a_sign_of_life() -> None:
    async def story() -> None:
        world = World([None])
        assert await fault_of(world) == (PeerSilent, 20.0)
        assert world.wires[0].probes == 1
        await world.link.aclose()

    run(story)


def test_a_call_in_backoff_fails_at_once_or_makes_a_dial() -> None:
    async def story() -> None:
        world = World([DialRefused(404, "")], wanted=False)
        assert await fault_of(world) == (PeerUnreachable, 0.0)
        await asyncio.sleep(0.9)
        assert await fault_of(world) == (PeerUnreachable, 0.0)
        assert len(world.dials) == 1
        await asyncio.sleep(0.2)
        assert await fault_of(world) == (PeerUnreachable, 0.0)
        assert len(world.dials) == 2
        await world.link.aclose()

    run(story)


def test_a_link_of_no_use_rests_after_ten_minutes_without_a_call() -> None:
    async def story() -> None:
        world = World([None], wanted=False)
        states: list[LinkState] = []
        await fault_of(world)
        for seconds in (590, 0, 590, 100):
            await (asyncio.sleep(seconds) if seconds else fault_of(world))
            states.append(world.link.state)
        assert states == [LinkState.OPEN, LinkState.OPEN, LinkState.OPEN, LinkState.IDLE]
        assert world.wires[0].closed_with == 1000
        assert len(world.dials) == 1
        await world.link.aclose()

    run(story)


def test_a_fault_of_our_own_is_outlived() -> None:
    async def story() -> None:
        world = World([RuntimeError("bug"), RuntimeError("bug"), None])
        world.link.wake()
        await asyncio.sleep(60)
        assert within(world.gaps(), [0.5, 1])
        assert world.link.state is LinkState.OPEN
        await world.link.aclose()

    run(story)


def test_the_same_seed_gives_the_same_times() -> None:
    times: list[list[float]] = []

    async def story() -> None:
        world = World([DialFailed("away")])
        world.link.wake()
        await asyncio.sleep(300)
        times.append(world.dials)
        await world.link.aclose()

    run(story)
    run(story)
    assert times[0] == times[1]
