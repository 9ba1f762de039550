"""The database lost, killed, stopped and back again: nothing hangs, nothing acknowledged is lost."""

import asyncio
from uuid import uuid4

import pytest

from less_sync.storage import (
    PostgresPool,
    PostgresPullStore,
    PostgresSpaceStore,
    PushOutcome,
    PushStatus,
    Unavailable,
)
from tests.storage.gate import Gate
from tests.storage.support import (
    execute,
    lock_waits,
    make_push,
    many_records,
    opened,
    select,
    started,
    submit,
    written,
)

KILL_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()"""


async def test_opening_gives_up_after_its_time(database_url: str) -> None:
    async with Gate.before(database_url) as gate:
        await gate.shut()
        with pytest.raises(Unavailable) as caught:
            await PostgresPool.open(gate.url, connect_timeout_s=0.1, connect_pause_s=0.01)
        assert isinstance(caught.value.__cause__, OSError)
        await gate.unlock()


async def test_opening_waits_for_a_database_that_is_not_there_yet(database_url: str) -> None:
    async with Gate.before(database_url) as gate:
        await gate.shut()
        opening = asyncio.ensure_future(PostgresPool.open(gate.url, connect_pause_s=0.01))
        await asyncio.sleep(0.05)
        assert not opening.done()
        await gate.unlock()
        pool = await opening
        await PostgresSpaceStore(pool).ping()
        await pool.aclose(5.0)


async def test_everything_fails_while_the_database_is_away_and_works_when_it_is_back(
    database_url: str,
) -> None:
    async with Gate.before(database_url) as gate, opened(gate.url) as pool, started(pool) as lanes:
        spaces, pulls, space = PostgresSpaceStore(pool), PostgresPullStore(pool), uuid4()
        assert await written(lanes, space, (uuid4(), 0, b"x")) == 1
        await gate.shut()
        with pytest.raises(Unavailable):
            await spaces.ping()
        with pytest.raises(Unavailable):
            await spaces.get_spaces([space])
        with pytest.raises(Unavailable):
            async with pulls.pull(space, 0):
                pass
        for _ in range(3):
            result = await submit(lanes, make_push(space, (uuid4(), 0, b"x")))
            assert isinstance(result, Unavailable)
        await gate.unlock()
        await spaces.ping()
        while isinstance(result := await submit(lanes, make_push(space, (uuid4(), 0, b"x"))), Unavailable):
            pass
        assert result == PushOutcome(PushStatus.WRITTEN, 2, 1)
        async with pulls.pull(space, 0) as pull:
            assert pull is not None
            assert pull.meta.cursor == 2


async def test_a_lane_connects_again_without_being_asked(database_url: str) -> None:
    async with Gate.before(database_url) as gate, opened(gate.url) as pool, started(pool, lanes=1) as lanes:
        await gate.shut()
        gate.connected.clear()
        await gate.unlock()
        await gate.connected.wait()
        assert await written(lanes, uuid4(), (uuid4(), 0, b"x")) == 1


async def test_pushes_whose_connection_is_killed_are_unavailable_and_not_repeated(
    pool: PostgresPool, spaces: PostgresSpaceStore, database_url: str
) -> None:
    space = (await spaces.create_space(uuid4(), "c", None)).id
    async with opened(database_url, max_connections=1) as admin, started(pool, lanes=1) as lanes:
        async with admin.connection() as con, con.transaction():
            await con.fetch("SELECT cursor FROM spaces WHERE id = $1 FOR UPDATE", space)
            futures = [submit(lanes, make_push(space, (uuid4(), 0, b"x"))) for _ in range(10)]
            await lock_waits(pool, 1)
            await con.fetch(KILL_OTHERS)
            first = await futures[0]
            assert isinstance(first, Unavailable)
        results = await asyncio.gather(*futures)
        stored = [result.cursor for result in results if isinstance(result, PushOutcome)]
        assert stored == list(range(1, len(stored) + 1))
        [row] = await select(admin, "SELECT count(*)::int FROM records")
        assert row[0] == len(stored)
        assert await written(lanes, space, (uuid4(), 0, b"x")) == len(stored) + 1


async def test_a_pool_whose_connections_were_killed_opens_new_ones(
    pool: PostgresPool, spaces: PostgresSpaceStore, database_url: str
) -> None:
    await asyncio.gather(*(spaces.ping() for _ in range(5)))
    async with opened(database_url, max_connections=1) as admin:
        await admin.run(lambda con: con.fetch(KILL_OTHERS))
    while True:
        try:
            await spaces.ping()
            break
        except Unavailable:  # sent before the end of the connection was read
            continue
    assert await spaces.get_spaces([uuid4()]) == {}


async def test_without_a_free_connection_a_caller_gets_unavailable(database_url: str) -> None:
    pool = await PostgresPool.open(database_url, max_connections=1, acquire_timeout_s=0.05)
    try:
        async with pool.connection():
            with pytest.raises(Unavailable):
                await PostgresSpaceStore(pool).ping()
        await PostgresSpaceStore(pool).ping()
    finally:
        await pool.aclose(5.0)


async def test_a_pull_that_loses_its_connection_fails(
    pool: PostgresPool, pulls: PostgresPullStore, database_url: str
) -> None:
    space = uuid4()
    await many_records(pool, space, pushes=100, each=50, blob_bytes=1000)
    async with opened(database_url, max_connections=1) as admin:
        async with pulls.pull(space, 0) as pull:
            assert pull is not None
            batches = pull.batches()
            await anext(batches)
            await admin.run(lambda con: con.fetch(KILL_OTHERS))
            with pytest.raises(Unavailable):
                [batch async for batch in batches]
    async with pulls.pull(space, 0) as pull:
        assert pull is not None
        assert sum([len(batch) async for batch in pull.batches()]) == 5000


async def test_a_deadlock_is_resolved_by_trying_again(pool: PostgresPool) -> None:
    attempts = 0

    async def deadlock(con: object) -> int:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            await con.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")  # type: ignore[attr-defined]
        return attempts

    assert await pool.run(deadlock) == 3


async def test_every_connection_has_the_settings_of_the_session(pool: PostgresPool) -> None:
    names = ["TimeZone", "jit", "statement_timeout", "lock_timeout", "default_transaction_isolation"]
    [row] = await select(pool, f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}")
    assert list(row) == ["UTC", "off", "30s", "10s", "read committed"]
    # A Unix socket has no keepalives and shows 0, but who has set them all the same.
    rows = await select(pool, "SELECT source FROM pg_settings WHERE name LIKE 'tcp_keepalives%'")
    assert [row[0] for row in rows] == ["client"] * 3


async def test_a_new_connection_has_its_hot_statements_prepared(pool: PostgresPool) -> None:
    rows = await select(pool, "SELECT statement FROM pg_prepared_statements")
    prepared = " ".join(row[0] for row in rows)
    for hot in ("lsync_push_v1", "FROM spaces WHERE id = ANY", "UNION ALL"):
        assert hot in prepared


async def test_a_session_has_nothing_to_reset(pool: PostgresPool) -> None:
    """Release costs no round trip, so what one use sets would be there for the next."""
    async with pool.connection() as con:
        await con.execute("SET work_mem = '5MB'")
    rows = await select(pool, "SELECT current_setting('work_mem')")
    assert rows[0][0] == "5MB"
    await execute(pool, "RESET work_mem")
