"""`restore` into databases that are in use, of other versions, altered, forbidden, lost or half restored."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from less_sync.bins.backup.load import Wanted, restore
from less_sync.bins.backup.manifest import SchemaEntry
from less_sync.bins.backup.take import Backup as Making
from less_sync.bins.backup.take import Wanted as Made
from less_sync.bins.backup.watching import Doing
from less_sync.bins.errors import CommandError
from less_sync.migrations import MigrationError, migrate_down, migrate_up, version
from less_sync.storage import BlobKey, Stored
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.canary import canary_space
from tests.bins.commands import run_less_sync
from tests.bins.restore.cut import cut_after
from tests.bins.restore.made import Backup, Silent, execute, fill, make_backup, put, stored, texts
from tests.bins.restore.restoring import NEWEST, Source, restored
from tests.bins.restore.watching import Seen


def _interrupt() -> None:
    raise InterruptedError


async def test_the_space_of_a_watchdog_is_no_content(source: Source, empty_database_url: str) -> None:
    await migrate_up(empty_database_url)
    await execute(
        empty_database_url,
        f"INSERT INTO spaces (id, client_id) VALUES ('{canary_space(bytes(16))}', 'canary')",
        "INSERT INTO records SELECT gen_random_uuid(), id, NULL, 1 FROM spaces",
    )
    await restored(empty_database_url, MemoryBlobs(), source.backup)
    assert await texts(empty_database_url) == await texts(source.url)


async def test_a_role_that_may_not_write_is_told_what_is_needed(
    source: Source, empty_database_url: str
) -> None:
    reader = f"{urlsplit(empty_database_url).path[1:]}_reader"
    await execute(empty_database_url, f'CREATE ROLE "{reader}" LOGIN')
    try:
        with pytest.raises(
            CommandError, match="database error: the role may not do that: restoring needs the"
        ):
            await restored(
                empty_database_url.replace("postgres@", f"{reader}@"), MemoryBlobs(), source.backup
            )
        url = f"{empty_database_url}&default_transaction_read_only=on"
        with pytest.raises(
            CommandError, match="database error: the database takes no writes: is it a standby"
        ):
            await restored(url, MemoryBlobs(), source.backup)
    finally:
        await execute(empty_database_url, f'DROP ROLE "{reader}"')
    assert await texts(empty_database_url) == {}


async def test_a_connection_that_is_lost_leaves_a_restore_that_goes_on(
    source: Source, empty_database_url: str
) -> None:
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'less-sync-restore'"
    )

    class Cutting(MemoryBlobs):
        async def find(self, key: BlobKey) -> Stored | None:
            await execute(empty_database_url, query)
            return await super().find(key)

    with pytest.raises(CommandError, match="database error: the connection to the database was lost"):
        await restored(empty_database_url, Cutting(), source.backup)
    await restored(empty_database_url, MemoryBlobs(), source.backup)
    assert await texts(empty_database_url) == await texts(source.url)


async def test_a_store_that_is_not_empty_is_refused_by_itself(
    source: Source, empty_database_url: str
) -> None:
    store = MemoryBlobs()
    await put(store, {BlobKey(uuid4(), uuid4()): b"x"})
    with pytest.raises(CommandError) as caught:
        await restored(empty_database_url, store, source.backup)
    assert caught.value.causes == ("the store holds contents of files",)


@pytest.mark.parametrize("name", ["less-sync", "less-sync-backup"])
@pytest.mark.parametrize("force", [False, True])
async def test_a_server_or_a_backup_on_the_database_is_a_refusal_also_with_force(
    source: Source, empty_database_url: str, name: str, force: bool
) -> None:
    server = await asyncpg.connect(empty_database_url, server_settings={"application_name": name})
    try:
        refusal = r"a server or a backup is using this database \(1 connection named"
        with pytest.raises(CommandError, match=refusal):
            await restored(empty_database_url, MemoryBlobs(), source.backup, force=force)
    finally:
        await server.close()
    assert await texts(empty_database_url) == {}


async def test_a_database_that_dies_while_it_takes_nothing_is_noticed(
    source: Source, empty_database_url: str, tmp_path: Path
) -> None:
    await execute(
        source.url, "UPDATE records SET blob = convert_to(repeat('x', 4000000), 'UTF8') WHERE cursor = 1"
    )
    backup = await make_backup(source.url, source.contents, tmp_path / "large")
    env = {"FILE_STORAGE_BACKEND": "local", "FILE_STORAGE_PATH": str(tmp_path / "files")}
    async with cut_after(empty_database_url, tmp_path, 2_000_000) as url:
        done = await run_less_sync("restore", str(backup.folder), "--database-url", url, env=env)
    assert done.status == 1
    assert done.err.startswith("Error: database error: the connection to the database was lost; the restore")
    await restored(empty_database_url, MemoryBlobs(), backup)
    assert await texts(empty_database_url) == await texts(source.url)


async def test_rows_of_other_versions_are_replaced_by_force_and_the_schema_follows(
    source: Source, empty_database_url: str, tmp_path: Path
) -> None:
    await migrate_up(empty_database_url)
    await fill(empty_database_url, seed=3)
    while await version(empty_database_url) > 9:  # where records, members and files have other columns
        await migrate_down(empty_database_url, confirmed=True)
    store = MemoryBlobs()
    await restored(empty_database_url, store, source.backup, force=True)
    assert await texts(empty_database_url) == await texts(source.url)


async def test_keep_schema_stops_at_the_versions_of_the_backup(
    source: Source, empty_database_url: str, tmp_path: Path
) -> None:
    while await version(source.url) > 102:
        await migrate_down(source.url)
    backup = await make_backup(source.url, source.contents, tmp_path / "older")
    assert backup.manifest.schema == SchemaEntry(tuple(range(1, 13)), (101, 102))
    outcome, _ = await restored(empty_database_url, MemoryBlobs(), backup, keep_schema=True)
    assert outcome.version == await version(empty_database_url) == 102
    # The same once more, without it: nothing is loaded, the schema goes on.
    outcome, parts = await restored(empty_database_url, MemoryBlobs(), backup)
    assert (outcome.loaded, outcome.version) == (False, NEWEST)
    assert Doing.LOADING not in parts
    assert await texts(empty_database_url) == await texts(source.url)


async def test_another_backup_takes_over_by_force(
    source: Source, empty_database_url: str, tmp_path: Path
) -> None:
    await migrate_up(empty_database_url)
    await execute(
        empty_database_url,
        "CREATE TABLE less_sync_restore (digest text, began_at timestamptz)",
        "INSERT INTO less_sync_restore VALUES ('f00d', now())",
    )
    with pytest.raises(CommandError, match="the restore of backup f00d, begun"):
        await restored(empty_database_url, MemoryBlobs(), source.backup)
    await restored(empty_database_url, MemoryBlobs(), source.backup, force=True)
    assert await texts(empty_database_url) == await texts(source.url)


async def test_a_restore_given_up_for_the_backup_of_what_is_there_keeps_nobody_out(
    source: Source, empty_database_url: str, tmp_path: Path
) -> None:
    store = MemoryBlobs()
    wanted = await texts(source.url)
    await restored(empty_database_url, store, source.backup)
    await execute(source.url, "UPDATE spaces SET cursor = cursor + 1")
    other = await make_backup(source.url, {}, tmp_path / "other")
    given_up = Wanted(other.folder, other.manifest, force=True)
    with pytest.raises(InterruptedError):
        await restore(empty_database_url, store, given_up, Seen([], Doing.LOADING, _interrupt))
    await restored(empty_database_url, store, source.backup, force=True)
    assert await texts(empty_database_url) == wanted
    await migrate_up(empty_database_url)  # as a server does at its start


async def test_force_keeps_contents_that_were_out_of_sight_when_the_backup_was_made(
    source: Source, empty_database_url: str, tmp_path: Path
) -> None:
    away = MemoryBlobs()
    wanted = Made(tmp_path / "unused", tmp_path / "blind")
    taken = await Making(wanted, away, Silent(), chosen=lambda _: None).make(source.url)
    assert len(taken.manifest.faults) == len(source.contents)
    store, kept = MemoryBlobs(now=lambda: 0.0), source.contents
    await put(store, kept | {BlobKey(uuid4(), uuid4()): b"another"})
    blind = Backup(taken.folder, taken.manifest)
    outcome, _ = await restored(empty_database_url, store, blind, force=True)
    assert outcome.copied.removed == 1
    assert await stored(store) == kept
    later = MemoryBlobs()
    await put(later, kept)  # by other uploads than those that the rows are of
    outcome, _ = await restored(empty_database_url, later, blind, force=True)
    assert outcome.copied.removed == len(kept)


async def test_contents_alone_keep_others_out_until_they_are_all_there(
    source: Source, empty_database_url: str
) -> None:
    await restored(empty_database_url, MemoryBlobs(), source.backup)
    store, key = MemoryBlobs(), next(iter(source.contents))
    wanted = Wanted(source.backup.folder, source.backup.manifest)
    await put(store, {key: b"another"})
    with pytest.raises(CommandError, match="--force replaces it"):
        await restore(empty_database_url, store, wanted, Seen())
    await migrate_up(empty_database_url)  # nothing was begun
    await store.remove(key)
    with pytest.raises(InterruptedError):
        await restore(empty_database_url, store, wanted, Seen([], Doing.CONTENTS, _interrupt))
    with pytest.raises(MigrationError, match="has not finished"):
        await migrate_up(empty_database_url)
    await restored(empty_database_url, store, source.backup)
    await migrate_up(empty_database_url)
    assert await stored(store) == source.contents


async def test_of_two_restores_at_once_one_is_refused(source: Source, empty_database_url: str) -> None:
    store, begun, go_on = MemoryBlobs(), asyncio.Event(), asyncio.Event()

    class Waiting(MemoryBlobs):
        async def find(self, key: BlobKey) -> None:
            begun.set()
            await go_on.wait()

    wanted = Wanted(source.backup.folder, source.backup.manifest)
    first = asyncio.create_task(restore(empty_database_url, Waiting(), wanted, Seen()))
    await begun.wait()
    with pytest.raises(CommandError, match="another process is restoring or migrating this database"):
        await restored(empty_database_url, store, source.backup)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await restored(empty_database_url, store, source.backup)
    assert await texts(empty_database_url) == await texts(source.url)


async def test_tables_that_somebody_altered_are_refused_also_with_force(
    source: Source, empty_database_url: str
) -> None:
    await migrate_up(empty_database_url)
    await execute(empty_database_url, "ALTER TABLE records ADD COLUMN more int")
    with pytest.raises(MigrationError, match=r"schema differs at records\.more"):
        await restored(empty_database_url, MemoryBlobs(), source.backup, force=True)


async def test_a_row_that_the_database_refuses_leaves_what_was_there(
    source: Source, empty_database_url: str
) -> None:
    await migrate_up(empty_database_url)
    await fill(empty_database_url, seed=4)
    await execute(
        empty_database_url, "ALTER TABLE invitations ADD CONSTRAINT few CHECK (mailbox_id < '2') NOT VALID"
    )
    before = await texts(empty_database_url)
    with pytest.raises(CommandError, match=r"^database error: CheckViolationError \(SQLSTATE 23514\)$"):
        await restored(empty_database_url, MemoryBlobs(), source.backup, force=True)
    assert await texts(empty_database_url) == before
