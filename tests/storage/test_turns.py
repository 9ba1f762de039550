"""Places that are shared by turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from less_sync.storage.postgres.turns import Turns


class Users:
    """Asks for places and notes who got one."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.got: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, *keys: str) -> list["asyncio.Task[None]"]:
        """Ask in this order; returns once each has a place or waits for one."""
        tasks = [asyncio.create_task(self._take(key)) for key in keys]
        self._tasks += tasks
        await settled()
        return tasks

    async def release(self, key: str) -> None:
        self.turns.release(key)
        await settled()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, key: str) -> None:
        await self.turns.acquire(key)
        self.got.append(key)


@asynccontextmanager
async def users(places: int, *, each_max: int | None = None) -> AsyncIterator[Users]:
    made = Users(Turns(places, each_max=each_max))
    try:
        yield made
    finally:
        await made.end()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_user_alone_gets_all_places() -> None:
    async with users(4) as some:
        await some.ask(*"aaaaaa")
        assert some.got == ["a"] * 4
        assert some.turns.wanted
        assert not some.turns.over_share("a")


async def test_users_take_turns_each_in_the_order_of_his_requests() -> None:
    async with users(1) as some:
        await some.ask(*"aaaabbc")
        for _ in range(6):
            await some.release(some.got[-1])
        assert "".join(some.got) == "aabcaba"
        assert not some.turns.wanted


async def test_nobody_gets_more_than_half_while_another_waits() -> None:
    async with users(5) as some:
        await some.ask(*"aaaaaaaa")
        assert some.got == ["a"] * 5
        await some.ask(*"bbbb")
        assert some.turns.over_share("a")
        for _ in range(5):
            await some.release("a")
        assert "".join(some.got[5:]) == "bbaa"  # half of five is two each; the fifth place is for who comes
        await some.ask("c")
        assert some.got[-1] == "c"


async def test_who_is_alone_again_gets_what_was_kept_from_him() -> None:
    async with users(2) as some:
        await some.ask(*"ab")
        waiting = await some.ask(*"ba")
        await some.release("a")
        assert "".join(some.got) == "aba"
        waiting = await some.ask("a")
        await some.release("b")
        assert "".join(some.got) == "abab"
        waiting[0].cancel()
        await settled()
        assert not some.turns.wanted


async def test_a_user_has_his_places_at_most_even_if_nobody_else_wants_one() -> None:
    async with users(3, each_max=1) as some:
        await some.ask(*"aab")
        assert "".join(some.got) == "ab"
        await some.release("a")
        assert "".join(some.got) == "aba"


async def test_who_is_cancelled_while_waiting_holds_nothing() -> None:
    async with users(1) as some:
        await some.ask("a")
        waiting = await some.ask(*"bc")
        waiting[0].cancel()
        await settled()
        await some.release("a")
        assert "".join(some.got) == "ac"


async def test_who_is_cancelled_just_after_he_got_a_place_gives_it_back() -> None:
    async with users(1) as some:
        await some.ask("a")
        waiting = await some.ask(*"bc")
        some.turns.release("a")  # b has it now, and does not know yet
        waiting[0].cancel()
        await settled()
        assert "".join(some.got) == "ac"


async def test_an_idle_place_is_asked_for_when_somebody_waits_that_of_who_holds_most() -> None:
    async with users(3) as some:
        await some.ask(*"aab")
        idle = {name: asyncio.Event() for name in ("b", "a first", "a second")}
        for name, wanted in idle.items():
            some.turns.idle(name[0], wanted)
        await some.ask("c")
        assert [name for name, wanted in idle.items() if wanted.is_set()] == ["a first"]
        some.turns.busy(idle["a second"])
        await some.ask("d")
        assert [name for name, wanted in idle.items() if wanted.is_set()] == ["b", "a first"]
        late = asyncio.Event()
        some.turns.idle("a", late)
        assert late.is_set()


async def test_a_place_is_given_back_when_the_block_that_used_it_fails() -> None:
    turns = Turns(1)
    with pytest.raises(RuntimeError):
        async with turns.place("a"):
            raise RuntimeError
    async with asyncio.timeout(1), turns.place("b"):
        assert not turns.wanted


async def test_a_place_that_is_given_back_while_a_waiter_is_being_cancelled_goes_to_the_next() -> None:
    """A cancelled task hears of it a turn later: until then its request still stands in the line."""
    async with users(1) as some:
        await some.ask("a")
        b, _ = await some.ask("b", "c")
        b.cancel()
        some.turns.release("a")
        await settled()
        assert some.got == ["a", "c"]
        assert b.cancelled()
        await some.release("c")
        await some.ask("b")
        assert some.got == ["a", "c", "b"]


async def test_a_user_whose_first_request_is_cancelled_gets_a_place_for_the_next() -> None:
    async with users(1) as some:
        await some.ask("a")
        first, _ = await some.ask("b", "b")
        first.cancel()
        some.turns.release("a")
        await settled()
        assert some.got == ["a", "b"]
        await some.release("b")
        assert not some.turns.wanted
