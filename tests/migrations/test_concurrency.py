"""Several migrators at once, and one that dies in the middle."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from less_sync.migrations import MigrationError, migrate_down, migrate_up, version
from less_sync.migrations.connection import Connection, lock_key, migration_lock
from less_sync.migrations.schema import expected

from .support import BLOCKED, CATALOG, LAST, connected, seeded_at, shared_versions, tables, with_query

ROOT: Final = Path(__file__).parents[2]
DEADLINE_S: Final = 60.0


def start_up(url: str) -> subprocess.Popen[str]:
    """A process that runs `migrate up`."""
    return subprocess.Popen(
        [sys.executable, "-m", "less_sync.bins.commands.main", "migrate", "up"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def until(connection: Connection, query: str) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(DEADLINE_S):
        while not await connection.fetchval(query):  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.01)


async def test_two_processes_migrate_an_empty_database_at_once(empty_database_url: str) -> None:
    with start_up(empty_database_url) as one, start_up(empty_database_url) as other:
        both = (one, other)
        outputs = [await asyncio.to_thread(process.communicate, timeout=DEADLINE_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [out for out, _ in outputs] == ["migrations complete\n"] * 2
    applied = "".join(err for _, err in outputs).splitlines()
    assert len(applied) == len(CATALOG), "each migration was applied by one of them"
    assert await version(empty_database_url) == LAST


async def test_eight_migrators_in_one_process_agree(empty_database_url: str) -> None:
    done = await asyncio.gather(*(migrate_up(empty_database_url) for _ in range(8)))
    assert sorted(applied.version for each in done for applied in each) == list(CATALOG)


GONE: Final = """
SELECT count(*) = 0 FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'less-sync-migrate' AND pid <> pg_backend_pid()"""


async def test_a_process_killed_in_the_middle_leaves_nothing_half_recorded(empty_database_url: str) -> None:
    await seeded_at(empty_database_url, 9)
    async with connected(empty_database_url) as watcher:
        async with watcher.transaction():
            # Migration 10 changes spaces, records and members before it comes to files, and waits there.
            await watcher.execute("LOCK TABLE files IN ACCESS EXCLUSIVE MODE")
            with start_up(empty_database_url) as process:
                try:
                    await until(watcher, BLOCKED)
                finally:
                    process.kill()
                    await asyncio.to_thread(process.communicate)
        await until(watcher, GONE)
    assert process.returncode == -signal.SIGKILL
    assert await shared_versions(empty_database_url) == list(range(1, 10))
    assert await tables(empty_database_url) == expected(9)
    await migrate_up(empty_database_url)
    assert await version(empty_database_url) == LAST


async def test_a_down_cancelled_in_the_middle_leaves_everything_as_it_was(empty_database_url: str) -> None:
    await seeded_at(empty_database_url, 10)
    async with connected(empty_database_url) as watcher:
        async with watcher.transaction():
            await watcher.execute("LOCK TABLE members IN ACCESS EXCLUSIVE MODE")
            down = asyncio.create_task(migrate_down(empty_database_url, confirmed=True))
            await until(watcher, BLOCKED)
            down.cancel()
            with pytest.raises(asyncio.CancelledError):
                await down
        await until(watcher, GONE)
    assert await shared_versions(empty_database_url) == list(range(1, 11))
    assert await tables(empty_database_url) == expected(10)


async def test_whoever_does_not_get_the_lock_gives_up_and_says_so(empty_database_url: str) -> None:
    async with connected(empty_database_url) as holder:
        async with migration_lock(holder):
            with pytest.raises(MigrationError) as caught:
                await migrate_up(empty_database_url, lock_wait_s=0.2)
    assert str(caught.value) == "migration error: another process has been migrating this database for 0.2 s"
    assert await version(empty_database_url) == 0


async def test_the_lock_is_the_existing_servers(empty_database_url: str) -> None:
    async with connected(empty_database_url) as holder:
        key = lock_key(await holder.fetchval("SELECT current_database()"))
        await holder.execute(f"SELECT pg_advisory_lock({key})")
        with pytest.raises(MigrationError, match="another process"):
            await migrate_up(empty_database_url, lock_wait_s=0.2)
        await holder.execute(f"SELECT pg_advisory_unlock({key})")
    await migrate_up(empty_database_url)


async def test_a_script_waits_for_a_table_lock_only_so_long(empty_database_url: str) -> None:
    await seeded_at(empty_database_url, 12)
    impatient = with_query(empty_database_url, "lock_timeout=50ms")
    async with connected(empty_database_url) as holder:
        async with holder.transaction():
            await holder.execute("LOCK TABLE rate_limit_actions IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(MigrationError, match="canceling statement due to lock timeout"):
                await migrate_up(impatient)
    assert await version(empty_database_url) == 12


async def test_a_connection_cut_in_the_middle_is_an_error_and_leaves_nothing(empty_database_url: str) -> None:
    await seeded_at(empty_database_url, 9)
    async with connected(empty_database_url) as watcher:
        async with watcher.transaction():
            await watcher.execute("LOCK TABLE files IN ACCESS EXCLUSIVE MODE")
            up = asyncio.create_task(migrate_up(empty_database_url))
            await until(watcher, BLOCKED)
            await watcher.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
            )
            with pytest.raises(MigrationError, match=r"^migration error: while executing migration"):
                await up
        await until(watcher, GONE)
    assert await shared_versions(empty_database_url) == list(range(1, 10))
    assert await tables(empty_database_url) == expected(9)
