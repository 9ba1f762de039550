"""`backup`: what it does not take over, what it refuses, and what it says of what is not as it should be."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from less_sync.bins.backup.check import check_backup
from less_sync.bins.backup.folder import choose_folder, held_alone
from less_sync.bins.backup.keep import keep_newest
from less_sync.bins.backup.manifest import (
    BackupError,
    Fault,
    finished_backups,
    read_manifest,
)
from less_sync.bins.backup.source import connected
from less_sync.bins.backup.take import Backup, Wanted
from less_sync.bins.backup.watching import Part
from less_sync.migrations import migrate_up
from less_sync.migrations.schema import TABLES
from less_sync.storage import BlobKey, LocalBlobs, Opened
from tests.bins.backup.source import CONTENTS, Seen, Source, assert_whole

TERMINATE = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE application_name = 'less-sync-backup' AND datname = current_database()"""


async def test_a_content_of_the_same_length_under_another_cursor_is_copied(source: Source) -> None:
    await source.take()
    key, data = next((key, data) for key, data in source.contents.items() if data)
    await source.replace(key, bytes(len(data)))
    await assert_whole(source, await source.take())


async def test_a_content_that_was_replaced_behind_its_row_is_copied(source: Source) -> None:
    await source.take()
    key, data = next((key, data) for key, data in source.contents.items() if data)
    path = source.data_dir.parent / "files" / key.path
    before = path.stat()
    source.contents[key] = bytes(len(data))
    path.write_bytes(source.contents[key])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copying tool would
    second = await source.take()
    assert second.contents.taken_over == CONTENTS - 1
    await assert_whole(source, second)


async def test_a_full_backup_shares_nothing(source: Source) -> None:
    await source.take()
    second = await source.take(full=True)
    assert second.contents.taken_over == 0
    assert {source.copy_of(second, key).stat().st_nlink for key in source.contents} == {1}


async def test_a_backup_whose_notes_were_changed_gives_nothing(source: Source) -> None:
    first = await source.take()
    notes = first.folder / "sources.jsonl"
    notes.write_bytes(notes.read_bytes().replace(b'"cursor":5', b'"cursor":6'))
    second = await source.take()
    assert second.contents.taken_over == 0
    await assert_whole(source, second)


async def test_a_backup_of_another_database_gives_nothing(source: Source, tmp_path: Path) -> None:
    first = await source.take()
    connection = await asyncpg.connect(source.url)
    try:
        name = f"{await connection.fetchval('SELECT current_database()')}_other"
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    other_url = source.url.replace(name.removesuffix("_other"), name)
    try:
        await migrate_up(other_url)
        other = Source(other_url, source.data_dir, {}, source.store)
        taken = await other.take(tmp_path / "other")
        assert taken.manifest.contents.count == 0
        with pytest.raises(BackupError, match="backup of another database"):
            await other.take(tmp_path / "third", base=first.folder)
    finally:
        await source.execute(f'DROP DATABASE "{name}"')


async def test_a_content_that_was_replaced_meanwhile_is_none_of_the_row(source: Source) -> None:
    key = next(iter(source.contents))

    class Overwritten(LocalBlobs):
        """A store that a server without the lock writes to while contents are copied."""

        def open(self, wanted: BlobKey) -> AbstractAsyncContextManager[Opened | None]:  # type: ignore[override]
            return opened(super().open(wanted), wanted)

    @asynccontextmanager
    async def opened(
        inner: AbstractAsyncContextManager[Opened | None], wanted: BlobKey
    ) -> AsyncIterator[Opened | None]:
        if wanted == key:
            await source.replace(key, b"later")
        async with inner as found:
            yield found

    taken = await source.take(store=Overwritten(source.data_dir.parent / "files"))
    path = f"contents/{key.space}/{key.file}"
    assert taken.manifest.faults == (Fault(path, "missing"),)
    assert not (taken.folder / path).exists()


async def test_an_unknown_table_is_named(source: Source) -> None:
    await source.execute("CREATE TABLE somebody_elses (id int)")
    taken = await source.take()
    assert source.seen.warnings == [
        "table somebody_elses is none of this release's, and is not in the backup"
    ]
    assert len(taken.manifest.tables) == len(TABLES)


async def test_without_a_store_there_is_no_backup_unless_contents_are_left_out(source: Source) -> None:
    def backup(*, contents: bool) -> Backup:
        wanted = Wanted(source.data_dir, contents=contents)
        return Backup(wanted, None, source.seen, chosen=lambda _: None)

    with pytest.raises(BackupError, match="names 12 files and no store of contents is set"):
        await backup(contents=True).make(source.url)
    taken = await backup(contents=False).make(source.url)
    assert {fault.fault for fault in taken.manifest.faults} == {"left out"}
    assert len(taken.manifest.faults) == CONTENTS


async def test_two_backups_of_a_database_at_once_are_refused(source: Source, tmp_path: Path) -> None:
    async with connected(source.url) as other:
        await other.lock(lambda: None)
        with pytest.raises(BackupError, match="another backup of this database is under way"):
            await source.take(tmp_path / "one")
    await source.take(tmp_path / "one")


