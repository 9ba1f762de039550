"""How pushes share statements: order, conflicts among neighbours, bounds, closing."""

import asyncio
from uuid import uuid4

import pytest

from less_sync.storage import (
    PostgresPool,
    PostgresRevocationStore,
    PostgresSpaceStore,
    Push,
    PushLanes,
    PushOutcome,
    PushStatus,
    StorageError,
    Unavailable,
)
from tests.storage.support import (
    Refused,
    lock_waits,
    locked,
    make_push,
    opened,
    rows,
    select,
    started,
    submit,
    write,
    written,
)


def outcome_of(result: PushOutcome | StorageError) -> tuple[int, int]:
    assert isinstance(result, PushOutcome)
    return result.status, result.cursor


async def test_pushes_of_one_space_are_written_and_answered_in_order(lanes: PushLanes) -> None:
    space = uuid4()
    answered: list[int] = []
    futures = [submit(lanes, make_push(space, (uuid4(), 0, b"x"), client="c")) for _ in range(100)]
    for index, future in enumerate(futures):
        future.add_done_callback(lambda _, index=index: answered.append(index))  # type: ignore[misc]
    outcomes = [outcome_of(result) for result in await asyncio.gather(*futures)]
    assert outcomes == [(0, cursor) for cursor in range(1, 101)]
    await asyncio.sleep(0)
    assert answered == list(range(100))


async def test_pushes_that_wait_together_share_a_transaction(lanes: PushLanes, pool: PostgresPool) -> None:
    first = submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"), client="c"))
    spaces = [uuid4() for _ in range(40)]
    rest = [submit(lanes, make_push(space, (uuid4(), 0, b"x"), client="c")) for space in spaces]
    await asyncio.gather(first, *rest)
    [row] = await select(pool, "SELECT count(DISTINCT xmin::text)::int, count(*)::int FROM records")
    assert row[1] == 41
    assert row[0] <= 6  # two lanes, sixteen a statement


@pytest.mark.parametrize(
    ("count", "blob_bytes", "of_two"),
    [
        pytest.param(4, 1024, 2, id="a few side by side"),
        pytest.param(18, 1024, 1, id="many in the first statement that has room, the others in another"),
        pytest.param(18, 16 * 1024, 0, id="heavy ones side by side"),
    ],
)
async def test_how_pushes_of_many_spaces_are_dealt_to_two_lanes(
    lanes: PushLanes, count: int, blob_bytes: int, of_two: int
) -> None:
    pushes = [make_push(uuid4(), (uuid4(), 0, bytes(blob_bytes)), client="c") for _ in range(count)]
    await asyncio.gather(*(submit(lanes, push) for push in pushes))
    statements = dict(lanes.counts.pushes.cumulative())
    assert (statements["1"], statements["2"], statements["+Inf"]) == (0, of_two, 2)
    assert lanes.counts.pushes.total == count


async def test_light_pushes_do_not_gather_behind_a_statement_that_takes_long(pool: PostgresPool) -> None:
    now = [0.0]
    lanes = PushLanes(pool, clock=lambda: now[0])
    await lanes.open()
    try:
        busy = uuid4()
        await written(lanes, busy, (uuid4(), 0, b"x"))
        async with locked(pool, busy):
            stuck = submit(lanes, make_push(busy, (uuid4(), 0, b"x")))
            await lock_waits(pool, 1)
            now[0] = 1.0
            others = [make_push(uuid4(), (uuid4(), 0, b"x"), client="c") for _ in range(10)]
            await asyncio.gather(*(submit(lanes, push) for push in others))
            assert not stuck.done()
        assert outcome_of(await stuck) == (PushStatus.WRITTEN, 2)
    finally:
        await lanes.aclose(5.0)
    statements = dict(lanes.counts.pushes.cumulative())
    assert statements["16"] - statements["8"] == 1, "they went together, in the other lane"


async def test_a_conflict_among_pushes_of_one_statement_concerns_itself_alone(lanes: PushLanes) -> None:
    space, record, elsewhere = uuid4(), uuid4(), uuid4()
    await written(lanes, elsewhere, (elsewhere, 0, b"x"))
    results = await asyncio.gather(
        submit(lanes, make_push(space, (record, 0, b"1"), client="c")),
        submit(lanes, make_push(space, (record, 1, b"2"), client="c")),
        submit(lanes, make_push(space, (record, 1, b"late"), client="c")),
        submit(lanes, make_push(space, (elsewhere, 0, b"foreign"), client="c")),
        submit(lanes, make_push(space)),
        submit(lanes, make_push(space, (record, 2, None), (uuid4(), 0, b"3"), client="c")),
        submit(lanes, make_push(uuid4(), (uuid4(), 0, b"nowhere"))),
    )
    assert [outcome_of(result) for result in results] == [
        (PushStatus.WRITTEN, 1),
        (PushStatus.WRITTEN, 2),
        (PushStatus.CONFLICT, 0),
        (PushStatus.FOREIGN_RECORD, 0),
        (PushStatus.WRITTEN, 2),
        (PushStatus.WRITTEN, 3),
        (PushStatus.NO_SPACE, 0),
    ]


