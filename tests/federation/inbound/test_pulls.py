"""`pull` of a peer: several at once, beside everything else it asks."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.auth import Permission
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Chunk, Response
from tests.federation.inbound.peer_client import Home, Shared, change, entry, home_server, subscribe
from tests.integration.test_races import BLOB_BYTES, backends_of_pulls
from tests.integration.waiting import until
from tests.live import Client

RECORDS = 6000
"""48 MB: more than the buffers in between take."""


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    async with home_server(database_url) as running:
        yield running


def asked(*spaces: tuple[str, str]) -> dict[str, object]:
    return {"spaces": [{"id": space, "since": 0, "ucan": ucan} for space, ucan in spaces]}


async def long_space(home: Home) -> Shared:
    """A shared space that takes a while to pull."""
    shared = await home.share()
    await home.sql("UPDATE spaces SET cursor = 1 WHERE id = $1", shared.id)
    await home.sql(
        "INSERT INTO records (id, space_id, blob, cursor) "
        "SELECT gen_random_uuid(), $1, decode(repeat('ab', $2), 'hex'), 1 FROM generate_series(1, $3)",
        UUID(shared.id),
        BLOB_BYTES,
        RECORDS,
    )
    return shared


async def test_what_may_be_read_comes_in_chunks_and_the_rest_is_left_out(home: Home) -> None:
    shared, other, foreign = [await home.share() for _ in range(3)]
    await home.set_home(foreign.id, "elsewhere.test")
    alice = await home.live.connect()
    await alice.subscribe()
    owner = await home.member(shared)
    ucan = shared.owner.grant(shared.owner, shared.id)
    one = change(b"blob", dek=bytes(44))
    await owner.push(one, space=shared.id, ucan=ucan)
    payload = b"a member"
    hashed = {"entry_hash": sha256(payload).digest(), "payload": payload}
    await owner.call("membership.append", {"space": shared.id, "ucan": ucan, "expected_version": 0, **hashed})
    await home.sql(
        "INSERT INTO files (id, space_id, record_id, size, wrapped_dek, cursor) "
        "VALUES ($1, $2, $3, 7, $4, 3)",
        uuid4(),
        shared.id,
        UUID(str(one["id"])),
        bytes(44),
    )
    await home.sql("UPDATE spaces SET cursor = 3 WHERE id = $1", shared.id)
    peer = await home.peer()
    [space] = (await subscribe(peer, entry(shared.id, ucan=shared.ucan())))["spaces"]
    params = asked(
        (other.id, ""),
        (other.id, "garbage"),
        (shared.id.upper(), shared.ucan(Permission.READ)),
        (str(uuid4()), shared.ucan()),
        ("no uuid", shared.ucan()),
        (foreign.id, foreign.ucan()),
        (alice.space, shared.ucan()),
    )
    params["spaces"].append({"id": other.id, "since": 0, "token": space["token"]})  # type: ignore[attr-defined]  # a list
    response, chunks = await peer.response(peer.send("pull", params))
    assert response.result == {"_chunks": 5}
    assert [chunk.name for chunk in chunks] == [
        "pull.begin",
        "pull.record",
        "pull.membership",
        "pull.file",
        "pull.commit",
    ]
    told = [dict(chunk.data) for chunk in chunks]  # type: ignore[call-overload]  # decoded CBOR
    assert {one["space"] for one in told} == {shared.id.upper()}
    assert told[0] == {"space": shared.id.upper(), "prev": 0, "cursor": 3, "key_generation": 1}
    assert told[1]["blob"] == b"blob"
    assert told[4]["count"] == 3
    assert home.usage().records_this_hour == 0
    assert home.inbound.pulled_bytes["edge1.test"] > 200
    assert home.live.services.metrics.measured()["peer_pulled_bytes"] == dict(home.inbound.pulled_bytes)


async def test_params_that_are_none_and_too_many_spaces(home: Home) -> None:
    peer = await home.peer()
    words = "invalid pull params: spaces[0].id: missing"
    assert await peer.error("pull", {"spaces": [{}]}) == ("invalid_params", words)
    many = asked(*[(str(uuid4()), "x")] * 1001)
    assert await peer.error("pull", many) == ("bad_request", "too many spaces in pull request")
    assert await peer.call("pull", asked(*[(str(uuid4()), "x")] * 1000)) == {"_chunks": 0}


async def test_a_fault_before_the_first_chunk_and_one_midway_are_errors_of_the_request(
    home: Home, database_url: str
) -> None:
    shared = await long_space(home)
    peer = await home.peer()
    failed = ("internal", "pull failed")
    await home.sql("ALTER TABLE spaces RENAME TO away")
    assert await peer.error("pull", asked((shared.id, shared.ucan()))) == failed
    await home.sql("ALTER TABLE away RENAME TO spaces")
    database = await asyncpg.connect(database_url)
    id = peer.send("pull", asked((shared.id, shared.ucan())))
    await peer.next()
    peer.socket.stop_reading()
    [pid] = await until(lambda: backends_of_pulls(database))
    assert await database.fetchval("SELECT pg_terminate_backend($1)", pid)
    peer.socket.resume_reading()
    response, chunks = await peer.response(id)
    assert response.error is not None
    assert (response.error.code, response.error.message) == failed
    assert "pull.commit" not in [chunk.name for chunk in chunks]
    await database.close()


async def pulled(peer: Client, ids: list[str]) -> list[str]:
    """Read to the end of all these pulls; the ids of the chunks and responses as they came."""
    order: list[str] = []
    open_ids = set(ids)
    while open_ids:
        frame = await peer.next()
        assert isinstance(frame, Chunk | Response)
        order.append(frame.id)
        if isinstance(frame, Response):
            assert frame.error is None
            open_ids.discard(frame.id)
    return order


async def test_four_pulls_run_at_once_and_a_fifth_waits_while_pushes_are_answered(home: Home) -> None:
    shared = await long_space(home)
    small = await home.share()
    peer = await home.peer()
    peer.socket.stop_reading()
    ids = [peer.send("pull", asked((shared.id, shared.ucan()))) for _ in range(5)]
    push = peer.send("push", {"space": small.id, "ucan": small.ucan(), "changes": [change()]})
    peer.socket.resume_reading()
    order = await pulled(peer, [*ids, push])
    firsts = [order.index(id) for id in ids]
    lasts = [len(order) - 1 - order[::-1].index(id) for id in ids]
    assert order.index(push) < min(lasts)
    assert max(firsts[:4]) < min(lasts)  # they run beside one another
    assert firsts[4] > min(lasts[:4])


async def test_a_pull_whose_peer_stops_reading_holds_up_nobody_and_ends_at_the_deadline(
    database_url: str,
) -> None:
    async with home_server(database_url, limits=Limits(write_timeout_s=0.5)) as home:
        shared = await long_space(home)
        stalled, other = await home.peer(), await home.peer()
        await subscribe(other, entry(shared.id, ucan=shared.ucan()))
        await subscribe(stalled, entry(shared.id, ucan=shared.ucan()))
        stalled.socket.stop_reading()
        for _ in range(4):
            stalled.send("pull", asked((shared.id, shared.ucan())))
        member = await home.member(shared)
        ucan = shared.owner.grant(shared.owner, shared.id)
        for cursor in range(2, 12):
            assert (await member.push(change(), space=shared.id, ucan=ucan))["cursor"] == cursor
            assert await other.methods_heard() == ["sync"]
        assert len(await other.pull(since=1, space=shared.id, ucan=shared.ucan())) == 12
        async with asyncio.timeout(30):
            while home.usage().connections > 1:  # noqa: ASYNC110  nothing to wait for but the state
                await asyncio.sleep(0.01)
        assert home.usage().spaces == 1


async def test_a_push_in_the_middle_of_a_long_pull_comes_as_a_notification(home: Home) -> None:
    shared = await long_space(home)
    peer = await home.peer()
    await subscribe(peer, entry(shared.id, ucan=shared.ucan()))
    id = peer.send("pull", asked((shared.id, shared.ucan())))
    await peer.next()
    member = await home.member(shared)
    await member.push(change(), space=shared.id, ucan=shared.owner.grant(shared.owner, shared.id))
    response, chunks = await peer.response(id)
    assert response.result == {"_chunks": RECORDS + 2}
    assert len(chunks) == RECORDS + 1
    [notice] = await peer.heard()
    assert isinstance(notice.params, dict)
    assert (notice.params["prev"], notice.params["cursor"]) == (1, 2)
