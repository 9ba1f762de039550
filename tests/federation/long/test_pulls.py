"""Pulls through an edge: long ones beside everything else, slow readers, few connections, cuts."""

import asyncio
import os
from random import Random
from typing import Any

from less_sync.sync.protocol.frames import Chunk, Response
from tests.federation.proxy import Way
from tests.federation.rig import Rig, Shared, change, notice, rig, subscribed
from tests.federation.witnesses import undisturbed
from tests.live import Client, Person

RECORDS = 3000
RECORD_BYTES = 8 * 1024
PUSHED_AT_ONCE = 250
READERS = 6
CUTS = 25


async def fill(r: Rig, shared: Shared, records: int = RECORDS) -> list[str]:
    """Write records at home; their ids in the order of their cursors."""
    zero = Person("zero")
    client, ucan, ids = await r.home.join(zero), shared.grant(zero), []
    for _ in range(0, records, PUSHED_AT_ONCE):
        changes = [change(os.urandom(RECORD_BYTES)) for _ in range(PUSHED_AT_ONCE)]
        assert (await client.push(*changes, space=shared.id, ucan=ucan))["ok"] is True
        ids += [str(one["id"]) for one in changes]
    await client.socket.hangup(30)
    return ids


def is_whole(chunks: list[tuple[str, Any]], ids: list[str]) -> bool:
    """Whether a pull from the beginning brought every record, once and between its begin and commit."""
    names = [name for name, _ in chunks]
    records = [data["id"] for _, data in chunks[1:-1]]
    return (
        names == ["pull.begin", *["pull.record"] * len(ids), "pull.commit"]
        and sorted(records) == sorted(ids)
        and chunks[-1][1]["count"] == len(ids)
    )


async def test_a_reader_that_stops_holds_up_its_own_pull_and_nothing_else(databases: list[str]) -> None:
    async with rig(databases) as r, undisturbed(r.home, r.edge1):
        shared, one, two = await r.share(r.home, r.edge1), Person("one"), Person("two")
        ids = await fill(r, shared)
        slow, busy = await r.edge1.join(one), await subscribed(r.edge1, two, shared)
        id = slow.send("pull", {"spaces": [{"id": shared.id, "since": 0, "ucan": shared.grant(one)}]})
        first = await slow.next()
        assert isinstance(first, Chunk)
        slow.socket.stop_reading()
        zero = Person("zero")
        at_home, own = await r.home.join(zero), shared.grant(zero)
        cursor = RECORDS // PUSHED_AT_ONCE
        for _ in range(20):
            cursor += 1
            assert (await at_home.push(change(), space=shared.id, ucan=own))["cursor"] == cursor
            assert (await notice(busy))["cursor"] == cursor
            cursor += 1
            answer = await busy.push(change(), space=shared.id, ucan=shared.grant(two))
            assert answer == {"ok": True, "cursor": cursor}
        slow.socket.resume_reading()
        response, chunks = await slow.response(id)
        assert response.result == {"_chunks": len(ids) + 2}
        assert is_whole([(chunk.name, chunk.data) for chunk in [first, *chunks]], ids)


async def test_more_pulls_than_a_home_takes_at_once_all_end(databases: list[str]) -> None:
    async with rig(databases) as r, undisturbed(r.edge1):
        shared = await r.share(r.home, r.edge1)
        ids = await fill(r, shared, 1000)
        people = [Person(f"reader {n}") for n in range(READERS)]
        clients = [await r.edge1.join(person) for person in people]
        pulls = [
            client.pull(space=shared.id, ucan=shared.grant(person))
            for client, person in zip(clients, people, strict=True)
        ]
        assert all(is_whole(chunks, ids) for chunks in await asyncio.gather(*pulls))
        connections, _ = await r.home.counts(r.edge1)
        assert 1 < connections <= 3


async def test_where_a_peer_may_have_one_connection_pulls_share_it(databases: list[str]) -> None:
    single = {"home": {"FEDERATION_MAX_CONNECTIONS": "1"}}
    async with rig(databases, settings=single) as r, undisturbed(r.edge1):
        shared, one, two = await r.share(r.home, r.edge1), Person("one"), Person("two")
        ids = await fill(r, shared, 500)
        hearer = await subscribed(r.edge1, two, shared)
        c1 = await r.edge1.join(one)
        async with asyncio.timeout(60):
            while not is_whole(await c1.pull(space=shared.id, ucan=shared.grant(one)), ids):
                await r.home.until_counts(r.edge1, 1, 1)
        assert await r.home.counts(r.edge1) == (1, 1)
        answer = await c1.push(change(), space=shared.id, ucan=shared.grant(one))
        assert (await notice(hearer))["cursor"] == answer["cursor"]


async def pulled(client: Client, shared: Shared, ucan: str) -> tuple[Response, list[tuple[str, Any]]]:
    params = {"spaces": [{"id": shared.id, "since": 0, "ucan": ucan}]}
    response, chunks = await client.response(client.send("pull", params))
    return response, [(chunk.name, chunk.data) for chunk in chunks]


async def test_a_pull_that_is_cut_is_whole_or_an_error_and_never_short(databases: list[str]) -> None:
    random = Random(11)
    async with rig(databases) as r, undisturbed(r.home, r.edge1):
        wire, shared, one = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1), Person("one")
        ids = await fill(r, shared, 250)
        c1, ucan = await subscribed(r.edge1, one, shared), shared.grant(one)
        outcomes = set()
        for _ in range(CUTS):
            wire.cut_at(Way.DOWN, count=random.randrange(1, 300), forwarded=random.random() < 0.5)
            response, chunks = await pulled(c1, shared, ucan)
            if response.error is not None:
                told = response.error.code, response.error.message
                assert told == ("internal", "remote pull interrupted")
                outcomes.add("broken")
            elif chunks:
                assert is_whole(chunks, ids)
                outcomes.add("whole")
            else:
                outcomes.add("skipped")
            wire.mend()
            await r.home.until_spaces(r.edge1, 1)
        assert outcomes >= {"broken", "whole"}
