"""`upgrade-data`: a cluster that says it is of another Postgres goes aside, and its rows come back.

There is one version of the programs, so the old cluster is of the new version under a false name; it is never
started, as a real one could not be.
"""

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from less_sync.bins.backup.watching import Doing
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError, major_version
from less_sync.bins.postgres.moving import STATE
from less_sync.migrations import migrate_up
from less_sync.migrations.catalog import load
from less_sync.storage import BlobKey, LocalBlobs
from tests.bins.commands import Finished, run_less_sync
from tests.bins.restore.made import Backup, contents_of, fill, make_backup, put, texts
from tests.bins.restore.test_killed import files_in, killed_restore
from tests.wire.process import ServerProcess

QUICK = {"fsync": "off"}


@dataclass(frozen=True, slots=True)
class Old:
    """A data directory as the release before left it."""

    data_dir: Path
    backup: Backup
    contents: dict[BlobKey, bytes]
    rows: dict[str, str]

    def version(self, version: str) -> None:
        (self.data_dir / "postgres" / "PG_VERSION").write_text(f"{version}\n")

    def aside(self) -> list[Path]:
        return sorted(self.data_dir.glob("postgres.*-*"))

    async def upgrade(self, *options: str, backup: Path | None = None) -> Finished:
        folder = str(backup or self.backup.folder)
        return await run_less_sync("upgrade-data", folder, "--data-dir", str(self.data_dir), *options)


@pytest.fixture
async def old(tmp_path: Path) -> Old:
    data_dir = tmp_path / "data"
    async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
        await migrate_up(postgres.url)
        contents = contents_of(await fill(postgres.url))
        store = LocalBlobs.at(data_dir / "files")
        await put(store, contents)
        await store.aclose()
        rows = await texts(postgres.url)
        backup = await make_backup(postgres.url, contents, tmp_path / "backup")
    found = Old(data_dir, backup, contents, rows)
    found.version("17")
    return found


async def rows_of(data_dir: Path) -> dict[str, str]:
    async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
        return await texts(postgres.url)


async def test_the_cluster_goes_aside_and_a_new_one_holds_the_same(old: Old) -> None:
    refused = await run_less_sync("serve", "--listen", "127.0.0.1:0", env={"DATA_DIR": str(old.data_dir)})
    assert refused.status == 1
    assert (
        "was made by Postgres 17 and this is Postgres 18: make a backup with the older less-sync"
        in refused.err
    )
    assert "then `less-sync upgrade-data BACKUP` with this one" in refused.err
    extra = old.data_dir / "files" / "spaces" / next(iter(old.contents)).path.split("/")[1] / "files"
    (extra / "00000000-0000-4000-8000-000000000000").write_bytes(b"came after the backup")
    done = await old.upgrade()
    (aside,) = old.aside()
    assert done == Finished(
        0,
        f"backup {old.backup.folder}, finished {old.backup.manifest.finished_at}\n"
        "165 rows of 8 tables loaded and compared\n"
        "contents: 0 copied, 12 were there already\n"
        f"schema at migration {max(load())}\n"
        f"{old.data_dir / 'postgres'} is of Postgres 18 now\n"
        f"the former one is kept as {aside}: remove it when all is well\n",
        "",
    )
    assert re.fullmatch(r"postgres\.17-\d{8}T\d{6}Z", aside.name)
    assert (aside / "PG_VERSION").read_text() == "17\n"
    assert await rows_of(old.data_dir) == old.rows
    files = await files_in(old.data_dir / "files")
    assert {key: files[key] for key in old.contents} == old.contents
    assert len(files) == len(old.contents) + 1
    again = await old.upgrade()
    assert again.err == (
        f"Error: {old.data_dir / 'postgres'} is of Postgres 18 already: there is nothing to upgrade; "
        "nothing was changed\n"
    )


POINTS = [
    (Doing.PREPARING, 0),
    (Doing.CONTENTS, 3),
    (Doing.LOADING, 2),
    (Doing.PROVING, 5),
    (Doing.MIGRATING, 0),
]


