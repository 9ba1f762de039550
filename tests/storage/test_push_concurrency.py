"""Many writers of one space, ours and the existing server's: docs/storage.md 4.2."""

import asyncio
import random
from collections import defaultdict
from uuid import UUID, uuid4

import asyncpg

from less_sync.storage import PostgresPool, PostgresPullStore, PostgresSpaceStore, PushLanes, PushStatus
from less_sync.storage.postgres.push_one import push_one
from tests.storage.rows import DEK
from tests.storage.support import make_push, opened, pulled, submit

RECORDS = [uuid4() for _ in range(6)]

Accepted = list[tuple[int, dict[UUID, int]]]
"""(new cursor, expected cursor of each record) of every push that was written."""


async def push_as_the_existing_server(
    con: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", space: UUID, changes: dict[UUID, int]
) -> int | None:
    """The existing server's statements, one by one; None on a conflict."""
    async with con.transaction():
        cursor: int = await con.fetchval("SELECT cursor FROM spaces WHERE id = $1 FOR UPDATE", space)
        rows = await con.fetch(
            "SELECT id, cursor FROM records WHERE space_id = $1 AND id = ANY ($2::uuid[])",
            space,
            list(changes),
        )
        if dict.fromkeys(changes, 0) | {row[0]: row[1] for row in rows} != changes:
            return None
        existing = {row[0] for row in rows}
        for id in changes:
            text = (
                "UPDATE records SET blob = $3, cursor = $4, wrapped_dek = $5, deleted = FALSE "
                "WHERE id = $1 AND space_id = $2"
                if id in existing
                else "INSERT INTO records (id, space_id, blob, cursor, wrapped_dek) "
                "VALUES ($1, $2, $3, $4, $5)"
            )
            await con.execute(text, id, space, b"theirs", cursor + 1, DEK)
        await con.execute("UPDATE spaces SET cursor = $2 WHERE id = $1", space, cursor + 1)
    return cursor + 1


def assert_one_history(accepted: Accepted, cursor: int) -> None:
    """Cursors are contiguous, and each write of a record expected the one before it."""
    accepted.sort(key=lambda entry: entry[0])
    assert [new for new, _ in accepted] == list(range(1, cursor + 1))
    current: dict[UUID, int] = defaultdict(int)
    for new, changes in accepted:
        for id, expected in changes.items():
            assert current[id] == expected
            current[id] = new


async def guess(
    con: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", space: UUID, chooser: random.Random
) -> dict[UUID, int]:
    """Choose records and read their cursors without a lock: often stale by the time they are pushed."""
    chosen = chooser.sample(RECORDS, chooser.randint(1, 3))
    rows = await con.fetch("SELECT id, cursor FROM records WHERE id = ANY ($1::uuid[])", chosen)
    return dict.fromkeys(chosen, 0) | {row[0]: row[1] for row in rows}


async def test_eight_writers_of_both_servers_lose_no_update(
    database_url: str, spaces: PostgresSpaceStore, lanes: PushLanes
) -> None:
    space = (await spaces.create_space(uuid4(), "client", None)).id
    accepted: Accepted = []

    async def writer(pool: PostgresPool, number: int) -> None:
        chooser = random.Random(number)
        async with pool.connection() as con:
            for _ in range(60):
                changes = await guess(con, space, chooser)
                push = make_push(space, *((id, expected, b"ours") for id, expected in changes.items()))
                if number % 3 == 0:
                    cursor = await push_as_the_existing_server(con, space, changes)
                else:
                    alone = number % 3 == 1
                    result = await (push_one(con, push, pool.chance) if alone else submit(lanes, push))
                    assert not isinstance(result, Exception)
                    assert result.status in (PushStatus.WRITTEN, PushStatus.CONFLICT)
                    cursor = result.cursor or None
                if cursor is not None:
                    accepted.append((cursor, changes))

    async with opened(database_url) as pool:
        await asyncio.gather(*(writer(pool, number) for number in range(8)))
    cursor = (await spaces.get_spaces([space]))[space].cursor
    assert_one_history(accepted, cursor)
    assert len({len(changes) for _, changes in accepted}) > 1


async def test_queued_writers_of_one_space_lose_no_update(
    pulls: PostgresPullStore, spaces: PostgresSpaceStore, lanes: PushLanes
) -> None:
    """Everybody expects the cursor they saw: most statements hold conflicts amid pushes that are written."""
    space = (await spaces.create_space(uuid4(), "client", None)).id
    accepted: Accepted = []
    seen: dict[UUID, int] = defaultdict(int)
    conflicts = 0

    async def writer(number: int) -> None:
        nonlocal conflicts
        chooser = random.Random(number)
        for _ in range(50):
            changes = {id: seen[id] for id in chooser.sample(RECORDS, 2)}
            push = make_push(space, *((id, expected, b"x") for id, expected in changes.items()))
            outcome = await submit(lanes, push)
            assert not isinstance(outcome, Exception)
            if outcome.status is PushStatus.WRITTEN:
                accepted.append((outcome.cursor, changes))
                for id in changes:
                    seen[id] = max(seen[id], outcome.cursor)
            else:
                conflicts += 1

    await asyncio.gather(*(writer(number) for number in range(16)))
    meta, rows = await pulled(pulls, space, 0)
    assert_one_history(accepted, meta.cursor)
    assert {row[2]: row[1] for row in rows} == seen
    assert conflicts > 0
