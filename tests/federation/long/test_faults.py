"""Wires that are slow, dead without saying so, held up, or full of nonsense."""

import os
from typing import Any

import cbor2
import pytest

from less_sync.sync.protocol.frames import encode_notification
from tests.federation.proxy import Way, Wire
from tests.federation.rig import change, dial, notice, rig, subscribed
from tests.federation.witnesses import Writer, drain, undisturbed, written_once
from tests.live import Person
from tests.wire.client import Closed, Message

BACKLOG_PUSHES = 60
BLOB_BYTES = 512 * 1024
UNKNOWN_OUTCOME = {"ok": False, "error": "internal"}


async def test_requests_share_a_slow_wire_without_waiting_for_each_other(databases: list[str]) -> None:
    async with rig(databases) as r, undisturbed(r.home, r.edge1):
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        people = [Person(f"w{n}") for n in range(4)]
        clients = [await subscribed(r.edge1, person, shared) for person in people]
        wire.latency_s = 0.2
        sent = []
        for client, person in zip(clients, people, strict=True):
            params = {"space": shared.id, "ucan": shared.grant(person)}
            sent.append([client.send("push", {**params, "changes": [change()]}) for _ in range(5)])
        # All are on the wire before the first answer has come back.
        await wire.arrival(Way.UP, "push", count=4)
        assert wire.kinds(Way.DOWN).count("result") == len(clients)
        cursors = []
        for client, ids in zip(clients, sent, strict=True):
            results: list[Any] = [(await client.response(id))[0].result for id in ids]
            mine = [result["cursor"] for result in results]
            assert mine == sorted(mine)
            cursors += mine
        assert sorted(cursors) == list(range(1, 21))
        for client, ids in zip(clients, sent, strict=True):
            heard: list[Any] = [frame.params for frame in await client.heard()]
            told = [params["cursor"] for params in heard]
            assert told == sorted(told)
            assert len(told) == 20 - len(ids)


async def test_a_home_that_falls_silent_costs_its_callers_a_deadline_and_others_nothing(
    databases: list[str],
) -> None:
    async with rig(databases) as r, undisturbed(r.home, r.edge1):
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        zero, one = Person("zero"), Person("one")
        at_home, hearer = await subscribed(r.home, zero, shared), await subscribed(r.edge1, one, shared)
        writer = await Writer.at(r.edge1, Person("two"), shared, 5)
        await writer.push()
        assert (await notice(hearer))["cursor"] == (await notice(at_home))["cursor"] == 1
        wire.swallow()
        push = {"space": shared.id, "ucan": writer.ucan, "changes": [change()]}
        id = writer.client.send("push", push)
        await wire.arrival(Way.UP, "push", count=2)
        event = await writer.client.socket.receive(40)
        assert isinstance(event, Message)
        assert cbor2.loads(event.data) == {"type": 1, "id": id, "result": UNKNOWN_OUTCOME}
        # Both ends believe in the connection until it is cut; then it is made again.
        wire.cut()
        wire.mend()
        await r.home.until_counts(r.edge1, 1, 1)
        await writer.push()
        await written_once(r.home, shared, [writer])
        assert (await drain(hearer, 2))[-1]["cursor"] == 2


@pytest.mark.parametrize("way", list(Way))
async def test_nonsense_between_frames_costs_the_connection_and_nothing_else(
    databases: list[str], way: Way
) -> None:
    async with rig(databases) as r, undisturbed(r.home, r.edge1):
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        hearer = await subscribed(r.edge1, Person("one"), shared)
        writer = await Writer.at(r.edge1, Person("two"), shared, 6)
        for number in range(5):
            wire.inject_raw(way, bytes([0xFF]) + os.urandom(99))
            await wire.until(lambda number=number: len(answered(wire)) > number + 1)  # type: ignore[misc]
            await r.home.until_counts(r.edge1, 1, 1)
            await writer.push()
        await written_once(r.home, shared, [writer])
        assert (await drain(hearer, 5))[-1]["cursor"] == 5