async def test_each_push_of_a_statement_has_its_own_arguments(lanes: PushLanes, pool: PostgresPool) -> None:
    """Token ids, clients and epochs are sliced out of arrays they share."""
    space = uuid4()
    await rows(pool).add_space(space, root_key=b"x")
    await PostgresRevocationStore(pool).revoke(space, "bad")
    pushes = [
        make_push(uuid4(), (uuid4(), 0, b"warm the lane"), client="c"),
        make_push(space, (uuid4(), 0, b"x"), cids=["a", "b", "bad"]),
        make_push(space, (uuid4(), 0, b"x"), cids=["a", "b"]),
        make_push(space, (uuid4(), 0, b"x")),
        make_push(space, cids=["bad"]),
        make_push(space, (uuid4(), 0, b"x"), (uuid4(), 0, b"y"), cids=["c"]),
        make_push(space, (uuid4(), 0, b"x"), client="c"),
    ]
    results = await asyncio.gather(*(submit(lanes, push) for push in pushes))
    assert [outcome_of(result) for result in results[1:]] == [
        (PushStatus.REVOKED, 0),
        (PushStatus.WRITTEN, 1),
        (PushStatus.WRITTEN, 2),
        (PushStatus.REVOKED, 0),
        (PushStatus.WRITTEN, 3),
        (PushStatus.NOT_PERSONAL, 0),
    ]


async def test_a_push_the_database_refuses_leaves_its_neighbours_alone(lanes: PushLanes) -> None:
    space = uuid4()
    results = await asyncio.gather(
        submit(lanes, make_push(space, (uuid4(), 0, b"1"), client="c")),
        submit(lanes, make_push(space, (uuid4(), 0, b"2"), client="c")),
        submit(lanes, make_push(uuid4(), (uuid4(), 0, b"x"), client="NUL is no text: \x00")),
        submit(lanes, Push(space, ["no uuid"], [0], [b"x"], [None], 1, "c")),
        submit(lanes, make_push(space, (uuid4(), 0, b"3"), client="c")),
    )
    assert [getattr(result, "cursor", type(result)) for result in results] == [
        1,
        2,
        StorageError,
        StorageError,
        3,
    ]


async def test_closing_writes_what_is_queued_and_takes_no_more(pool: PostgresPool) -> None:
    async with started(pool) as lanes:
        space = uuid4()
        futures = [submit(lanes, make_push(space, (uuid4(), 0, b"x"), client="c")) for _ in range(50)]
        closing = asyncio.ensure_future(lanes.aclose(10.0))
        await asyncio.sleep(0)
        late = submit(lanes, make_push(space, (uuid4(), 0, b"x"), client="c"))
        await closing
        assert [outcome_of(future.result())[1] for future in futures] == list(range(1, 51))
        assert isinstance(await late, Refused)


async def test_closing_does_not_wait_for_ever(
    lanes: PushLanes, pool: PostgresPool, spaces: PostgresSpaceStore
) -> None:
    space = await spaces.create_space(uuid4(), "c", None)
    async with locked(pool, space.id):
        futures = [submit(lanes, make_push(space.id, (uuid4(), 0, b"x"))) for _ in range(3)]
        await lanes.aclose(0.0)
        assert [type(future.result()) for future in futures] == [Unavailable] * 3


async def test_a_locked_space_steps_aside_and_keeps_its_order(
    lanes: PushLanes, pool: PostgresPool, spaces: PostgresSpaceStore
) -> None:
    busy, free = (await spaces.create_space(uuid4(), "c", None)).id, uuid4()
    async with locked(pool, busy):
        waiting = [submit(lanes, make_push(busy, (uuid4(), 0, b"x"))) for _ in range(5)]
        for cursor in range(1, 20):
            assert await written(lanes, free, (uuid4(), 0, b"x")) == cursor
        await lock_waits(pool, 1)
        waiting += [submit(lanes, make_push(busy, (uuid4(), 0, b"x"))) for _ in range(5)]
        assert not any(future.done() for future in waiting)
    results = [outcome_of(result) for result in await asyncio.gather(*waiting)]
    assert results == [(0, cursor) for cursor in range(1, 11)]
    assert await written(lanes, free, (uuid4(), 0, b"x")) == 20


async def test_a_space_locked_beyond_the_time_out_fails_its_pushes_and_writes_nothing(
    database_url: str,
) -> None:
    separator = "&" if "?" in database_url else "?"
    hurried = f"{database_url}{separator}lock_timeout=300ms"
    async with opened(database_url) as pool, opened(hurried) as impatient, started(impatient) as lanes:
        space = uuid4()
        await written(lanes, space, (uuid4(), 0, b"x"))
        async with locked(pool, space):
            results = await asyncio.gather(
                *(submit(lanes, make_push(space, (uuid4(), 0, b"x"))) for _ in range(4))
            )
        assert [getattr(result, "sqlstate", None) for result in results] == ["55P03"] * 4
        assert await write(lanes, make_push(space)) == PushOutcome(PushStatus.WRITTEN, 1, 1)
        assert await written(lanes, space, (uuid4(), 0, b"x")) == 2