@pytest.mark.parametrize(("at", "after"), POINTS)
async def test_after_a_kill_no_server_starts_and_the_same_command_finishes(
    at: Doing, after: int, old: Old
) -> None:
    await killed_restore(old.backup, old.data_dir / "files", at, after, data_dir=old.data_dir)
    refusal = f"{old.backup.manifest.digest[:12]}): `less-sync upgrade-data BACKUP` with that backup finishes"
    refused = await run_less_sync("serve", "--listen", "127.0.0.1:0", env={"DATA_DIR": str(old.data_dir)})
    assert refused.status == 1
    assert refusal in refused.err
    with pytest.raises(EmbeddedPostgresError, match="has not finished"):
        await rows_of(old.data_dir)
    other = Backup(
        shutil.copytree(old.backup.folder, old.backup.folder.parent / "other"), old.backup.manifest
    )
    other.write(tool_version="0.0.9")
    refused = await old.upgrade(backup=other.folder)
    assert "a move with another backup" in refused.err
    done = await old.upgrade()
    assert (done.status, done.err) == (0, "")
    assert len(old.aside()) == 1
    assert not (old.data_dir / STATE).exists()
    assert await rows_of(old.data_dir) == old.rows


async def test_a_kill_between_the_state_and_the_rename_or_before_the_new_cluster_is_found_done(
    old: Old,
) -> None:
    state = {"digest": old.backup.manifest.digest, "aside": "postgres.17-20261126T163000Z"}
    (old.data_dir / STATE).write_text(json.dumps(state))
    assert (await old.upgrade()).status == 0
    assert [path.name for path in old.aside()] == ["postgres.17-20261126T163000Z"]
    (old.data_dir / STATE).write_text(json.dumps(state))
    shutil.rmtree(old.data_dir / "postgres")
    assert (await old.upgrade()).status == 0
    assert await rows_of(old.data_dir) == old.rows


async def test_a_running_server_another_cluster_and_an_older_backup_are_refused(
    old: Old, database_url: str, tmp_path: Path
) -> None:
    foreign = old.backup.folder.parent / "foreign"
    shutil.copytree(old.backup.folder, foreign)
    database = type(old.backup.manifest.database)("7", "postgres", 170_000)
    Backup(foreign, old.backup.manifest).write(database=database)
    refused = await old.upgrade(backup=foreign)
    assert f"Error: the backup is of another database than {old.data_dir / 'postgres'}: " in refused.err
    control = old.data_dir / "postgres" / "global" / "pg_control"
    later = time.time() + 60
    os.utime(control, (later, later))
    refused = await old.upgrade()
    assert "what was written in between is not in it; nothing was changed\n" in refused.err
    assert not old.aside()
    assert (await old.upgrade("--force")).status == 0
    async with ServerProcess({"DATA_DIR": str(old.data_dir)}, []):
        refused = await old.upgrade("--force")
    assert f"Error: the data directory {old.data_dir} is in use by another process" in refused.err
    assert (await run_less_sync("upgrade-data", str(foreign), "--data-dir", str(tmp_path / "no"))).err == (
        f"Error: there is no data directory {tmp_path / 'no'}; nothing was changed\n"
    )


async def test_the_same_version_is_moved_by_force(old: Old) -> None:
    old.version(major_version())
    assert (await old.upgrade()).status == 1
    assert (await old.upgrade("--force")).status == 0
    (aside,) = old.aside()
    assert aside.name.startswith("postgres.18-")
    shutil.rmtree(old.data_dir / "postgres")
    aside.rename(old.data_dir / "postgres")
    assert await rows_of(old.data_dir) == old.rows


async def test_rows_of_a_cluster_are_readable_where_a_restore_made_it(old: Old, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    done = await run_less_sync("restore", str(old.backup.folder), "--data-dir", str(place))
    assert (done.status, done.err) == (0, "")
    async with EmbeddedPostgres(place) as postgres:
        connection = await asyncpg.connect(postgres.url)
        try:
            assert await connection.fetchval("SELECT count(*) FROM records") == 120
        finally:
            await connection.close()
        assert await texts(postgres.url) == old.rows
    assert await files_in(place / "files") == old.contents