def answered(wire: Wire) -> list[int]:
    return [upgrade.status for upgrade in wire.upgrades if upgrade.status == 101]


async def test_frames_that_mean_nothing_are_skipped_by_an_edge(databases: list[str]) -> None:
    async with rig(databases) as r, undisturbed(r.edge1):
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        hearer = await subscribed(r.edge1, Person("one"), shared)
        writer = await Writer.at(r.edge1, Person("two"), shared, 6)
        odd = [
            *(b"\xff\x00", b"", b"\x01", b"\xa0", b"\xa1\x64type\x09"),
            bytes.fromhex("a3647479706501626964656665642d3966726573756c74a1626f6bf5"),
            bytes.fromhex("a3647479706501626964656665642d3166726573756c74a1626f6bf5"),
            encode_notification("presence", {"space": shared.id, "peer": "p", "data": b""}),
            encode_notification("event", {"space": shared.id, "peer": "p", "data": b""}),
            encode_notification("sync", {"space": 7}),
            encode_notification("sync", {"space": shared.id, "cursor": "text"}),
            encode_notification("mystery", {}),
        ]
        for payload in odd:
            wire.inject(Way.DOWN, payload)
        await writer.push()
        assert (await notice(hearer))["cursor"] == 1
        assert await hearer.heard() == []
        assert len(wire.upgrades) == 1


async def test_an_edge_that_does_not_read_holds_up_nobody_and_is_let_go(databases: list[str]) -> None:
    async with rig(databases, "home", "edge1", "edge2") as r, undisturbed(r.home, r.edge1, r.edge2):
        shared, zero = await r.share(r.home, r.edge1, r.edge2), Person("zero")
        at_home, ucan = await r.home.join(zero), shared.grant(zero)
        two = Person("two")
        c1 = await subscribed(r.edge1, Person("one"), shared)
        c2 = await subscribed(r.edge2, two, shared)
        wire = r.wire(r.edge2, r.home)
        wire.stop_reading(Way.DOWN)
        for cursor in range(1, BACKLOG_PUSHES + 1):
            pushed = await at_home.push(change(os.urandom(BLOB_BYTES)), space=shared.id, ucan=ucan)
            assert pushed == {"ok": True, "cursor": cursor}
            assert (await notice(c1))["cursor"] == cursor
        await r.home.until_counts(r.edge2, 0, 0)
        assert await r.home.counts(r.edge1) == (1, 1)
        wire.mend()
        await r.home.until_counts(r.edge2, 1, 1)
        told = await drain(c2, BACKLOG_PUSHES)
        assert (told[-1]["prev"], told[-1]["records"]) == (-1, [])
        assert [one["cursor"] for one in told[:-1]] == list(range(1, len(told)))
        seen = told[-2]["cursor"] if len(told) > 1 else 0
        missed = await c2.pull(seen, space=shared.id, ucan=shared.grant(two))
        assert len(missed) == 2 + BACKLOG_PUSHES - seen


async def test_a_peer_that_reads_nothing_is_closed_with_4006(databases: list[str]) -> None:
    async with rig(databases, started=("home",)) as r, undisturbed(r.home):
        shared, zero = await r.share(r.home), Person("zero")
        at_home, ucan = await r.home.join(zero), shared.grant(zero)
        peer = await dial(r.edge1, r.home)
        await peer.subscribe(shared.id, ucan=ucan)
        peer.socket.stop_reading()
        for cursor in range(1, BACKLOG_PUSHES + 1):
            pushed = await at_home.push(change(os.urandom(BLOB_BYTES)), space=shared.id, ucan=ucan)
            assert pushed == {"ok": True, "cursor": cursor}
        await r.home.until_counts(r.edge1, 0, 0)
        peer.socket.resume_reading()
        assert await peer.closed() == Closed(4006, "slow consumer")
