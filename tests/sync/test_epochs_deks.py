"""Key rotation over real sockets: epochs that race, listings of DEKs, re-wrapping, and a large space."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import cbor2
import pytest

from less_sync.auth import Permission
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Chunk, Response, encode_request
from tests.bench.usage import peak_bytes, reset_peak
from tests.live import ISSUER, Client, Live, Person, claims, live_server
from tests.wire.client import KEEPALIVE, Message, Socket, open_socket
from tests.wire.issuer import AUDIENCE, new_issuer, served_key_set
from tests.wire.process import ServerProcess

MIB = 1024 * 1024
FRAME_BYTES_MAX = 4 * MIB
CHANGED = ("conflict", "DEK record changed since it was read")
STALE = ("conflict", "DEK epoch does not match current key generation")
NOT_FOUND = ("bad_request", "one or more DEK records were not found")


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


def dek(epoch: int, fill: int = 0) -> bytes:
    return epoch.to_bytes(4, "big") + bytes([fill]) * 40


def record(id: str = "", epoch: int = 1, expected_cursor: int = 0) -> dict[str, object]:
    return {"id": id or str(uuid4()), "blob": b"x", "expected_cursor": expected_cursor, "dek": dek(epoch)}


def wrapped(ids: Sequence[str], epoch: int, fill: int = 0) -> list[dict[str, object]]:
    return [{"id": id, "dek": dek(epoch, fill)} for id in ids]


async def filled(client: Client, count: int) -> list[str]:
    """Push `count` records, one at a time, and return their ids in the order of their cursors."""
    ids = [str(uuid4()) for _ in range(count)]
    for id in ids:
        assert (await client.push(record(id)))["ok"]
    return ids


async def listing(client: Client, method: str = "deks.get", **params: object) -> list[Any]:
    """The entries of a listing: the same in the chunks and in the result."""
    response, chunks = await client.response(client.send(method, {"space": client.space, **params}))
    entries = [chunk.data for chunk in chunks]
    assert response.result == {"deks": entries, "_chunks": len(entries)}
    names = {chunk.name for chunk in chunks}
    assert names <= {"deks.record" if method == "deks.get" else "deks.files.record"}
    return entries


async def rewrap(client: Client, entries: Sequence[object], method: str = "deks.rewrap") -> object:
    """The result, or code and message of the error."""
    params = {"space": client.space, "deks": list(entries)}
    response, _ = await client.response(client.send(method, params))
    return response.result if response.error is None else (response.error.code, response.error.message)


async def begin(client: Client, epoch: int, **params: object) -> Any:
    return await client.call("epoch.begin", {"space": client.space, "epoch": epoch, **params})


async def test_of_devices_that_begin_an_epoch_together_one_wins_and_the_others_hear_which(
    live: Live,
) -> None:
    clients = [await live.connect(mailbox_id=f"{number:064x}") for number in range(5)]
    for epoch in range(2, 7):
        answers = await asyncio.gather(*(begin(client, epoch) for client in clients))
        assert answers.count({"epoch": epoch}) == 1
        lost = {"error": "epoch_conflict", "current_epoch": epoch, "rewrap_epoch": epoch}
        assert answers.count(lost) == 4
        done = [client.send("epoch.complete", {"space": client.space, "epoch": epoch}) for client in clients]
        responses = [(await client.response(id))[0] for client, id in zip(clients, done, strict=True)]
        errors = [(one.error.code, one.error.message) for one in responses if one.error is not None]
        assert errors == [("conflict", "epoch mismatch")] * 4
        assert (await clients[0].push(record()))["cursor"] == epoch - 1  # epochs do not move the cursor


async def test_an_epoch_of_a_shared_space_is_the_administrators_and_shows_in_every_answer(
    live: Live,
) -> None:
    alice, bob = Person("alice"), Person("bob")
    owner, member = await live.join(alice), await live.join(bob)
    space = await owner.create_space(alice)
    hers, his = alice.grant(alice, space, Permission.ADMIN), alice.grant(bob, space)
    await member.subscribe(space, ucan=his)
    params = {"space": space, "epoch": 2, "set_min_key_generation": True}
    assert await member.error("epoch.begin", {**params, "ucan": his}) == ("forbidden", "forbidden")
    assert await owner.call("epoch.begin", {**params, "ucan": hers}) == {"epoch": 2}
    assert await member.heard() == []
    # A writer that has not heard of the new epoch is told of the least one (docs/protocol.md 7.13).
    stale = {"ok": False, "error": "key_generation_stale"}
    assert await member.push(record(epoch=1), space=space, ucan=his) == stale
    assert await member.push(record(epoch=2), record(epoch=1), space=space, ucan=his) == stale
    assert await member.push(record(epoch=2), space=space, ucan=his) == {"ok": True, "cursor": 1}
    assert await owner.push(record(epoch=3), space=space, ucan=hers) == {"ok": True, "cursor": 2}
    [notice] = await member.heard()
    assert isinstance(notice.params, dict)
    assert (notice.params["key_generation"], notice.params["rewrap_epoch"]) == (2, 2)
    answer = await member.subscribe(space, ucan=his)
    expected = {"id": space, "cursor": 2, "key_generation": 2, "rewrap_epoch": 2}
    assert answer["spaces"] == [expected]
    assert await owner.call("epoch.complete", {"space": space, "epoch": 2, "ucan": hers}) == {}
    begun = (await member.pull(space=space, ucan=his))[0]
    assert begun == ("pull.begin", {"space": space, "prev": 0, "cursor": 2, "key_generation": 2})


async def test_a_listing_behind_a_pull_is_answered_as_a_listing_and_in_its_turn(
    live: Live, database_url: str
) -> None:
    client = await live.connect()
    ids = await filled(client, 3)
    await with_files(database_url, client.space, ids)
    requests: list[tuple[str, dict[str, object]]] = [
        ("pull", {"spaces": [{"id": client.space, "since": 0}]}),
        ("deks.get", {"space": client.space}),
        ("file.deks.get", {"space": client.space}),
        ("deks.getFiles", {"space": client.space, "since": 4}),
        ("pull", {"spaces": [{"id": client.space, "since": 2}]}),
    ]
    for method, params in requests:
        client.send(method, params)
    frames: list[tuple[str, str]] = []
    while frames.count(("", "end")) < len(requests):
        frame = await client.next()
        if isinstance(frame, Chunk):
            frames.append((frame.id, frame.name))
        else:
            assert isinstance(frame, Response)
            assert frame.error is None
            frames.append(("", "end"))
    names = [name for _, name in frames]
    assert names == [
        *["pull.begin", *["pull.record"] * 3, *["pull.file"] * 3, "pull.commit", "end"],
        *[*["deks.record"] * 3, "end"],
        *[*["deks.files.record"] * 3, "end"],
        *[*["deks.files.record"] * 2, "end"],
        *["pull.begin", "pull.record", *["pull.file"] * 3, "pull.commit", "end"],
    ]


async def with_files(database_url: str, space: str, ids: Sequence[str]) -> None:
    """Give each of the oldest records a file of the same id, at the next cursors of the space."""
    con = await asyncpg.connect(database_url)
    try:
        await con.execute(
            """WITH s AS (UPDATE spaces SET cursor = cursor + cardinality($2::uuid[]) WHERE id = $1
                          RETURNING cursor - cardinality($2::uuid[]) AS old)
               INSERT INTO files (space_id, id, size, wrapped_dek, record_id, cursor)
               SELECT space_id, id, 1, wrapped_dek, id, s.old + r.cursor FROM records r, s
               WHERE space_id = $1 AND id = ANY($2::uuid[])""",
            UUID(space),
            ids,
        )
    finally:
        await con.close()


async def test_a_rotation_in_several_requests_is_all_there_at_its_end(live: Live, database_url: str) -> None:
    client = await live.connect()
    ids = await filled(client, 12)
    await with_files(database_url, client.space, ids[:4])
    assert (await client.push({"id": ids[0], "blob": None, "expected_cursor": 1, "dek": dek(1)}))["ok"]
    assert await begin(client, 2) == {"epoch": 2}
    entries = await listing(client)
    assert [entry["seq"] for entry in entries] == [*range(2, 13), 17]
    assert [entry["id"] for entry in entries] == [*ids[1:], ids[0]]
    assert await listing(client, since=12) == [{"id": ids[0], "dek": dek(1), "seq": 17}]
    assert await listing(client, since=17) == []
    assert await rewrap(client, []) == {"ok": True, "count": 0}
    for start in range(0, 12, 5):
        part = [entry["id"] for entry in entries[start : start + 5]]
        assert await rewrap(client, wrapped(part, 2, start)) == {"ok": True, "count": len(part)}
    # A request that is repeated because its answer was lost changes nothing more.
    assert await rewrap(client, wrapped(ids[1:3], 2, 99)) == {"ok": True, "count": 2}
    after = await listing(client)
    assert [entry["dek"] for entry in after] == [dek(2, index - index % 5) for index in range(12)]
    assert [(entry["id"], entry["seq"]) for entry in after] == [
        (entry["id"], entry["seq"]) for entry in entries
    ]
    files = await listing(client, "file.deks.get")
    assert [file["cursor"] for file in files] == [14, 15, 16]  # the tombstone took its file along
    part = [file["id"] for file in files]
    assert await rewrap(client, wrapped(part, 2), "deks.rewrapFiles") == {"ok": True, "count": 3}
    assert {entry["dek"] for entry in await listing(client, "deks.getFiles")} == {dek(2)}
    assert await client.call("epoch.complete", {"space": client.space, "epoch": 2}) == {}


@pytest.mark.one_connection
async def test_a_rewrap_that_fails_late_changes_nothing(live: Live) -> None:
    client = await live.connect()
    ids = await filled(client, 3)
    await begin(client, 2)
    good = wrapped(ids, 2)
    short = ("bad_request", "invalid record: wrapped DEK must be exactly 44 bytes")
    nameless = ("bad_request", "invalid record: id must be non-empty string")
    for bad, error in (
        ({"id": str(uuid4()), "dek": dek(2)}, NOT_FOUND),
        ({"id": ids[0], "dek": dek(1)}, STALE),
        ({"id": ids[0], "dek": dek(3)}, STALE),
        ({"id": ids[0], "dek": b"\xff" * 44}, STALE),
        ({"id": "no id", "dek": dek(2)}, ("internal", "internal")),
        ({"id": ids[0], "dek": dek(2)[:-1]}, short),
        ({"id": "", "dek": dek(2)}, nameless),
    ):
        assert await rewrap(client, [*good, bad]) == error
    assert {entry["dek"] for entry in await listing(client)} == {dek(1)}
    assert await rewrap(client, good) == {"ok": True, "count": 3}


async def test_a_record_replaced_since_the_listing_stops_the_rewrap_of_that_connection_alone(
    live: Live,
) -> None:
    rotating, writing = await live.connect(), await live.connect()
    ids = await filled(rotating, 3)
    await begin(rotating, 2)
    await listing(rotating)
    assert (await writing.push(record(ids[1], 1, 2)))["cursor"] == 4
    assert await rewrap(rotating, wrapped(ids, 2)) == CHANGED
    assert {entry["dek"] for entry in await listing(writing)} == {dek(1)}
    # Written for the new epoch already: left alone, and counted.
    assert (await writing.push(record(ids[1], 2, 4)))["cursor"] == 5
    assert await rewrap(rotating, wrapped(ids, 2, 7)) == {"ok": True, "count": 3}
    assert [entry["dek"] for entry in await listing(rotating)] == [dek(2, 7), dek(2, 7), dek(2)]
    # A connection that has listed nothing overwrites, as ever.
    fresh = await live.connect()
    assert await begin(fresh, 3) == {"error": "epoch_conflict", "current_epoch": 2, "rewrap_epoch": 2}
    await fresh.call("epoch.complete", {"space": fresh.space, "epoch": 2})
    await begin(fresh, 3)
    assert (await writing.push(record(ids[2], 2, 3)))["ok"]
    assert await rewrap(fresh, wrapped(ids, 3)) == {"ok": True, "count": 3}


async def test_a_new_listing_takes_in_what_was_replaced(live: Live) -> None:
    client, writing = await live.connect(), await live.connect()
    [id] = await filled(client, 1)
    await begin(client, 2)
    await listing(client)
    await writing.push(record(id, 1, 1))
    assert await rewrap(client, wrapped([id], 2)) == CHANGED
    assert [entry["seq"] for entry in await listing(client, since=1)] == [2]
    assert await rewrap(client, wrapped([id], 2)) == {"ok": True, "count": 1}


@pytest.mark.one_connection
async def test_a_result_too_long_for_a_frame_leaves_the_list_out(database_url: str) -> None:
    async with live_server(database_url, Limits(outbound_frame_bytes=1000)) as live:
        client = await live.connect()
        await filled(client, 8)
        assert len(await listing(client)) == 8
        ids = await filled(client, 8)
        response, chunks = await client.response(client.send("deks.get", {"space": client.space}))
        assert response.result == {"_chunks": 16}
        assert [chunk.data["id"] for chunk in chunks if isinstance(chunk.data, dict)][8:] == ids


# A space of 100,000 records, in a server process of its own.

RECORDS = 100_000
REWRAP_RECORDS = 20_000
GROWTH_BYTES_MAX = 64 * MIB


@dataclass(slots=True)
class Frames:
    """Reads frames by as many as there are, and notes the longest."""

    socket: Socket
    longest: int = 0
    waiting: deque[bytes] = field(default_factory=deque)

    async def next(self) -> bytes:
        while not self.waiting:
            for event in await self.socket.receive_all(60.0):
                assert isinstance(event, Message), event
                if event.data != KEEPALIVE:
                    self.waiting.append(event.data)
        frame = self.waiting.popleft()
        self.longest = max(self.longest, len(frame))
        return frame

    async def call(self, method: str, params: dict[str, object]) -> Any:
        """Result of a request without chunks."""
        self.socket.send(encode_request(method, method, params))
        frame = cbor2.loads(await self.next())
        assert frame["id"] == method
        return frame["result"]


@asynccontextmanager
async def large_space(database_url: str) -> AsyncIterator[tuple[ServerProcess, Frames, str]]:
    """A server process, a connection to it, and its user's personal space with `RECORDS` records."""
    user = claims("alice") | {"aud": AUDIENCE}
    space: str = user["personal_space_id"]
    con = await asyncpg.connect(database_url)
    try:
        await con.execute("INSERT INTO spaces (id, client_id, cursor) VALUES ($1, 'c', $2)", space, RECORDS)
        await con.execute(
            """INSERT INTO records (id, space_id, blob, cursor, wrapped_dek)
               SELECT gen_random_uuid(), $1, 'x', i, $2 FROM generate_series(1, $3::int) i""",
            space,
            dek(1),
            RECORDS,
        )
        await con.execute("ANALYZE records")
    finally:
        await con.close()
    async with AsyncExitStack() as stack:
        issuer = new_issuer()
        url = await stack.enter_async_context(served_key_set(issuer))
        settings = {
            "DATABASE_URL": database_url,
            "TRUSTED_ISSUERS": f"{ISSUER}={url}",
            "AUDIENCES": AUDIENCE,
            "LOG_LEVEL": "warn",
        }
        server = await stack.enter_async_context(ServerProcess(settings, fresh=True))
        socket = await open_socket("127.0.0.1", server.port)
        stack.callback(socket.abort)
        token = issuer.token(user)
        socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))
        yield server, Frames(socket), space


