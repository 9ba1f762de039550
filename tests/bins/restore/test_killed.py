"""A restore that is killed anywhere is finished by the same command, and nobody serves what it left."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import asyncpg
import pytest

from less_sync.bins.backup.watching import Doing
from less_sync.migrations import migrate_up
from less_sync.storage import BlobKey, LocalBlobs
from tests.bins.commands import Finished, run_less_sync
from tests.bins.restore.made import Backup, contents_of, fill, make_backup, put, stored, texts
from tests.wire.command import ROOT

TIMEOUT_S = 60.0
FILES = {"FILE_STORAGE_BACKEND": "local"}


async def killed_restore(
    backup: Backup, store: Path, at: Doing, after: int, *, url: str = "", data_dir: Path | None = None
) -> None:
    """Run a restore that kills itself at this point; fails when it comes to its end."""
    job = {
        "url": url,
        "data_dir": None if data_dir is None else str(data_dir),
        "backup": str(backup.folder),
        "store": str(store),
        "at": at,
        "after": after,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bins.restore.killed", json.dumps(job), cwd=ROOT
    )
    assert await asyncio.wait_for(process.wait(), TIMEOUT_S) == -signal.SIGKILL


async def files_in(directory: Path) -> dict[BlobKey, bytes]:
    store = LocalBlobs.at(directory)
    try:
        return await stored(store)
    finally:
        await store.aclose()


async def gone(url: str) -> None:
    """Wait until the database has noticed that a killed process is gone."""
    connection = await asyncpg.connect(url)
    try:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
        async with asyncio.timeout(TIMEOUT_S):
            while await connection.fetchval(query, connection.get_server_pid()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


POINTS = [
    (Doing.PREPARING, 0),
    (Doing.CONTENTS, 0),
    (Doing.CONTENTS, 1),
    (Doing.CONTENTS, 7),
    (Doing.LOADING, 0),
    (Doing.LOADING, 4),
    (Doing.PROVING, 0),
    (Doing.PROVING, 7),
]
"""Before MIGRATING, with which the mark is gone."""


@pytest.mark.parametrize(("at", "after"), POINTS)
async def test_after_a_kill_no_server_starts_and_the_same_command_finishes(
    at: Doing, after: int, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    contents = contents_of(await fill(database_url))
    backup = await make_backup(database_url, contents, tmp_path / "backup")
    data_dir = tmp_path / "data"
    await killed_restore(backup, data_dir / "files", at, after, url=empty_database_url)
    await gone(empty_database_url)
    env = {"DATABASE_URL": empty_database_url, "DATA_DIR": str(data_dir), **FILES}
    for command in (["serve", "--dev", "--listen", "127.0.0.1:0"], ["migrate"], ["migrate", "--dry-run"]):
        refused = await run_less_sync(*command, env=env)
        assert refused.status == 1
        assert f"the restore of backup {backup.manifest.digest[:12]}, begun " in refused.err
        assert "`less-sync restore BACKUP` with that backup finishes it" in refused.err
    done = await run_less_sync("restore", str(backup.folder), env=env)
    assert (done.status, done.err) == (0, "")
    assert await texts(empty_database_url) == await texts(database_url)
    assert await files_in(data_dir / "files") == contents
    assert (await run_less_sync("migrate", env=env)) == Finished(0, "migrations complete\n", "")


async def test_after_a_kill_behind_the_commit_everything_is_there(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    contents = contents_of(await fill(database_url))
    backup = await make_backup(database_url, contents, tmp_path / "backup")
    data_dir = tmp_path / "data"
    await killed_restore(backup, data_dir / "files", Doing.MIGRATING, 0, url=empty_database_url)
    await gone(empty_database_url)
    await migrate_up(empty_database_url)
    assert await texts(empty_database_url) == await texts(database_url)
    assert await files_in(data_dir / "files") == contents
    done = await run_less_sync(
        "restore",
        str(backup.folder),
        *("--database-url", empty_database_url, "--data-dir", str(data_dir)),
        env=FILES,
    )
    assert done.status == 0
    assert "were there already\ncontents: 0 copied, 12 were there already\n" in done.out


async def test_a_killed_replacement_leaves_the_rows_before_or_those_of_the_backup(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    backup = await make_backup(database_url, {}, tmp_path / "backup")
    await migrate_up(empty_database_url)
    keys = await fill(empty_database_url, seed=8)
    before = await texts(empty_database_url)
    store = LocalBlobs.at(tmp_path / "data" / "files")
    await put(store, contents_of(keys))
    await store.aclose()
    env = {"DATABASE_URL": empty_database_url, "DATA_DIR": str(tmp_path / "data"), **FILES}
    refused = await run_less_sync("restore", str(backup.folder), env=env)
    assert refused.status == 1
    assert refused.err.startswith(
        "Error: something is there already, which only --force replaces; nothing was"
    )
    assert await texts(empty_database_url) == before
    done = await run_less_sync("restore", str(backup.folder), "--force", env=env)
    assert (done.status, done.err) == (0, "")
    assert "contents: 0 copied, 0 were there already, 12 others removed\n" in done.out
    assert await texts(empty_database_url) == await texts(database_url)
