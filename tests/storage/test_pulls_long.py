"""Pulls that do not fit a page: docs/storage.md 7.2 and 7.3."""

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.storage import PostgresPool, PostgresPullStore, PullRow, PushLanes
from less_sync.storage.queries import sql
from tests.storage.support import (
    as_tuple,
    execute,
    make_push,
    many_records,
    opened,
    patient,
    pulled,
    rows,
    select,
    started,
    transactions_open,
    until_no_transaction_is_open,
    write,
    written,
)

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

ENTRIES = [
    "EXPLAIN (COSTS OFF) " + sql("pull_all"),
    "EXPLAIN (COSTS OFF) " + sql("pull_page"),
    "EXPLAIN (COSTS OFF) " + sql("pull_first"),
]


@pytest.mark.parametrize("age_s", [60.0, 0.0], ids=["portal", "pages"])
@pytest.mark.parametrize(("pushes", "each"), [(1, 5000), (5000, 1), (50, 100), (1, 512), (1, 513)])
async def test_every_entry_comes_once_and_in_order(
    pool: PostgresPool, age_s: float, pushes: int, each: int
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=pushes, each=each, blob_bytes=10)
    expected = await rows(pool).records([space])
    _, read = await pulled(PostgresPullStore(pool, patience=patient(age_s)), space, 0)
    assert [(row[1], row[2]) for row in read] == [(row.cursor, row.id) for row in expected]


@pytest.mark.parametrize("age_s", [60.0, 0.0], ids=["portal", "pages"])
async def test_large_values_come_whole_among_small_ones(pool: PostgresPool, age_s: float) -> None:
    space, chooser = uuid4(), random.Random(7)
    lengths = [chooser.choice([0, 10, 8192, 8193, 30_000, 700_000]) for _ in range(60)] + [5 * 1024 * 1024]
    async with started(pool) as lanes:
        for length in lengths:
            await written(lanes, space, (uuid4(), 0, chooser.randbytes(length)))
        await written(lanes, space, (uuid4(), 0, None))
    expected = [
        (1, row.cursor, row.id, row.blob) for row in await rows(pool).records([space]) if not row.deleted
    ]
    async with PostgresPullStore(pool, patience=patient(age_s)).pull(space, 0) as pull:
        assert pull is not None
        batches = [list(batch) async for batch in pull.batches()]
    assert [as_tuple(row)[:4] for batch in batches for row in batch] == expected
    assert max(sum(len(row[3] or b"") for row in batch) for batch in batches) <= 6 * 1024 * 1024


