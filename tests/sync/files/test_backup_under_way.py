"""While a backup is under way contents stay as they are; everything else goes on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.storage import FileLock, FileStore
from less_sync.sync.files.removals import REMOVALS_AT_ONCE, HeldByBackup, Removals
from less_sync.sync.files.sweep import sweep_orphans
from tests.live import Live, live_server
from tests.sync.file_requests import Shelf, dek, shelf, told
from tests.sync.files.faulty import FaultyBlobs, Gate
from tests.sync.files.test_consistency import DAY_S, execute, files_of, key_of, rows, until

LOCK = "hashtextextended('less-sync:backup', 0)"
WAITING = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND NOT granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
REFUSED = (503, "a backup is under way")


@pytest.fixture
def blobs() -> FaultyBlobs:
    return FaultyBlobs()


@pytest.fixture
async def own(database_url: str, blobs: FaultyBlobs) -> AsyncIterator[Shelf]:
    async with live_server(database_url, blobs=blobs) as live:
        yield await shelf(live)


@asynccontextmanager
async def backup(database_url: str) -> AsyncIterator[None]:
    """Hold what a backup holds from before its snapshot to its end."""
    con = await asyncpg.connect(database_url)
    try:
        await con.execute(f"SELECT pg_advisory_lock({LOCK})")
        yield
    finally:
        await con.close()


def patient(live: Live, blobs: FaultyBlobs, *, backup_pause_s: float) -> Removals:
    """Removals whose pause the test chooses, in place of the server's."""
    files = files_of(live)
    files.removals = Removals(files.store, blobs, backup_pause_s=backup_pause_s)
    return files.removals


async def test_a_content_waits_for_the_end_of_a_backup_to_be_removed(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    removals = patient(own.live, blobs, backup_pause_s=0.05)
    files = [uuid4() for _ in range(20)]
    for file in files:
        await own.put(file, b"x")
    async with backup(database_url):
        assert (await own.delete_record())["ok"]
        await asyncio.sleep(0.3)
        assert (removals.pending, blobs.removals_tried) == (20, 0)
        assert all([await blobs.find(key_of(own, file)) for file in files])
    await until(lambda: not removals.pending)
    assert blobs.removals_tried == 20
    assert [await blobs.find(key_of(own, file)) for file in files] == [None] * 20


class CountingStore:
    """Rows of files, and how often a lock was asked for."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.locks = 0
        self.look = store.look
        self.known = store.known

    def lock(self, space: UUID, file: UUID, *, user: str) -> AbstractAsyncContextManager[FileLock]:
        self.locks += 1
        return self._store.lock(space, file, user=user)


async def test_a_queue_that_a_backup_holds_asks_once_a_pause(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    counting = CountingStore(files_of(own.live).store)
    removals = Removals(counting, blobs, backup_pause_s=3600.0)
    space = key_of(own, uuid4()).space
    async with backup(database_url):
        removals.add(space, [uuid4() for _ in range(100)])
        await until(lambda: counting.locks)
        removals.add(space, [uuid4() for _ in range(100)])
        await asyncio.sleep(0.2)
        assert counting.locks <= REMOVALS_AT_ONCE
        assert removals.pending == 200
        await removals.aclose(5.0)  # asks once more and waits for nothing
    assert counting.locks <= 2 * REMOVALS_AT_ONCE
    assert blobs.removals_tried == 0


async def test_new_files_are_stored_while_a_backup_is_under_way(own: Shelf, database_url: str) -> None:
    there, new = uuid4(), uuid4()
    await own.put(there, b"old")
    async with backup(database_url):
        assert (await own.put(new, b"new")).status == 201
        assert (await own.put(there, b"again")).status == 204
        assert (await own.get(new)).body == b"new"


async def test_no_content_takes_the_place_of_one_that_a_backup_may_still_read(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    patient(own.live, blobs, backup_pause_s=3600.0)
    file = uuid4()
    await own.put(file, b"first", key=dek(b"\x01"))
    async with backup(database_url):
        await execute(database_url, "DELETE FROM files")  # as a tombstone does; its content is still to go
        answer = await own.put(file, b"other", key=dek(b"\x02"))
        assert (told(answer), answer.header("retry-after")) == (REFUSED, "5")
        async with blobs.open(key_of(own, file)) as opened:
            assert opened is not None
            assert b"".join([chunk async for chunk in opened.chunks()]) == b"first"
    assert (await own.put(file, b"other", key=dek(b"\x02"))).status == 201


async def test_a_lost_content_is_not_repaired_while_a_backup_is_under_way(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    file = uuid4()
    await own.put(file, b"lost")
    await blobs.remove(key_of(own, file))
    before = await rows(database_url)
    async with backup(database_url):
        assert told(await own.put(file, b"again")) == REFUSED
        assert await rows(database_url) == before
    assert (await own.put(file, b"again")).status == 201


async def test_a_backup_waits_for_uploads_that_publish_and_nobody_joins_them(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    blobs.before_publish = Gate()
    first, second = uuid4(), uuid4()
    putting = asyncio.create_task(own.put(first, b"x"))
    await blobs.before_publish.reached.wait()
    con = await asyncpg.connect(database_url)
    try:
        waiting = asyncio.create_task(con.execute(f"SELECT pg_advisory_lock({LOCK})"))
        await _until_waiting(database_url)
        files = files_of(own.live)
        async with files.store.lock(*key_of(own, second), user="u") as lock:
            assert lock.held_by_backup  # though none has begun: who waits comes first
        blobs.before_publish.open.set()
        assert (await putting).status == 201
        await waiting
    finally:
        await con.close()


async def _until_waiting(database_url: str) -> None:
    con = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(20):
            while not await con.fetchval(WAITING):  # noqa: ASYNC110  what is waited for tells nobody
                await asyncio.sleep(0.01)
    finally:
        await con.close()


async def test_the_sweep_leaves_everything_to_its_next_turn(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    files = files_of(own.live)
    orphans = [key_of(own, uuid4()) for _ in range(3)]
    for orphan in orphans:
        async with blobs.stage(orphan) as staged:
            await staged.publish(lambda: asyncio.sleep(0))

    async def sweep() -> int:
        return await sweep_orphans(files.store, blobs, files.removals, now=lambda: time.time() + DAY_S)

    async with backup(database_url):
        assert await sweep() == 0
        with pytest.raises(HeldByBackup):
            await files.removals.remove(orphans[0])
    assert blobs.removals_tried == 0
    assert await sweep() == 3
