"""`restore`: what comes back, what is refused before anything is touched, and how a restore goes on."""

import asyncio
from pathlib import Path

import pytest

from less_sync.bins.backup.load import Wanted, restore
from less_sync.bins.backup.watching import Doing
from less_sync.bins.errors import CommandError
from less_sync.migrations import MigrationError, migrate_down, migrate_up, version
from less_sync.storage.objects.memory import MemoryBlobs
from tests.bins.restore.made import contents_of, execute, fill, make_backup, put, stored, texts
from tests.bins.restore.restoring import NEWEST, Source, restored
from tests.bins.restore.watching import Seen


async def test_an_empty_database_and_store_come_to_hold_what_the_source_holds(
    source: Source, empty_database_url: str
) -> None:
    store = MemoryBlobs()
    outcome, parts = await restored(empty_database_url, store, source.backup)
    assert parts == list(Doing)
    assert (outcome.loaded, outcome.copied.written, outcome.version) == (True, len(source.contents), NEWEST)
    assert await texts(empty_database_url) == await texts(source.url)
    assert await stored(store) == source.contents
    await migrate_up(empty_database_url)  # nobody is kept out any more


async def test_a_restore_that_is_done_finds_everything_there(source: Source, empty_database_url: str) -> None:
    store = MemoryBlobs()
    await restored(empty_database_url, store, source.backup)
    outcome, parts = await restored(empty_database_url, store, source.backup)
    assert Doing.LOADING not in parts
    assert (outcome.loaded, outcome.copied.written, outcome.copied.kept) == (False, 0, len(source.contents))


async def test_what_is_there_is_named_and_replaced_only_by_force(
    source: Source, empty_database_url: str
) -> None:
    store = MemoryBlobs()
    await migrate_up(empty_database_url)
    other = contents_of(await fill(empty_database_url, seed=9), seed=10)
    # One of the contents is there in another form, one as it is in the backup.
    first, second = list(source.contents)[2:4]
    same = {first: source.contents[first], second: bytes(len(source.contents[second]))}
    await put(store, other | same)
    before = await texts(empty_database_url)
    with pytest.raises(CommandError) as caught:
        await restored(empty_database_url, store, source.backup)
    assert str(caught.value) == "something is there already, which only --force replaces"
    assert caught.value.causes == (
        "the database holds 3 rows of spaces, 120 rows of records, 12 rows of files, 9 rows of members, "
        "12 rows of revocations, 3 rows of invitations, 3 rows of rate_limit_actions, "
        "3 rows of federation_signing_keys",
        "the store holds contents of files",
    )
    assert await texts(empty_database_url) == before
    assert await stored(store) == other | same
    outcome, _ = await restored(empty_database_url, store, source.backup, force=True)
    assert (outcome.copied.kept, outcome.copied.removed) == (1, len(other))
    assert await texts(empty_database_url) == await texts(source.url)
    assert await stored(store) == source.contents


async def test_a_cancelled_restore_keeps_others_out_until_the_same_backup_finishes_it(
    source: Source, empty_database_url: str, tmp_path: Path
) -> None:
    store, loading = MemoryBlobs(), asyncio.Event()
    manifest = source.backup.manifest
    seen = Seen([], Doing.LOADING, loading.set)
    wanted = Wanted(source.backup.folder, manifest)
    task = asyncio.create_task(restore(empty_database_url, store, wanted, seen))
    await loading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    refusal = (
        rf"the restore of backup {manifest.digest[:12]}, begun \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC, has not "
        "finished: `less-sync restore BACKUP` with that backup finishes it"
    )
    for refused in (migrate_up(empty_database_url), migrate_down(empty_database_url)):
        with pytest.raises(MigrationError, match=refusal):
            await refused
    assert await version(empty_database_url) == NEWEST
    other = await make_backup(source.url, {}, tmp_path / "other")
    with pytest.raises(
        CommandError, match="has not finished here: finish it with that backup, or give it up"
    ):
        await restored(empty_database_url, store, other)
    await execute(
        empty_database_url, "INSERT INTO spaces (id, client_id) VALUES (gen_random_uuid(), 'stray')"
    )
    outcome, _ = await restored(empty_database_url, store, source.backup)
    assert (outcome.loaded, outcome.copied.kept) == (True, len(source.contents))
    assert await texts(empty_database_url) == await texts(source.url)