async def test_two_backups_in_one_folder_are_refused(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    async with connected(source.url) as other:
        choose_folder(folder, source.data_dir, other.entry, source.moment)
        with held_alone(folder), pytest.raises(BackupError, match="another process makes a backup in"):
            await source.take(folder)
    await assert_whole(source, await source.take(folder))


async def test_a_lost_lock_ends_the_backup(source: Source) -> None:
    def cut() -> None:
        with ThreadPoolExecutor(1) as thread:  # so that the backup does not go on before it is done
            thread.submit(asyncio.run, source.execute(TERMINATE)).result()

    source.seen.at, source.seen.act = Part.CONTENTS, cut
    with pytest.raises(BackupError, match=r"the database was lost|the lock of backups was lost"):
        await source.take()
    assert finished_backups(source.data_dir / "backups") == []
    source.seen.at = ""
    await assert_whole(source, await source.take())


async def test_a_folder_with_something_else_in_it_is_refused(source: Source, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(BackupError, match="holds something already"):
        await source.take(tmp_path / "mine")
    taken = await source.take(tmp_path / "one")
    with pytest.raises(BackupError, match="holds something already"):
        await source.take(tmp_path / "one")
    assert read_manifest(taken.folder) == taken.manifest


async def test_a_store_that_is_away_ends_the_backup(source: Source) -> None:
    away = LocalBlobs(source.data_dir / "not mounted")
    backup = Backup(Wanted(source.data_dir), away, source.seen, chosen=lambda _: None, pauses_s=())
    with pytest.raises(BackupError, match="the store of files failed"):
        await backup.make(source.url)
    assert finished_backups(source.data_dir / "backups") == []


@pytest.mark.parametrize("fault", ["changed", "missing", "extra"])
async def test_a_check_finds_what_is_wrong(source: Source, fault: str) -> None:
    taken = await source.take()
    victim = source.copy_of(taken, next(key for key, data in source.contents.items() if data))
    act: dict[str, Callable[[], object]] = {
        "changed": lambda: victim.write_bytes(bytes(victim.stat().st_size)),
        "missing": victim.unlink,
        "extra": lambda: victim.with_name("extra").write_bytes(b""),
    }
    act[fault]()
    words = {"changed": "another SHA-256", "missing": "is missing", "extra": "does not name: contents/"}
    with pytest.raises(BackupError, match=words[fault]):
        await check_backup(taken.folder, taken.manifest, Seen())


async def test_older_backups_go_and_their_shared_contents_stay(source: Source) -> None:
    taken = [await source.take() for _ in range(4)]
    removed = await asyncio.to_thread(keep_newest, taken[-1].folder, taken[-1].manifest, 2)
    assert removed == [taken[0].folder, taken[1].folder]
    assert sorted(path.name for path in taken[0].folder.parent.iterdir()) == [
        taken[2].folder.name,
        taken[3].folder.name,
    ]
    await assert_whole(source, taken[3])


async def test_a_backup_that_cannot_be_named_as_the_newest_is_one(source: Source) -> None:
    (source.data_dir / "last-backup.json").mkdir(parents=True)
    await assert_whole(source, await source.take())
    assert source.seen.warnings == [
        "last-backup.json names another one, as it cannot be written: Is a directory"
    ]


async def test_no_table_is_emptied_between_the_snapshot_and_its_copy(source: Source) -> None:
    async def truncate(name: str) -> None:
        connection = await asyncpg.connect(source.url, server_settings={"lock_timeout": "20"})
        try:
            await connection.execute(f"TRUNCATE {name} CASCADE")
        finally:
            await connection.close()

    def all_at_once() -> None:
        for name in TABLES:
            with ThreadPoolExecutor(1) as other, pytest.raises(asyncpg.LockNotAvailableError):
                other.submit(asyncio.run, truncate(name)).result()

    source.seen.at, source.seen.act = Part.TABLES, all_at_once
    await assert_whole(source, await source.take())


async def test_the_backup_just_made_stays_though_the_clock_went_back(source: Source) -> None:
    before = [await source.take() for _ in range(2)]
    source.moment -= timedelta(days=3)
    last = await source.take()
    removed = await asyncio.to_thread(keep_newest, last.folder, last.manifest, 2)
    assert removed == [before[0].folder]
    assert await asyncio.to_thread(keep_newest, last.folder, last.manifest, 1) == [before[1].folder]
    await assert_whole(source, last)


async def test_only_backups_that_lie_beside_go(source: Source) -> None:
    first, last = [await source.take() for _ in range(2)]
    place, elsewhere = first.folder.parent, source.data_dir / "elsewhere"
    first.folder.rename(elsewhere)
    first.folder.symlink_to(elsewhere)
    hidden = place / ".going-to-paris"
    hidden.mkdir()
    left = place / ".less-sync-going-20250101T000000Z"  # by a process that was killed
    left.mkdir()
    assert await asyncio.to_thread(keep_newest, last.folder, last.manifest, 1) == []
    assert read_manifest(elsewhere) == first.manifest
    assert set(place.iterdir()) == {first.folder, last.folder, hidden}


async def test_a_backup_lets_removals_go_on_while_it_reads_back(source: Source) -> None:
    held: list[asyncio.Future[bool]] = []

    async def ask() -> bool:
        connection = await asyncpg.connect(source.url)
        try:
            return bool(
                await connection.fetchval(
                    "SELECT pg_try_advisory_lock_shared(hashtextextended('less-sync:backup', 0))"
                )
            )
        finally:
            await connection.close()

    def look() -> None:
        held.append(asyncio.ensure_future(ask()))

    source.seen.at, source.seen.act = Part.VERIFYING, look
    await source.take()
    assert await held[0]
