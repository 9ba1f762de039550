"""Content, row and announcement of a file stay together, whatever happens between their steps."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.storage import BlobError, BlobKey
from less_sync.sync.files.removals import Removals
from less_sync.sync.files.space_files import SpaceFiles
from less_sync.sync.files.sweep import sweep_orphans
from less_sync.sync.limits import Limits
from tests.live import Live, live_server
from tests.sync.file_requests import Shelf, b64, dek, headers, path, shelf, told
from tests.sync.files.faulty import FaultyBlobs, Gate
from tests.sync.raw_http import connected

DAY_S = 24 * 3600.0


@pytest.fixture
def blobs() -> FaultyBlobs:
    return FaultyBlobs()


@pytest.fixture
async def live(database_url: str, blobs: FaultyBlobs) -> AsyncIterator[Live]:
    async with live_server(database_url, blobs=blobs) as running:
        yield running


@pytest.fixture
async def own(live: Live) -> Shelf:
    return await shelf(live)


def files_of(live: Live) -> SpaceFiles:
    assert live.services.files is not None
    return live.services.files


def key_of(own: Shelf, file: UUID) -> BlobKey:
    return BlobKey(UUID(own.client.space), file)


async def rows(database_url: str) -> list[Any]:
    con = await asyncpg.connect(database_url)
    try:
        return list(await con.fetch("SELECT id, size, wrapped_dek, cursor FROM files"))
    finally:
        await con.close()


async def execute(database_url: str, statement: str) -> None:
    con = await asyncpg.connect(database_url)
    try:
        await con.execute(statement)
    finally:
        await con.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.005)


def file_entry(own: Shelf, file: UUID, size: int, key: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"id": str(file), "record_id": own.record, "dek": key}
    return entry | ({"size": size} if size else {})


async def test_of_ten_uploads_at_once_one_wins_and_its_key_and_content_stay_together(own: Shelf) -> None:
    file = uuid4()
    listener = await own.live.connect()
    await listener.subscribe()
    answers = await asyncio.gather(
        *(own.put(file, b"%d" % number * 1000, key=dek(bytes([number]))) for number in range(10))
    )
    assert sorted(answer.status for answer in answers) == [201] + [204] * 9
    got = await own.get(file)
    winner = int(got.body[:1])
    assert got.body == b"%d" % winner * 1000
    assert got.header("x-wrapped-dek") == b64(dek(bytes([winner])))
    heard = [notice.params for notice in await listener.heard()]
    entry = file_entry(own, file, 1000, dek(bytes([winner])))
    assert heard == [{"space": own.client.space, "cursor": 2, "files": [entry]}]


@pytest.mark.parametrize("size", [0, 5])
async def test_every_subscriber_hears_of_a_file_in_its_own_spelling(own: Shelf, size: int) -> None:
    spelled = UUID(own.client.space).hex
    other = await own.live.connect()
    await own.client.subscribe()
    await other.subscribe(spelled)
    file = uuid4()
    await own.put(file, bytes(size))
    entry = file_entry(own, file, size, dek())
    for client, space in ((own.client, own.client.space), (other, spelled)):
        [notice] = await client.heard()
        assert (notice.method, notice.params) == ("file", {"space": space, "cursor": 2, "files": [entry]})


async def test_a_repeated_upload_is_not_announced(own: Shelf) -> None:
    file = uuid4()
    await own.put(file, b"x")
    await own.client.subscribe()
    assert (await own.put(file, b"x")).status == 204
    assert await own.client.heard() == []


async def test_deleting_a_record_removes_content_and_tells_everybody(own: Shelf, blobs: FaultyBlobs) -> None:
    files = [uuid4(), uuid4()]
    for file in files:
        await own.put(file, b"x")
    other = await own.live.connect()
    await other.subscribe()
    pushed = await own.delete_record()
    assert pushed["ok"]
    await until(lambda: not files_of(own.live).removals.pending)
    assert [await blobs.find(key_of(own, file)) for file in files] == [None, None]
    sync, removed = await other.heard()
    assert (sync.method, removed.method) == ("sync", "file")
    params: Any = removed.params
    assert params["cursor"] == pushed["cursor"]
    gone = [{"id": str(file), "record_id": own.record, "deleted": True} for file in files]
    assert sorted(params["files"], key=lambda one: str(one["id"])) == sorted(
        gone, key=lambda one: str(one["id"])
    )


async def test_a_tombstone_that_comes_while_a_content_is_stored_leaves_neither(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    blobs.before_publish = Gate()
    file = uuid4()
    putting = asyncio.create_task(own.put(file, b"x"))
    await blobs.before_publish.reached.wait()
    assert (await own.delete_record())["ok"]  # the space is not locked while a content is on its way
    blobs.before_publish.open.set()
    assert told(await putting) == (400, "record not found in this space")
    assert await rows(database_url) == []
    assert await blobs.find(key_of(own, file)) is None


async def test_a_content_whose_row_was_not_written_is_replaced_by_the_retry(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    file = uuid4()
    blobs.publish_fails = BlobError("its answer was lost")
    assert told(await own.put(file, b"attempt 1", key=dek(b"\x01"))) == (500, "internal error")
    assert await rows(database_url) == []
    assert told(await own.get(file)) == (404, "file not found")
    assert (await own.put(file, b"attempt 2", key=dek(b"\x02"))).status == 201
    got = await own.get(file)
    assert (got.body, got.header("x-wrapped-dek")) == (b"attempt 2", b64(dek(b"\x02")))


async def test_a_lost_content_is_repaired_with_its_key(own: Shelf, blobs: FaultyBlobs) -> None:
    file = uuid4()
    await own.put(file, b"lost", key=dek(b"\x01"))
    await blobs.remove(key_of(own, file))
    await own.client.subscribe()
    assert (await own.put(file, b"again", key=dek(b"\x02"))).status == 201
    got = await own.get(file)
    assert (got.body, got.header("x-wrapped-dek")) == (b"again", b64(dek(b"\x02")))
    [notice] = await own.client.heard()
    assert notice.params == {
        "space": own.client.space,
        "cursor": 3,
        "files": [file_entry(own, file, 5, dek(b"\x02"))],
    }


async def test_a_repair_that_dies_half_way_never_leaves_a_content_under_another_key(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    file = uuid4()
    await own.put(file, b"lost", key=dek(b"\x01"))
    await blobs.remove(key_of(own, file))
    blobs.publish_fails = BlobError("its answer was lost")
    assert (await own.put(file, b"half", key=dek(b"\x02"))).status == 500
    assert await rows(database_url) == []
    assert (await own.put(file, b"again", key=dek(b"\x03"))).status == 201
    got = await own.get(file)
    assert (got.body, got.header("x-wrapped-dek")) == (b"again", b64(dek(b"\x03")))


async def test_a_content_of_another_length_than_its_row_is_never_sent_and_is_replaced(
    own: Shelf, database_url: str
) -> None:
    file = uuid4()
    await own.put(file, b"12345")
    await execute(database_url, "UPDATE files SET size = 6")
    assert told(await own.get(file)) == (500, "internal error")
    assert (await own.put(file, b"again")).status == 201
    assert (await own.get(file)).body == b"again"


async def test_who_hangs_up_after_the_body_has_stored_the_file_all_the_same(
    own: Shelf, blobs: FaultyBlobs
) -> None:
    await own.client.subscribe()
    blobs.after_publish = Gate()
    file, body = uuid4(), b"12345"
    fields = {**headers(own.live, own.record), "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with connected(own.live.port) as connection:
        head = f"PUT {path(own.client.space, file)} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"
        connection.send(head.encode() + body)
        await blobs.after_publish.reached.wait()
    blobs.after_publish.open.set()
    notice = await own.client.next()
    assert getattr(notice, "method", "") == "file"
    assert (await own.get(file)).body == body


async def test_who_hangs_up_in_the_middle_leaves_nothing(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    file = uuid4()
    fields = {**headers(own.live, own.record), "content-length": "100000"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with connected(own.live.port) as connection:
        head = f"PUT {path(own.client.space, file)} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"
        connection.send(head.encode() + bytes(50_000))
        await until(lambda: blobs.staged == 1)
    await until(lambda: blobs.staged == 0)
    assert await rows(database_url) == []
    assert await blobs.find(key_of(own, file)) is None
    assert (await own.put(file, b"x")).status == 201


async def test_a_lock_that_was_lost_on_the_way_stops_the_content_from_showing(
    own: Shelf, blobs: FaultyBlobs, database_url: str
) -> None:
    blobs.before_publish = Gate()
    file = uuid4()
    slow = asyncio.create_task(own.put(file, b"slow", key=dek(b"\x01")))
    await blobs.before_publish.reached.wait()
    in_lock = "state = 'idle in transaction' AND application_name = 'less-sync'"
    await execute(
        database_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND {in_lock}",
    )
    gate, blobs.before_publish = blobs.before_publish, None
    gate.open.set()
    assert told(await slow) == (500, "internal error")
    assert await blobs.find(key_of(own, file)) is None
    assert (await own.put(file, b"fast", key=dek(b"\x02"))).status == 201
    got = await own.get(file)
    assert (got.body, got.header("x-wrapped-dek")) == (b"fast", b64(dek(b"\x02")))


async def test_no_more_than_four_contents_are_on_their_way_to_the_store(
    own: Shelf, blobs: FaultyBlobs
) -> None:
    blobs.before_publish = Gate()
    putting = [asyncio.create_task(own.put(uuid4(), b"x")) for _ in range(10)]
    await blobs.before_publish.reached.wait()
    await until(lambda: own.live.services.announce.writes_under_way == 10)
    pool: Any = files_of(own.live).store
    assert sum(pool._places._held.values()) == 4
    assert await own.client.pull() != []  # there are connections for others
    blobs.before_publish.open.set()
    assert [(await one).status for one in putting] == [201] * 10


# Removal.


async def test_a_removal_that_fails_is_tried_again_and_does_not_fail_the_push(
    own: Shelf, blobs: FaultyBlobs
) -> None:
    files_of(own.live).removals = Removals(files_of(own.live).store, blobs, pauses_s=(0.0, 0.0, 0.0))
    file = uuid4()
    await own.put(file, b"x")
    blobs.removals_fail = 3
    assert (await own.delete_record())["ok"]
    await until(lambda: not files_of(own.live).removals.pending)
    assert blobs.removals_tried == 4
    assert await blobs.find(key_of(own, file)) is None


async def test_a_removal_gives_up_after_its_last_attempt(own: Shelf, blobs: FaultyBlobs) -> None:
    files_of(own.live).removals = Removals(files_of(own.live).store, blobs, pauses_s=(0.0, 0.0))
    file = uuid4()
    await own.put(file, b"x")
    blobs.removals_fail = 9
    assert (await own.delete_record())["ok"]
    await until(lambda: not files_of(own.live).removals.pending)
    assert blobs.removals_tried == 3
    assert await blobs.find(key_of(own, file)) is not None


async def test_a_removal_leaves_a_content_that_has_a_row_again(own: Shelf, blobs: FaultyBlobs) -> None:
    file = uuid4()
    await own.put(file, b"x")
    await files_of(own.live).removals.remove(key_of(own, file))
    assert await blobs.find(key_of(own, file)) is not None


async def test_what_is_closed_removes_what_waits_and_takes_nothing_more(
    own: Shelf, blobs: FaultyBlobs
) -> None:
    removals = Removals(files_of(own.live).store, blobs, pauses_s=(3600.0,))
    orphan = key_of(own, uuid4())
    blobs.removals_fail = 1
    removals.add(orphan.space, [orphan.file])
    await until(lambda: blobs.removals_tried == 1 and removals._due)
    await removals.aclose(5.0)
    assert (blobs.removals_tried, removals.pending) == (2, 0)
    removals.add(orphan.space, [orphan.file])
    assert removals.pending == 0


async def test_the_sweep_removes_old_contents_without_a_row_alone(own: Shelf, blobs: FaultyBlobs) -> None:
    files = files_of(own.live)
    kept = uuid4()
    await own.put(kept, b"x")
    orphan = key_of(own, uuid4())
    async with blobs.stage(orphan) as staged:
        await staged.publish(lambda: asyncio.sleep(0))
    assert await sweep_orphans(files.store, blobs, files.removals) == 0  # it is young
    assert await sweep_orphans(files.store, blobs, files.removals, now=lambda: time.time() + DAY_S) == 1
    assert await blobs.find(orphan) is None
    assert (await own.get(kept)).body == b"x"


# Turns.


async def test_who_uploads_slowly_holds_up_nobody_else(database_url: str, blobs: FaultyBlobs) -> None:
    limits = Limits(file_uploads_at_once=3, file_uploads_per_person=2)
    async with live_server(database_url, limits, blobs=blobs) as live, AsyncExitStack() as stack:
        own, other = await shelf(live), await shelf(live, "bob")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers(live, own.record).items())
        for _ in range(5):
            connection = await stack.enter_async_context(connected(live.port))
            target = path(own.client.space, uuid4())
            connection.send(f"PUT {target} HTTP/1.1\r\nHost: h\r\n{lines}content-length: 9\r\n\r\nx".encode())
        await until(lambda: blobs.staged == 2)
        assert (await other.put(uuid4(), b"x")).status == 201
        assert blobs.staged == 2


async def test_a_body_that_stalls_is_408_and_leaves_nothing(database_url: str, blobs: FaultyBlobs) -> None:
    async with live_server(database_url, Limits(file_body_stall_s=0.1), blobs=blobs) as live:
        own = await shelf(live)
        fields = {**headers(live, own.record), "content-length": "5"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        async with connected(live.port) as connection:
            head = f"PUT {path(own.client.space, uuid4())} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"
            connection.send(head.encode() + b"123")
            answer = await connection.receive()
            assert told(answer) == (408, "request timeout")
            assert answer.header("connection") == "close"
        assert blobs.staged == 0
        assert await rows(database_url) == []


async def test_whoever_hangs_up_while_waiting_leaves_a_queue_that_does_not_grow(
    database_url: str, blobs: FaultyBlobs
) -> None:
    limits = Limits(file_uploads_at_once=2, file_uploads_per_person=1, file_requests_waiting_per_person=3)
    async with live_server(database_url, limits, blobs=blobs) as live:
        own, other = await shelf(live), await shelf(live, "bob")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers(live, own.record).items())
        target = path(own.client.space, uuid4())
        head = f"PUT {target} HTTP/1.1\r\nHost: h\r\n{lines}content-length: 1\r\n\r\n".encode()
        turns = files_of(live)._uploading
        async with connected(live.port) as slow:
            slow.send(head)
            await until(lambda: blobs.staged == 1)
            for count in (1, 2, 3):
                async with connected(live.port) as connection:
                    connection.send(head)
                    await until(lambda count=count: sum(map(len, turns._waiting.values())) == count)
            refused = await own.put(uuid4(), b"x")
            assert told(refused) == (429, "too many requests are waiting")
            assert refused.header("retry-after") == "5"
            assert (await other.put(uuid4(), b"x")).status == 201
            slow.send(b"x")
            assert (await slow.receive()).status == 201
        await until(lambda: blobs.staged == 0)
        assert (await own.put(uuid4(), b"x")).status == 201
