"""Authors share the lanes (docs/storage.md 4.5): who writes much, or what is huge, holds up himself alone."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from less_sync.storage import PostgresPool, PushLanes, PushOutcome, StorageError
from less_sync.storage.postgres.author_bounds import AuthorBounds
from less_sync.storage.postgres.push_entry import STATEMENT_BYTES_MAX, Entry, Line
from tests.storage.support import (
    Refused,
    locked,
    make_push,
    opened,
    rows,
    select,
    started,
    submit,
    written,
)

HEAVY_CHANGES = STATEMENT_BYTES_MAX // 1024 + 1

Answer = PushOutcome | StorageError


class Order:
    """Submits pushes and notes in which order they are answered."""

    def __init__(self, lanes: PushLanes) -> None:
        self._lanes = lanes
        self.names: list[str] = []
        self.futures: list[asyncio.Future[Answer]] = []

    def submit(self, author: str, space: UUID, *, name: str = "", heavy: bool = False) -> None:
        changes = [(uuid4(), 0, b"x") for _ in range(HEAVY_CHANGES if heavy else 1)]
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(result: Answer) -> None:
            self.names.append(name or author)
            future.set_result(result)

        assert self._lanes.submit(make_push(space, *changes, client="c", author=author), done)
        self.futures.append(future)

    async def cursors(self) -> list[int]:
        """Wait for all; every push must have been written."""
        results = await asyncio.wait_for(asyncio.gather(*self.futures), 60)
        return [result.cursor if isinstance(result, PushOutcome) else -1 for result in results]


async def made(pool: PostgresPool, count: int) -> list[UUID]:
    spaces = [uuid4() for _ in range(count)]
    for space in spaces:
        await rows(pool).add_space(space)
    return spaces


async def test_an_author_alone_may_hold_half_of_the_queue_and_congests_nobody_else(
    pool: PostgresPool,
) -> None:
    lanes = PushLanes(pool, entries_max=8)
    await lanes.open()
    try:
        futures = [
            submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"), client="c", author="a")) for _ in range(4)
        ]
        before = lanes.congested("a")
        futures += [submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"), client="c", author="a"))]
        assert (before, lanes.congested("a"), lanes.congested("b")) == (False, True, False)
        await lanes.uncongested("b")  # at once: with a turn of the loop an answer might come
        assert not any(future.done() for future in futures)
        await asyncio.wait_for(lanes.uncongested("a"), 10)
        assert sum(not future.done() for future in futures) <= 2
        await asyncio.gather(*futures)
    finally:
        await lanes.aclose(5.0)


async def test_the_bounds_count_bytes_too_and_a_huge_push_for_its_author_alone(pool: PostgresPool) -> None:
    lanes = PushLanes(pool, queue_bytes_max=2 * STATEMENT_BYTES_MAX)
    await lanes.open()
    try:
        huge = [
            submit(lanes, make_push(uuid4(), (uuid4(), 0, bytes(3_000_000)), client="c", author=author))
            for author in ("a", "b", "c")
        ]
        assert [lanes.congested(author) for author in "abcd"] == [True, True, True, False]
        small = [
            submit(lanes, make_push(uuid4(), (uuid4(), 0, bytes(700_000)), client="c", author="d"))
            for _ in range(2)
        ]
        assert [lanes.congested(author) for author in "de"] == [True, False]
        await asyncio.wait_for(lanes.uncongested("a"), 10)
        assert huge[0].done()
        await asyncio.gather(*huge, *small)
        assert not any(lanes.congested(author) for author in "abcde")
    finally:
        await lanes.aclose(5.0)


async def test_who_ignores_congestion_is_refused_at_four_times_his_share_and_others_are_not(
    pool: PostgresPool,
) -> None:
    lanes = PushLanes(pool, entries_max=2)
    await lanes.open()
    try:
        futures = [
            submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"), client="c", author="a")) for _ in range(8)
        ]
        other = submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"), client="c", author="b"))
        results = await asyncio.gather(*futures, other)
        assert [type(result) for result in results] == [PushOutcome] * 5 + [Refused] * 3 + [PushOutcome]
    finally:
        await lanes.aclose(5.0)


def test_authors_who_hold_what_they_may_leave_room_for_one_more() -> None:
    bounds = AuthorBounds(entries_max=1000, bytes_max=10**9)
    authors = [f"author {number}" for number in range(9)]
    for _ in range(1000):
        for author in authors:
            if not bounds.congested(author):
                assert bounds.admit(author, 1) is not None
    assert bounds.entries <= 910
    assert not bounds.congested("a newcomer")


def test_all_together_are_refused_at_four_times_the_bounds() -> None:
    bounds = AuthorBounds(entries_max=100, bytes_max=100)
    taken = [bounds.admit(f"author {number}", 30) is not None for number in range(20)]
    assert taken == [True] * 14 + [False] * 6
    # Heavy pushes, which wait beside the lanes, are counted by themselves.
    assert bounds.admit("x", STATEMENT_BYTES_MAX + 1) is not None
    assert bounds.admit("y", STATEMENT_BYTES_MAX + 1) is None


def test_accounts_of_authors_who_are_gone_are_dropped() -> None:
    bounds = AuthorBounds(entries_max=1000, bytes_max=10**9)
    kept = bounds.admit("kept", 5)
    for number in range(40_000):
        account = bounds.admit(str(number), 1)
        assert account is not None
        bounds.release([entry_of(account)])
    assert bounds.entries == 1
    assert kept is not None
    assert bounds.admit("kept", 5) is kept
    assert kept.entries == 2


def entry_of(account: object) -> Entry:
    line = Line(lane=None)  # type: ignore[arg-type]  # not looked at
    return Entry(make_push(uuid4()), lambda _: None, line, account, 1)  # type: ignore[arg-type]


async def test_a_huge_push_shares_no_statement_with_others(lanes: PushLanes, pool: PostgresPool) -> None:
    heavy, light, order = uuid4(), [uuid4() for _ in range(5)], Order(lanes)
    order.submit("a", heavy, heavy=True)
    for space in light:
        order.submit("b", space)
    assert await order.cursors() == [1] * 6
    found = await select(pool, "SELECT DISTINCT xmin::text, space_id FROM records")
    assert len(found) == 6
    [of_heavy] = [row[0] for row in found if row[1] == heavy]
    assert of_heavy not in [row[0] for row in found if row[1] != heavy]


async def test_light_pushes_go_on_while_huge_ones_wait(database_url: str) -> None:
    """All huge pushes wait for locks: everything they need of the lanes they have."""
    async with opened(database_url) as pool, opened(database_url) as admin, started(pool, lanes=1) as lanes:
        spaces, order = await made(pool, 3), Order(lanes)
        async with locked(admin, spaces[0]), locked(admin, spaces[1]), locked(admin, spaces[2]):
            for author, space in zip("abc", spaces, strict=True):
                order.submit(author, space, heavy=True)
            for _ in range(30):
                assert await written(lanes, uuid4(), (uuid4(), 0, b"x")) == 1
            assert order.names == []
        assert await order.cursors() == [1, 1, 1]


async def test_huge_pushes_of_one_author_wait_for_each_other_and_not_for_those_of_others(
    database_url: str,
) -> None:
    async with opened(database_url) as pool, opened(database_url) as admin, started(pool, lanes=1) as lanes:
        one, two, other = await made(pool, 3)
        order = Order(lanes)
        async with locked(admin, one):
            order.submit("a", one, heavy=True, name="one")
            order.submit("a", two, heavy=True, name="two")
            order.submit("b", other, heavy=True, name="other")
            await asyncio.wait_for(order.futures[2], 20)
            assert order.names == ["other"]
        assert await order.cursors() == [1, 1, 1]
        assert order.names == ["other", "one", "two"]


async def test_pushes_of_a_space_stay_in_order_whatever_their_size_and_author(lanes: PushLanes) -> None:
    space, elsewhere, order = uuid4(), uuid4(), Order(lanes)
    kinds = [False, True, False, False, True, True, False, False, True]
    for number, heavy in enumerate(kinds):
        order.submit("ab"[number % 2], space, heavy=heavy, name=str(number))
        order.submit("c", elsewhere, name="elsewhere")
    assert await order.cursors() == [cursor for number in range(1, 10) for cursor in (number, number)]
    assert [name for name in order.names if name != "elsewhere"] == [str(number) for number in range(9)]


@pytest.mark.parametrize("spaces_of_a", [1, 200])
async def test_who_comes_with_his_first_push_is_next_however_much_another_has_waiting(
    pool: PostgresPool, spaces_of_a: int
) -> None:
    async with started(pool, lanes=1) as lanes:
        order, spaces = Order(lanes), [uuid4() for _ in range(spaces_of_a)]
        for number in range(200):
            order.submit("a", spaces[number % spaces_of_a])
        order.submit("b", uuid4())
        await order.cursors()
        assert order.names.index("b") < 16


async def test_authors_take_turns_by_weight(pool: PostgresPool) -> None:
    """One writes 100 KiB at a time, the other 1 KiB: of what is answered at any time each has his half."""
    async with started(pool, lanes=1) as lanes:
        answered: list[tuple[str, int]] = []

        def push(author: str, size: int) -> None:
            changes = (uuid4(), 0, bytes(size))
            lanes.submit(
                make_push(uuid4(), changes, client="c", author=author, dek=None),
                lambda _: answered.append((author, size)),
            )

        for _ in range(60):
            push("large", 100_000)
        for _ in range(600):
            push("small", 10_000)
        while len(answered) < 660:  # noqa: ASYNC110 - the callbacks above are all there is to wait for
            await asyncio.sleep(0.01)
        halfway = answered[:300]
        shares = [sum(size for author, size in halfway if author == name) for name in ("large", "small")]
        assert shares[0] == pytest.approx(shares[1], rel=0.35)


async def test_turns_never_break_the_order_of_a_space_that_authors_share(pool: PostgresPool) -> None:
    async with started(pool, lanes=1) as lanes:
        shared, order = uuid4(), Order(lanes)
        for _ in range(100):
            order.submit("a", shared)
        order.submit("b", shared, name="b in the shared space")
        order.submit("b", uuid4(), name="b elsewhere")
        cursors = await order.cursors()
        assert cursors[:101] == list(range(1, 102))
        assert order.names.index("b elsewhere") < 16
        assert order.names[-1] == "b in the shared space"


async def test_closing_writes_huge_pushes_too_and_keeps_the_order_of_what_it_fails(
    pool: PostgresPool,
) -> None:
    [space] = await made(pool, 1)
    lanes = PushLanes(pool)
    await lanes.open()
    order = Order(lanes)
    async with locked(pool, space):
        for number in range(6):
            order.submit("a", space, heavy=number % 2 == 1, name=str(number))
        await lanes.aclose(0.05)
    assert order.names == [str(number) for number in range(6)]
    assert kinds_of([future.result() for future in order.futures]) == ["Unavailable"] * 6


def kinds_of(results: Sequence[Answer]) -> list[str]:
    return [type(result).__name__ for result in results]