@pytest.mark.alone
async def test_a_rotation_of_100_000_records_in_small_frames_and_little_memory(database_url: str) -> None:
    async with large_space(database_url) as (server, frames, space):
        # The paths are warm: what comes is the rotation's.
        assert await frames.call("deks.rewrap", {"space": space, "deks": []}) == {"ok": True, "count": 0}
        reset_peak(server.pid)
        before = peak_bytes(server.pid)
        assert await frames.call("epoch.begin", {"space": space, "epoch": 2}) == {"epoch": 2}

        asked_after: int | None = None
        answered_after: int | None = None
        ids: list[str] = []
        frames.socket.send(encode_request("d", "deks.get", {"space": space}))
        while True:
            frame = cbor2.loads(await frames.next())
            if frame["id"] == "m":
                assert frame["result"] == {"entries": [], "metadata_version": 0}
                answered_after = len(ids)
            elif frame["type"] == 3:
                ids.append(frame["data"]["id"])
                if asked_after is None:
                    asked_after = len(ids)
                    frames.socket.send(encode_request("m", "membership.list", {"space": space}))
            else:
                break
        assert frame["result"] == {"_chunks": RECORDS}  # the whole list would not fit into a frame
        assert len(set(ids)) == RECORDS
        assert asked_after is not None
        assert answered_after is not None
        assert asked_after <= answered_after < RECORDS

        for start in range(0, RECORDS, REWRAP_RECORDS):
            part = wrapped(ids[start : start + REWRAP_RECORDS], 2)
            answer = await frames.call("deks.rewrap", {"space": space, "deks": part})
            assert answer == {"ok": True, "count": REWRAP_RECORDS}
        assert await frames.call("epoch.complete", {"space": space, "epoch": 2}) == {}
        assert frames.longest <= FRAME_BYTES_MAX
        assert peak_bytes(server.pid) - before <= GROWTH_BYTES_MAX
    con = await asyncpg.connect(database_url)
    try:
        stale = await con.fetchval("SELECT count(*) FROM records WHERE wrapped_dek <> $1", dek(2))
        assert stale == 0
    finally:
        await con.close()