async def test_a_hundred_thousand_entries_take_bounded_memory(pool: PostgresPool) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=100, each=1000, blob_bytes=100)
    pulls, count = PostgresPullStore(pool), 0
    gc.collect()
    tracemalloc.start()
    async with pulls.pull(space, 0) as pull:
        assert pull is not None
        async for batch in pull.batches():
            count += len(batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 100_000
    assert peak < 8 * 1024 * 1024


async def test_rows_that_grow_suddenly_do_not_make_a_large_batch(pool: PostgresPool) -> None:
    """The size of a batch is guessed from the one before: an author who knows that gains nothing."""
    space = uuid4()
    await many_records(pool, space, pushes=10, each=500, blob_bytes=1)
    await rows(pool).add_records(space, count=300, each=300, blob=b"\xcd" * 100_000, first_cursor=11)
    await rows(pool).set_space(space, cursor=11)
    async with PostgresPullStore(pool).pull(space, 0) as pull:
        assert pull is not None
        sizes = [sum(len(row[3] or b"") for row in batch) async for batch in pull.batches()]
    assert sum(sizes) == 5000 + 300 * 100_000
    assert max(sizes) <= 1024 * 1024


async def test_state_and_entries_are_one_snapshot_while_others_push(
    pool: PostgresPool, pulls: PostgresPullStore
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=700, each=1, blob_bytes=1)
    stop = asyncio.Event()

    async def pusher(lanes: PushLanes) -> None:
        while not stop.is_set():
            await written(lanes, space, (uuid4(), 0, b"y"))

    async with started(pool) as lanes:
        pushing = [asyncio.ensure_future(pusher(lanes)) for _ in range(4)]
        for attempt in range(20):
            meta, rows = await pulled(pulls, space, 0 if attempt % 2 else 600)
            start = 0 if attempt % 2 else 600
            assert [row[1] for row in rows] == list(range(start + 1, meta.cursor + 1))
        stop.set()
        await asyncio.gather(*pushing)


async def test_what_is_written_during_a_pull_is_not_in_it(
    pool: PostgresPool, pulls: PostgresPullStore, lanes: PushLanes
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=10, each=200, blob_bytes=1000)
    async with pulls.pull(space, 0) as pull:
        assert pull is not None
        batches = pull.batches()
        read: list[PullRow] = list(await anext(batches))
        last = (await rows(pool).records([space]))[-1].id
        await written(lanes, space, (last, 10, b"overwritten"), (uuid4(), 0, b"new"))
        read += [row async for batch in batches for row in batch]
    assert len(read) == 2000
    assert as_tuple(read[-1])[1:4] == (10, last, b"\xab" * 1000)


async def collect_slowly(
    pulls: PostgresPullStore, space: UUID, since: int, between: asyncio.Semaphore
) -> tuple[int, list[PullRow]]:
    """Pull, waiting before each batch until others have written."""
    rows: list[PullRow] = []
    async with pulls.pull(space, since) as pull:
        assert pull is not None
        async for batch in pull.batches():
            rows += [as_tuple(row) for row in batch]
            await between.acquire()
        return pull.meta.cursor, rows


def apply(state: dict[UUID, tuple[int, bytes]], rows: Sequence[PullRow], cursor: int) -> None:
    """What a client does: a pull's entries, none above its cursor, ascending."""
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    for row in rows:
        id, blob = row[2], row[3]
        assert id is not None
        assert row[1] <= cursor
        if blob is None:
            state.pop(id, None)
        else:
            state[id] = (row[1], blob)


@pytest.mark.parametrize("seed", range(3))
async def test_a_slow_client_that_reads_by_pages_ends_with_the_same_state(
    pool: PostgresPool, seed: int
) -> None:
    space, chooser, between = uuid4(), random.Random(seed), asyncio.Semaphore(0)
    await many_records(pool, space, pushes=20, each=60, blob_bytes=6000)
    current = {row.id: row.cursor for row in await rows(pool).records([space])}

    async def writer(lanes: PushLanes) -> None:
        for _ in range(60):
            id = chooser.choice(list(current))
            blob = chooser.choice([None, b"small", chooser.randbytes(20_000)])
            current[id] = await written(lanes, space, (id, current[id], blob))
            if chooser.random() < 0.3:
                new = uuid4()
                current[new] = await written(lanes, space, (new, 0, b"new"))
            between.release()
        for _ in range(1000):
            between.release()

    pulls, state = PostgresPullStore(pool, patience=patient(0.01)), dict[UUID, tuple[int, bytes]]()
    async with started(pool) as lanes:
        writing = asyncio.ensure_future(writer(lanes))
        cursor, read = await collect_slowly(pulls, space, 0, between)
        apply(state, read, cursor)
        await writing
    final, read = await pulled(pulls, space, cursor)
    apply(state, read, final.cursor)
    stored = await rows(pool).records([space])
    assert state == {row.id: (row.cursor, row.blob) for row in stored if not row.deleted}


async def test_a_stalled_client_loses_its_snapshot_and_keeps_its_place(
    pool: PostgresPool, lanes: PushLanes
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=50, each=100, blob_bytes=500)
    async with PostgresPullStore(pool, patience=patient(0.05)).pull(space, 0) as pull:
        assert pull is not None
        batches = pull.batches()
        rows = list(await anext(batches))
        await until_no_transaction_is_open(pool)
        rows += [row async for batch in batches for row in batch]
    assert len({row[2] for row in rows}) == len(rows) == 5000


async def test_a_client_that_leaves_frees_its_connection(database_url: str) -> None:
    async with opened(database_url, max_connections=2) as pool, opened(database_url) as other:
        space, pulls = uuid4(), PostgresPullStore(pool)
        await many_records(pool, space, pushes=50, each=100, blob_bytes=2000)
        for _ in range(5):  # one connection is the share of pulls: a leak would block the second
            async with pulls.pull(space, 0) as pull:
                assert pull is not None
                async for batch in pull.batches():
                    assert batch
                    break
            assert await transactions_open(other) == 0


async def test_a_cancelled_pull_frees_its_connection(database_url: str) -> None:
    async with opened(database_url, max_connections=2) as pool, opened(database_url) as other:
        space, pulls = uuid4(), PostgresPullStore(pool)
        await many_records(pool, space, pushes=50, each=100, blob_bytes=2000)

        async def pull_some(batches_max: int) -> None:
            async with pulls.pull(space, 0) as pull:
                assert pull is not None
                async for _ in pull.batches():
                    batches_max -= 1
                    if batches_max == 0:
                        await asyncio.Event().wait()

        for batches_max in range(1, 6):
            task = asyncio.ensure_future(pull_some(batches_max))
            for _ in range(batches_max * 40):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
        assert len((await pulled(pulls, space, 0))[1]) == 5000
        await until_no_transaction_is_open(other)


async def test_a_pull_that_is_left_while_it_rolls_back_gives_no_open_transaction_back(
    database_url: str,
) -> None:
    """The driver's pool would end it, and report a fault of ours to the loop."""
    rolling_back, faults = asyncio.Event(), list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["message"]))

    class Hesitant(Connection):
        """Says that it is asked for a ROLLBACK, and sends it when it is not cancelled for a second."""

        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
            if query == "ROLLBACK":
                rolling_back.set()
                await asyncio.sleep(1.0)
            return await super().execute(query, *args, timeout=timeout)

    async def connect(*args: Any, **options: Any) -> Connection:
        return await asyncpg.connect(*args, **{**options, "connection_class": Hesitant})

    pool = await PostgresPool.open(database_url, max_connections=1, connect=connect)
    try:
        space = uuid4()
        await many_records(pool, space, pushes=1, each=600, blob_bytes=10)
        async with PostgresPullStore(pool).pull(space, 0) as pull:
            assert pull is not None
            async for _ in pull.batches():
                await rolling_back.wait()
                break
        async with pool.connection() as con:
            assert not con.is_in_transaction()
        assert faults == []
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
        await pool.aclose(5.0)


