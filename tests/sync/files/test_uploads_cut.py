"""Uploads that lose something between content and row: the right to write, or the database."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.storage import BlobKey
from tests.integration.waiting import until
from tests.live import Live, Person, cid_of, live_server
from tests.sync.file_requests import Shelf, b64, dek, shelf, told
from tests.sync.files.faulty import FaultyBlobs, Gate
from tests.sync.http.test_files import as_person, shared


@pytest.fixture
def blobs() -> FaultyBlobs:
    return FaultyBlobs()


@pytest.fixture
async def live(database_url: str, blobs: FaultyBlobs) -> AsyncIterator[Live]:
    async with live_server(database_url, blobs=blobs) as running:
        yield running


async def end_the_transactions_that_hold_locks(database_url: str) -> None:
    con = await asyncpg.connect(database_url)
    try:
        ended = await con.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'idle in transaction' AND application_name = 'less-sync'"
        )
        assert len(ended) == 1
    finally:
        await con.close()


async def test_who_is_revoked_while_the_content_is_stored_leaves_neither(
    live: Live, blobs: FaultyBlobs
) -> None:
    theirs, owner = await shared(live)
    bob, file = Person("bob"), uuid4()
    write = owner.grant(bob, theirs.space)
    blobs.after_publish = gate = Gate()
    putting = asyncio.create_task(as_person(theirs, bob, write).put(file, b"too late"))
    await gate.reached.wait()
    revoking = {"space": theirs.space, "ucan": theirs.more["x-ucan"], "ucan_cid": cid_of(write)}
    await theirs.client.call("membership.revoke", revoking)
    gate.open.set()
    assert told(await putting) == (403, "access denied")
    assert await blobs.find(BlobKey(UUID(theirs.space), file)) is None
    assert told(await theirs.get(file)) == (404, "file not found")


async def test_a_database_lost_between_content_and_row_is_500_and_the_retry_replaces_both(
    live: Live, blobs: FaultyBlobs, database_url: str
) -> None:
    own, file = await shelf(live), uuid4()
    await own.client.subscribe()
    blobs.after_publish = gate = Gate()
    putting = asyncio.create_task(own.put(file, b"first", key=dek(b"\x01")))
    await gate.reached.wait()
    await end_the_transactions_that_hold_locks(database_url)
    gate.open.set()
    assert told(await putting) == (500, "internal error")
    assert told(await own.get(file)) == (404, "file not found")
    assert (await own.put(file, b"again", key=dek(b"\x02"))).status == 201
    got = await own.get(file)
    assert (got.body, got.header("x-wrapped-dek")) == (b"again", b64(dek(b"\x02")))
    # Looking after the first one's unknown outcome may meet the second one's row, and then says: pull.
    heard = await own.client.methods_heard()
    assert [method for method in heard if method != "sync"] == ["file"]


async def test_of_two_files_of_a_record_the_removal_of_one_does_not_take_the_other(
    live: Live, blobs: FaultyBlobs
) -> None:
    own = await shelf(live)
    kept = Shelf(live, own.client, str(uuid4()))
    assert (await own.client.push({"id": kept.record, "expected_cursor": 0, "blob": b"y"}))["ok"]
    gone, stays = uuid4(), uuid4()
    assert (await own.put(gone, b"gone")).status == (await kept.put(stays, b"stays")).status == 201
    assert (await own.delete_record())["ok"]

    async def removed() -> bool:
        return await blobs.find(BlobKey(UUID(own.client.space), gone)) is None

    await until(removed)
    assert (await kept.get(stays)).body == b"stays"
