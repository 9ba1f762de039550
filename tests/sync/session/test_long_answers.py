"""The background worker: nothing is queued behind a task that has just ended."""

import asyncio
from collections.abc import Callable, Coroutine

from less_sync.sync.limits import Limits
from less_sync.sync.session.long_answers import LongAnswers
from less_sync.sync.session.outbound import Outbound
from tests.sync.session.test_outbound import FakeOwner, FakeWire


class Request:
    """A request whose answer is its name, after `turns` turns of the loop."""

    def __init__(self, name: bytes, *, turns: int = 0, fails: bool = False) -> None:
        self._name = name
        self._turns = turns
        self._fails = fails

    async def answer(self) -> bytes:
        for _ in range(self._turns):
            await asyncio.sleep(0)
        if self._fails:
            raise RuntimeError("a broken handler")
        return self._name


class Peer(FakeWire):
    """Calls something the moment it has an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.on_answer: Callable[[bytes], None] = lambda _: None

    def write(self, data: bytes) -> None:
        super().write(data)
        self.on_answer(data)


class Worker:
    def __init__(self, *, waiting_max: int = 8, at_once: int = 1) -> None:
        self.wire = Peer()
        self.rooms = 0
        self.out = Outbound(self.wire, FakeOwner(), Limits(), new_id=lambda: "id")
        self.answers = LongAnswers(self.out, waiting_max=waiting_max, on_room=self._room, at_once=at_once)

    def _room(self) -> None:
        self.rooms += 1

    async def idle(self) -> None:
        async with asyncio.timeout(10):
            while not self.answers.idle:  # noqa: ASYNC110  nothing to wait for but the state
                await asyncio.sleep(0)


async def test_a_peer_that_asks_the_moment_it_has_its_answer_is_always_answered() -> None:
    worker = Worker()
    loop = asyncio.get_running_loop()
    asked = 0

    def ask(_: bytes = b"") -> None:
        nonlocal asked
        if asked < 1000:
            asked += 1
            assert worker.answers.add(Request(b"%d" % asked))

    def at_once(data: bytes) -> None:
        """In the same turn, in the next one, or one later: around the moment at which the task ends."""
        if asked % 3 == 0:
            ask(data)
        elif asked % 3 == 1:
            loop.call_soon(ask, data)
        else:
            loop.call_soon(loop.call_soon, ask, data)

    worker.wire.on_answer = at_once
    ask()
    async with asyncio.timeout(30):
        while len(worker.wire.written) < 1000:  # noqa: ASYNC110  as above
            await asyncio.sleep(0)
    assert worker.wire.written == [b"%d" % number for number in range(1, 1001)]


async def test_answers_leave_in_order_and_a_full_queue_says_so() -> None:
    worker = Worker(waiting_max=2)
    assert worker.answers.add(Request(b"1", turns=3))
    await asyncio.sleep(0)
    assert worker.answers.add(Request(b"2"))
    assert worker.answers.add(Request(b"3"))
    assert not worker.answers.add(Request(b"4"))
    await worker.idle()
    assert worker.wire.written == [b"1", b"2", b"3"]
    assert worker.rooms >= 4  # one for each taken, one for the end


async def test_a_broken_handler_does_not_take_the_requests_behind_it_along() -> None:
    worker = Worker()
    worker.answers.add(Request(b"1", fails=True))
    worker.answers.add(Request(b"2"))
    await worker.idle()
    assert worker.wire.written == [b"2"]


async def test_what_is_to_be_told_comes_before_the_next_request_and_only_once() -> None:
    worker = Worker()
    told: list[str] = []

    def teller(name: str) -> Callable[[], Coroutine[object, object, None]]:
        async def tell() -> None:
            told.append(f"{name} after {len(worker.wire.written)}")

        return tell

    worker.answers.add(Request(b"1", turns=2))
    await asyncio.sleep(0)
    worker.answers.add(Request(b"2"))
    worker.answers.tell(teller("replaced"))
    worker.answers.tell(teller("told"))
    await worker.idle()
    assert told == ["told after 1"]
    worker.answers.tell(teller("alone"))
    await worker.idle()
    assert told == ["told after 1", "alone after 2"]


async def test_a_cancelled_worker_forgets_everything() -> None:
    worker = Worker()
    worker.answers.add(Request(b"1", turns=50))
    worker.answers.add(Request(b"2"))
    await asyncio.sleep(0)
    worker.answers.cancel()
    await worker.idle()
    assert worker.wire.written == []


async def test_as_many_run_at_once_as_may_and_the_next_begins_when_one_ends() -> None:
    worker = Worker(at_once=3)
    names = [b"1", b"2", b"3", b"4", b"5"]
    for name, turns in zip(names, (40, 10, 20, 30, 1), strict=True):
        assert worker.answers.add(Request(name, turns=turns))
    await worker.idle()
    # The second ends first and lets the fourth begin, the third the fifth, which overtakes the first.
    assert worker.wire.written == [b"2", b"3", b"5", b"1", b"4"]


async def test_a_full_queue_behind_several_says_so_and_a_cancel_ends_all() -> None:
    worker = Worker(waiting_max=1, at_once=2)
    assert worker.answers.add(Request(b"1", turns=1000))
    await asyncio.sleep(0)
    assert worker.answers.add(Request(b"2", turns=1000))
    await asyncio.sleep(0)
    assert worker.answers.add(Request(b"3"))
    assert not worker.answers.add(Request(b"4"))
    worker.answers.cancel()
    await worker.idle()
    assert worker.wire.written == []