@pytest.mark.parametrize("state", ["empty", "grown", "analysed"])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_no_plan_sorts_records(pool: PostgresPool, state: str, mode: str) -> None:
    space = uuid4()
    if state != "empty":
        await many_records(pool, space, pushes=100, each=100, blob_bytes=100)
        await many_records(pool, uuid4(), pushes=100, each=100, blob_bytes=100)
        await execute(pool, "UPDATE records SET cursor = 101 - cursor")
    if state == "analysed":
        await execute(pool, "ANALYZE")
    for text, args in zip(
        ENTRIES,
        [(space, 0, 0, 8192), (space, 50, 0, 8192, uuid4(), 100, 500), (space, 0, 512, 8192)],
        strict=True,
    ):
        plan = await explain(pool, mode, text, args)
        assert_records_are_read_in_order(plan)


async def explain(pool: PostgresPool, mode: str, text: str, args: Sequence[object]) -> list[str]:
    async with pool.connection() as con, con.transaction():
        await con.execute(f"SET LOCAL plan_cache_mode = {mode}")
        return [row[0] for row in await con.fetch(text, *args)]


def assert_records_are_read_in_order(plan: list[str]) -> None:
    """Three index scans are merged by cursor: no other node could reorder or hold back rows."""
    nodes = [line.split("->")[-1].strip() for line in plan if "->" in line or line == plan[0]]
    for node in nodes:
        assert node.startswith(
            ("Merge Append", "Index Scan using", "Limit", "Result", "Subquery", "Nested Loop")
        )
    assert "Index Scan using idx_records_sync on records r" in nodes
    assert sum(node == "Merge Append" for node in nodes) == 1


async def test_after_many_pulls_nothing_is_sorted_on_disk(database_url: str) -> None:
    """The plan of a session may change after five uses: one that sorts a push's records spills to disk."""
    space = uuid4()
    async with opened(database_url) as pool:
        await many_records(pool, space, pushes=1, each=20_000, blob_bytes=500)
        pulls = PostgresPullStore(pool)
        for _ in range(10):
            assert len((await pulled(pulls, space, 0))[1]) == 20_000
    # A backend reports its counts at the latest when it ends.
    async with opened(database_url) as pool:
        text = "SELECT temp_files::int FROM pg_stat_database WHERE datname = current_database()"
        assert [row[0] for row in await select(pool, text)] == [0]


async def test_an_empty_push_during_a_pull_changes_nothing(
    pool: PostgresPool, pulls: PostgresPullStore, lanes: PushLanes
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=3, each=300, blob_bytes=1)
    async with pulls.pull(space, 0) as pull:
        assert pull is not None
        assert (await write(lanes, make_push(space))).cursor == 3
        assert sum([len(batch) async for batch in pull.batches()]) == 900
