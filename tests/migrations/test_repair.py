"""Rows without cursor get one at the end of their space; nothing else moves."""

import asyncio

import pytest

from less_sync.migrations import Cursorless, MigrationError, cursorless, migrate_up, repair_cursors

from .support import BLOCKED, SEED, SPACE, connected, execute, fetch, up_to, value

OTHER = "00000000-0000-0000-0000-00000000000b"
MEMBERS = "SELECT chain_seq, cursor FROM members WHERE space_id = '{}' ORDER BY chain_seq"
FILES = "SELECT size, cursor FROM files WHERE space_id = '{}' ORDER BY id"


async def test_rows_without_cursor_come_last_members_first_each_with_its_own(database_url: str) -> None:
    await execute(
        database_url,
        SEED
        + f"""
        UPDATE members SET cursor = 0; UPDATE files SET cursor = 0;
        INSERT INTO members (space_id, chain_seq, entry_hash, payload, cursor)
            VALUES ('{SPACE}', 3, 'h', 'p', 6);
        INSERT INTO spaces (id, client_id, cursor) VALUES ('{OTHER}', 'c', 1);
        INSERT INTO members (space_id, chain_seq, entry_hash, payload) VALUES ('{OTHER}', 1, 'h', 'p');
        """,
    )
    records = await fetch(database_url, "SELECT id, cursor FROM records ORDER BY id")
    assert await cursorless(database_url) == Cursorless(members=3, files=2)

    done = await repair_cursors(database_url)

    assert [(str(r.space), r.members, r.files, r.cursor) for r in done] == [
        (SPACE, 2, 2, 11),
        (OTHER, 1, 0, 2),
    ]
    found = await fetch(database_url, MEMBERS.format(SPACE))
    assert [tuple(row) for row in found] == [(1, 8), (2, 9), (3, 6)]
    found = await fetch(database_url, FILES.format(SPACE))
    assert [tuple(row) for row in found] == [(5, 10), (6, 11)]
    cursors = await fetch(database_url, "SELECT cursor FROM spaces ORDER BY id")
    assert [row["cursor"] for row in cursors] == [11, 2]
    assert await fetch(database_url, "SELECT id, cursor FROM records ORDER BY id") == records
    assert not await cursorless(database_url)
    assert await repair_cursors(database_url) == []


async def test_a_repair_waits_for_a_writer_and_goes_on_from_its_cursor(database_url: str) -> None:
    await execute(database_url, SEED + "UPDATE members SET cursor = 0")
    async with connected(database_url) as writer:
        async with writer.transaction():
            await writer.execute("UPDATE spaces SET cursor = cursor + 1")
            repair = asyncio.create_task(repair_cursors(database_url))
            async with asyncio.timeout(60):
                while not await writer.fetchval(BLOCKED):  # noqa: ASYNC110 - another session makes it true
                    await asyncio.sleep(0.01)
        done = await repair
    assert [repaired.cursor for repaired in done] == [10]
    found = await fetch(database_url, MEMBERS.format(SPACE))
    assert [tuple(row) for row in found] == [(1, 9), (2, 10)]


async def test_a_repair_before_migration_10_is_refused(empty_database_url: str) -> None:
    await migrate_up(empty_database_url, catalog=up_to(9))
    assert not await cursorless(empty_database_url)
    with pytest.raises(MigrationError, match=r"^migration error: repair-cursors needs migration 10$"):
        await repair_cursors(empty_database_url)


async def test_a_repaired_space_is_announced_after_its_commit(database_url: str) -> None:
    await execute(database_url, SEED + "UPDATE files SET cursor = 0")
    seen: list[int] = []
    await repair_cursors(database_url, on_repaired=lambda done: seen.append(done.files))
    assert seen == [2]
    assert await value(database_url, "SELECT cursor FROM spaces") == 9
