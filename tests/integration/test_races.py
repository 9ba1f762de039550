"""Pushes, subscriptions and pulls of several devices at once, on real sockets and a real database."""

import asyncio
import os
import random
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.sync.protocol.frames import Notification
from tests.integration.waiting import until
from tests.live import Client, Live, live_server


def change(blob: bytes = b"x", id: str = "", expected_cursor: int = 0) -> dict[str, object]:
    return {"id": id or str(uuid4()), "blob": blob, "expected_cursor": expected_cursor}


async def device(live: Live, number: int) -> Client:
    """One more connection of the same user, with a mailbox of its own so that none is refused."""
    return await live.connect(mailbox_id=f"{number:064x}")


async def announced(client: Client, until: int) -> list[Mapping[str, Any]]:
    """The `sync` notifications that came and come, up to the one with cursor `until`."""
    notices: list[Mapping[str, Any]] = []
    while not notices or notices[-1]["cursor"] < until:
        frame = await client.next()
        assert isinstance(frame, Notification), frame
        notices.append(frame.params)  # type: ignore[arg-type]  # decoded CBOR
    return notices


async def test_every_push_around_a_subscription_is_in_its_cursor_or_notified(database_url: str) -> None:
    async with live_server(database_url) as live:
        pusher = await device(live, 0)
        stop = asyncio.Event()
        last = 0

        async def push_on() -> None:
            nonlocal last
            while not stop.is_set():
                last = (await pusher.push(change()))["cursor"]

        pushing = asyncio.create_task(push_on())
        subscribers, cursors = [], []
        for number in range(1, 13):
            client = await device(live, number)
            answer = await client.subscribe()
            subscribers.append(client)
            cursors.append(answer["spaces"][0]["cursor"])
        stop.set()
        await pushing
        last = (await pusher.push(change()))["cursor"]
        for client, cursor in zip(subscribers, cursors, strict=True):
            seen = [notice["cursor"] for notice in await announced(client, last)]
            assert seen == list(range(seen[0], last + 1))
            assert seen[0] <= cursor + 1


async def test_racing_pushes_are_announced_to_everybody_in_cursor_order(database_url: str) -> None:
    pushers_count, each = 6, 40
    async with live_server(database_url) as live:
        listeners = [await device(live, number) for number in range(2)]
        for listener in listeners:
            await listener.subscribe()
        pushers = [await device(live, 10 + number) for number in range(pushers_count)]

        async def push_all(client: Client) -> None:
            ids = [client.send("push", {"space": client.space, "changes": [change()]}) for _ in range(each)]
            for id in ids:
                response, _ = await client.response(id)
                assert response.error is None

        await asyncio.gather(*map(push_all, pushers))
        for listener in listeners:
            notices = await announced(listener, pushers_count * each)
            assert [notice["cursor"] for notice in notices] == list(range(1, pushers_count * each + 1))
            assert all(notice["prev"] == notice["cursor"] - 1 for notice in notices)
            assert all(notice["records"][0]["cursor"] == notice["cursor"] for notice in notices)


async def test_a_pull_is_one_snapshot_while_others_push(database_url: str) -> None:
    async with live_server(database_url) as live:
        pusher, reader = await device(live, 0), await device(live, 1)
        for _ in range(6):  # beyond the first page of a pull
            await pusher.push(*(change() for _ in range(100)))
        stop = asyncio.Event()

        async def push_on() -> None:
            while not stop.is_set():
                await pusher.push(change())

        pushing = asyncio.create_task(push_on())
        for _ in range(8):
            (first, begin), *entries, (end, commit) = await reader.pull()
            assert (first, end) == ("pull.begin", "pull.commit")
            cursor = begin["cursor"]
            assert [entry["cursor"] for _, entry in entries] == [
                at for at in range(1, cursor + 1) for _ in range(100 if at <= 6 else 1)
            ]
            assert commit["cursor"] == cursor
            assert commit["count"] == len(entries)
        stop.set()
        await pushing


