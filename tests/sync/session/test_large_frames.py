"""Large frames are handled one at a time, and everybody else gets as much time as they took."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

from less_sync.sync.protocol.frames import Response
from less_sync.sync.session.large_frames import LARGE_FRAME_BYTES, LargeFrames
from tests.live import live_server


class Clock:
    """A clock that the test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def taker(turns: LargeFrames, done: list[str], name: str) -> Callable[[], None]:
    """Somebody who asks until it is their turn, as a session does; the name's first letter is the person."""

    def go_on() -> None:
        if turns.take(name[0], go_on):
            done.append(name)

    return go_on


async def test_turns_are_given_in_the_order_asked_one_in_each_turn_of_the_loop() -> None:
    turns, done = LargeFrames(Clock()), list[str]()
    takers = [taker(turns, done, name) for name in "abc"]
    for ask in (*takers, *takers[1:]):
        ask()
    assert done == ["a"]
    seen = []
    async with asyncio.timeout(20):
        while len(done) < 3:
            await asyncio.sleep(0)
            seen.append(len(done))
    assert done == ["a", "b", "c"]
    assert set(seen) == {1, 2, 3}  # never two of them between two looks


async def test_people_take_turns_whatever_the_number_of_their_connections() -> None:
    turns, done = LargeFrames(Clock()), list[str]()
    for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        taker(turns, done, name)()
    async with asyncio.timeout(20):
        while len(done) < 7:  # noqa: ASYNC110  turns of the loop are waited for
            await asyncio.sleep(0)
    assert done == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_the_next_turn_comes_after_a_rest_as_long_as_the_last() -> None:
    clock, done = Clock(), list[str]()
    turns = LargeFrames(clock)
    taker(turns, done, "a")()
    clock.now_s += 0.2
    waiting = taker(turns, done, "b")
    started_s = asyncio.get_running_loop().time()
    waiting()
    async with asyncio.timeout(20):
        while len(done) < 2:  # noqa: ASYNC110  time itself is waited for
            await asyncio.sleep(0.005)
    assert asyncio.get_running_loop().time() - started_s >= 0.19


async def test_who_does_not_want_the_turn_any_more_is_passed_over() -> None:
    turns, done = LargeFrames(Clock()), list[str]()
    taker(turns, done, "a")()
    turns.take("x", lambda: done.append("gone"))
    taker(turns, done, "b")()
    async with asyncio.timeout(20):
        while "b" not in done:  # noqa: ASYNC110  turns of the loop are waited for
            await asyncio.sleep(0)
    assert done == ["a", "gone", "b"]


async def test_who_fails_at_his_turn_takes_nobody_along() -> None:
    turns, done = LargeFrames(Clock()), list[str]()

    def broken() -> None:
        raise RuntimeError("broken")

    taker(turns, done, "a")()
    turns.take("x", broken)
    taker(turns, done, "b")()
    async with asyncio.timeout(20):
        while "b" not in done:  # noqa: ASYNC110  turns of the loop are waited for
            await asyncio.sleep(0)
    assert done == ["a", "b"]


async def test_large_pushes_of_many_connections_are_all_written_and_answered_in_order(
    database_url: str,
) -> None:
    async with live_server(database_url) as live:
        clients = [await live.connect() for _ in range(3)]
        sent = []
        for client in clients:
            for size in (LARGE_FRAME_BYTES, 1, LARGE_FRAME_BYTES, 1):
                change = {"id": str(uuid4()), "blob": bytes(size), "expected_cursor": 0}
                sent.append(client.send("push", {"space": client.space, "changes": [change]}))
        for number, client in enumerate(clients):
            answers = [await client.next() for _ in range(4)]
            assert [one.id for one in answers if isinstance(one, Response)] == sent[number * 4 :][:4]
