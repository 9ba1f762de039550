"""What the log says of a database that lanes cannot reach, and of pushes whose completion raises."""

import asyncio
from uuid import uuid4

import structlog

from less_sync.storage import PushLanes, PushOutcome, StorageError, Unavailable
from less_sync.storage.postgres.outage import Outage
from tests.storage.gate import Gate
from tests.storage.support import make_push, opened, started, submit, written

BEGUN, REMINDED, ENDED = (
    "push lanes cannot connect",
    "push lanes still cannot connect",
    "push lanes are connected again",
)


class Clock:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_an_outage_is_told_when_it_begins_once_a_minute_and_when_it_ends() -> None:
    clock = Clock()
    outage, one, two = Outage(clock), object(), object()
    with structlog.testing.capture_logs() as lines:
        for _ in range(481):  # four attempts a second for two minutes
            outage.failed(one, Unavailable("no route"))
            outage.failed(two, Unavailable("no route"))
            clock.now_s += 0.25
        outage.connected(one)
        outage.connected(one)
        clock.now_s += 1.75
        outage.connected(two)
        outage.connected(two)
    assert [line["event"] for line in lines] == [BEGUN, REMINDED, REMINDED, ENDED]
    assert [line.get("reason") for line in lines] == ["no route"] * 3 + [None]
    assert [line.get("after_s") for line in lines] == [None, 60.0, 120.0, 122.0]


def test_a_second_outage_is_told_anew() -> None:
    clock = Clock()
    outage, lane = Outage(clock), object()
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            outage.failed(lane, Unavailable())
            clock.now_s += 5.0
            outage.connected(lane)
            clock.now_s += 100.0
    assert [line["event"] for line in lines] == [BEGUN, ENDED] * 2
    assert lines[3]["after_s"] == 5.0


async def test_an_outage_of_all_lanes_is_two_lines_with_reason_and_length(database_url: str) -> None:
    with structlog.testing.capture_logs() as lines:
        async with (
            Gate.before(database_url) as gate,
            opened(gate.url) as pool,
            started(pool, lanes=3) as lanes,
        ):
            await gate.shut()
            for _ in range(5):  # each is answered by a failed attempt
                assert isinstance(await submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"))), Unavailable)
            await gate.unlock()
            while len(lines) < 2:  # noqa: ASYNC110 - only the log says when the last lane is back
                await asyncio.sleep(0.01)
            assert await written(lanes, uuid4(), (uuid4(), 0, b"x")) == 1
    assert [line["event"] for line in lines] == [BEGUN, ENDED]
    assert str(lines[0]["reason"]).startswith("cannot connect to database ")
    assert lines[1]["after_s"] > 0


async def test_a_completion_that_raises_is_reported_and_stops_nobody(lanes: PushLanes) -> None:
    told = asyncio.Event()

    def broken(_: PushOutcome | StorageError) -> None:
        told.set()
        raise RuntimeError("broken completion")

    with structlog.testing.capture_logs() as lines:
        lanes.submit(make_push(uuid4(), (uuid4(), 0, b"x"), client="c"), broken)
        space = uuid4()
        assert await written(lanes, space, (uuid4(), 0, b"x")) == 1
        assert await written(lanes, space, (uuid4(), 0, b"x")) == 2
        await asyncio.wait_for(told.wait(), 20)  # the two spaces may have taken different lanes
    assert [line["event"] for line in lines] == ["completion of a push raised"]
    assert lines[0]["exc_info"] is True