async def test_a_device_that_pulls_from_its_cursor_ends_with_what_the_others_wrote(database_url: str) -> None:
    chance = random.Random(7)
    async with live_server(database_url) as live:
        writer, reader = await device(live, 0), await device(live, 1)
        written: dict[str, tuple[int, bytes | None]] = {}
        ids = [str(uuid4()) for _ in range(40)]

        async def write() -> None:
            for _ in range(300):
                id = chance.choice(ids)
                blob = None if chance.random() < 0.2 else os.urandom(chance.randrange(64))
                expected = written[id][0] if id in written else 0
                edit = {"id": id, "blob": blob, "expected_cursor": expected}
                written[id] = (await writer.push(edit))["cursor"], blob

        writing = asyncio.create_task(write())
        state: dict[str, tuple[int, bytes | None]] = {}
        cursor, done = 0, False
        while not done:
            done = writing.done()
            (_, begin), *entries, _ = await reader.pull(since=cursor)
            state |= {entry["id"]: (entry["cursor"], entry.get("blob")) for _, entry in entries}
            cursor = begin["cursor"]
        await writing
        alive = {id: entry for id, entry in written.items() if entry[1] is not None}
        assert {id: entry for id, entry in state.items() if entry[1] is not None} == alive


RECORDS, BLOB_BYTES = 6000, 8192
"""48 MB: more than socket buffers take, so that a pull whose reader sleeps stays under way."""

READING = """SELECT pid FROM pg_stat_activity WHERE datname = current_database()
    AND state = 'idle in transaction' AND query LIKE '%records%'"""


async def fill(database: "asyncpg.Connection[asyncpg.Record]", space: str) -> None:
    await database.execute("INSERT INTO spaces (id, client_id, cursor) VALUES ($1, 'c', 1)", UUID(space))
    await database.execute(
        "INSERT INTO records (id, space_id, blob, cursor) "
        "SELECT gen_random_uuid(), $1, decode(repeat('ab', $2), 'hex'), 1 FROM generate_series(1, $3)",
        UUID(space),
        BLOB_BYTES,
        RECORDS,
    )


async def backends_of_pulls(database: "asyncpg.Connection[asyncpg.Record]") -> list[int]:
    return [row["pid"] for row in await database.fetch(READING)]


async def stalled_pull(client: Client, database: "asyncpg.Connection[asyncpg.Record]") -> tuple[str, int]:
    """Begin a pull, stop reading, and wait until the server holds it; its id and its database backend."""
    id = client.send("pull", {"spaces": [{"id": client.space, "since": 0}]})
    await client.next()
    client.socket.stop_reading()
    pids = await until(lambda: backends_of_pulls(database))
    return id, pids[0]


@pytest.mark.one_connection
async def test_a_pull_that_breaks_midway_ends_in_an_error_without_commit(database_url: str) -> None:
    database = await asyncpg.connect(database_url)
    async with live_server(database_url) as live:
        client = await device(live, 0)
        await fill(database, client.space)
        id, pid = await stalled_pull(client, database)
        assert await database.fetchval("SELECT pg_terminate_backend($1)", pid)
        client.socket.resume_reading()
        response, chunks = await client.response(id)
        assert response.error is not None
        assert (response.error.code, response.error.message) == ("internal", "pull stream error")
        assert len(chunks) < RECORDS
        assert not [chunk for chunk in chunks if chunk.name == "pull.commit"]
        assert len(await client.pull()) == RECORDS + 2  # the connection and the server go on
    await database.close()


@pytest.mark.one_connection
async def test_a_reader_that_vanishes_in_mid_pull_frees_its_database_connection(database_url: str) -> None:
    database = await asyncpg.connect(database_url)
    async with live_server(database_url) as live:
        client = await device(live, 0)
        await fill(database, client.space)
        await stalled_pull(client, database)
        client.socket.abort()

        async def all_gone() -> bool:
            return not await backends_of_pulls(database)

        await until(all_gone)
        other = await device(live, 1)
        assert (await other.push(change()))["ok"] is True
    await database.close()
