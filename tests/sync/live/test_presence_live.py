"""Presence and events over real sockets: who is seen by whom, until when, and what a crowd costs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from less_sync.sync.background import sweep
from less_sync.sync.limits import Limits
from less_sync.sync.live.presence import Presence
from tests.live import Client, Live, Person, live_server
from tests.shapes import InForce, Shape

SEEN = ("presence", b"here")


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


async def heard(client: Client) -> list[tuple[str, str, bytes | None]]:
    """(method, peer, data) of everything heard since; all of it about the client's own spelling."""
    notices = []
    for notice in await client.heard():
        params: Any = notice.params
        notices.append((notice.method, params["peer"], params.get("data")))
    return notices


def show(client: Client, data: bytes = b"here", space: str = "") -> None:
    client.notify("presence.set", {"space": space or client.space, "data": data})


async def reached(live: Live, *clients: Client) -> None:
    """Return once what these sent is known everywhere."""
    for client in clients:
        await live.settled(client)
    await live.news_told()


async def here(live: Live, user: str, space: str, **claims: Any) -> Client:
    """A subscriber of a space that its token calls personal: sharing is not what is tested."""
    client = await live.connect(user, personal_space_id=space, **claims)
    await client.subscribe()
    return client


@pytest.mark.parametrize("end", ["clear", "unsubscribe", "disconnect", "close", "refused"])
async def test_whoever_leaves_is_said_to_leave_under_the_name_that_came(live: Live, end: str) -> None:
    alice, bob, carol = Person("alice"), Person("bob"), Person("carol")
    owner, leaver, stayer = [await live.join(person) for person in (alice, bob, carol)]
    space = await owner.create_space(alice)
    for client, person in ((leaver, bob), (stayer, carol)):
        await client.subscribe(space, ucan=alice.grant(person, space))
    for client in (leaver, stayer):
        show(client, space=space)
        await live.settled(client)
    [(came, peer, data)] = await heard(stayer)
    assert (came, data) == SEEN
    assert len(bytes.fromhex(peer)) == 16
    [(_, other, _)] = await heard(leaver)
    assert other != peer
    match end:
        case "clear":
            leaver.notify("presence.clear", {"space": space})
            leaver.notify("presence.clear", {"space": space})
            await live.settled(leaver)
        case "unsubscribe":
            leaver.notify("unsubscribe", {"spaces": [space.upper(), space]})
            await live.settled(leaver)
        case "disconnect":
            leaver.socket.abort()
        case "close":
            await leaver.socket.hangup(20)
        case "refused":
            assert (await leaver.subscribe(space, ucan="bad"))["spaces"] == []
    notice: Any = await stayer.next()
    assert (notice.method, notice.params) == ("presence.leave", {"space": space, "peer": peer})
    assert await heard(stayer) == []
    answer = await owner.subscribe(space, ucan=alice.grant(alice, space), presence=True)
    peers = answer["spaces"][0].get("peers", [])
    if InForce.shape is Shape.WORKERS and not peers:  # the owner is alone at a worker, which asks the other
        followed: Any = await owner.next()
        assert (followed.method, followed.params.pop("space")) == ("presence", space)
        peers = [followed.params]
    assert peers == [{"peer": other, "data": b"here"}]
    assert await heard(owner) == []


async def test_names_tell_nothing_across_spaces_and_connections(live: Live) -> None:
    spaces = [str(uuid4()) for _ in range(2)]
    names: list[str] = []
    listeners = [await here(live, f"listener {space}", space) for space in spaces]
    person = Person("alice")
    owner = await live.join(person)
    shared = await owner.create_space(person)
    await owner.subscribe(shared, ucan=person.grant(person, shared))
    for listener, space in zip(listeners, spaces, strict=True):
        for _ in range(2):
            client = await here(live, "bob", space, did=person.did)
            await client.subscribe(shared, ucan=person.grant(person, shared))
            show(client)
            show(client, b"again")
            client.notify("event.send", {"space": client.space, "data": b"hello"})
            show(client, space=shared)
            await live.settled(client)
            told = await heard(listener)
            assert [(method, data) for method, _, data in told] == [
                SEEN,
                ("presence", b"again"),
                ("event", b"hello"),
            ]
            assert len({peer for _, peer, _ in told}) == 1
            [(_, elsewhere, _)] = await heard(owner)
            names += [told[0][1], elsewhere]
            await client.socket.hangup(20)
            assert [method for method, _, _ in await heard(listener)] == ["presence.leave"]
            assert [method for method, _, _ in await heard(owner)] == ["presence.leave"]
    assert len(set(names)) == 8


async def test_sizes_are_bounded_and_spellings_are_not_confused(live: Live) -> None:
    space = str(uuid4())
    client, listener = await here(live, "alice", space), await live.connect("bob", personal_space_id=space)
    await listener.subscribe(space.replace("-", ""))
    for size in (0, 1024, 1025):
        show(client, bytes(size), space.upper())
    for size in (0, 4096, 4097):
        client.notify("event.send", {"space": f"urn:uuid:{space}", "data": bytes(size)})
    client.notify("presence.clear", {"space": space.upper()})
    assert await client.heard() == []
    notices = await listener.heard()
    told = []
    for notice in notices:
        params: Any = notice.params
        assert params["space"] == space.replace("-", "")
        told.append((notice.method, len(params.get("data", b""))))
    assert told == [
        ("presence", 0),
        ("presence", 1024),
        ("event", 0),
        ("event", 4096),
        ("presence.leave", 0),
    ]


@pytest.mark.in_process
async def test_a_full_space_takes_nobody_new_and_lets_those_in_it_refresh(database_url: str) -> None:
    async with live_server(database_url, Limits(presence_per_space=2)) as live:
        space = str(uuid4())
        listener, *clients = [await here(live, f"user {number}", space) for number in range(4)]
        for client in clients:
            show(client)
            await reached(live, client)
        assert len(await heard(listener)) == 2
        show(clients[0], b"still")
        show(clients[2], b"me too")
        await reached(live, *clients)
        assert [data for _, _, data in await heard(listener)] == [b"still"]
        clients[1].notify("presence.clear", {"space": space})
        await reached(live, clients[1])
        show(clients[2], b"at last")
        await reached(live, clients[2])
        assert [(method, data) for method, _, data in await heard(listener)] == [
            ("presence.leave", None),
            ("presence", b"at last"),
        ]
        assert live.present == 2


@pytest.mark.alone
async def test_who_falls_silent_is_swept_and_told_to_everybody_himself_included(live: Live) -> None:
    clock = [1000.0]
    live.services.presence = Presence(live.services.limits, clock=lambda: clock[0])
    space = str(uuid4())
    silent, lively = await here(live, "alice", space), await here(live, "bob", space)
    for client in (silent, lively):
        show(client)
        await live.settled(client)
    clock[0] += 45
    show(lively)
    await live.settled(lively)
    assert sweep(live.services) == 0
    clock[0] += 0.5
    await heard(silent)
    [(_, peer, _)] = await heard(lively)
    assert sweep(live.services) == 1
    assert await heard(silent) == [("presence.leave", peer, None)]
    assert await heard(lively) == [("presence.leave", peer, None)]
    show(silent)
    await live.settled(silent)
    assert await heard(lively) == [("presence", peer, b"here")]


UPDATES_EACH = 10


@asynccontextmanager
async def crowd(live: Live, count: int) -> AsyncIterator[list[Client]]:
    """Members of one space."""
    space = str(uuid4())
    yield [await here(live, f"user {number}", space) for number in range(count)]


@pytest.mark.in_process
async def test_the_members_of_a_crowd_see_every_update_of_one_another_in_order(database_url: str) -> None:
    count = 100 if InForce.shape is Shape.ONE else 40
    limits = Limits(transient_per_s=10, transient_burst=UPDATES_EACH)
    async with live_server(database_url, limits) as live, crowd(live, count) as members:
        for update in range(UPDATES_EACH):
            for number, member in enumerate(members):
                show(member, bytes([number, update]))
            await asyncio.sleep(0)
        for member in members:
            await live.settled(member)
        peers: dict[int, str] = {}
        for reader, member in enumerate(members):
            told = [notice.params for notice in await member.heard()]
            assert len(told) == (count - 1) * UPDATES_EACH
            if reader % 10:  # all of them counted, some of them looked at
                continue
            seen: dict[int, list[int]] = {}
            for params in told:
                assert isinstance(params, dict)
                number, update = params["data"]
                assert peers.setdefault(number, params["peer"]) == params["peer"]
                seen.setdefault(number, []).append(update)
            everybody_else = set(range(count)) - {reader}
            assert seen == {number: list(range(UPDATES_EACH)) for number in everybody_else}
        assert len(set(peers.values())) == count
        assert live.present == count
        assert len(live.connections()) == count


@pytest.mark.in_process
async def test_a_member_that_stops_reading_is_closed_and_nobody_else_notices(database_url: str) -> None:
    event_bytes, events = 240 * 1024, 64  # as much as a bus carries, about
    limits = Limits(event_bytes=event_bytes, queue_frames=8)  # the kernel takes some megabytes before that
    async with live_server(database_url, limits) as live, crowd(live, 6) as members:
        slow, sender, *readers = members
        show(slow)
        await live.settled(slow)
        for reader in readers:
            assert len(await heard(reader)) == 1
        slow.socket.stop_reading()
        others: dict[int, list[str]] = {reader: [] for reader in range(len(readers))}
        for sent in range(events):
            data = bytes([sent]) + bytes(event_bytes - 1)
            sender.notify("event.send", {"space": sender.space, "data": data})
            for number, reader in enumerate(readers):
                notice: Any = await reader.next()
                while notice.method != "event":
                    others[number].append(notice.method)
                    notice = await reader.next()
                assert notice.params["data"] == data
        assert all(methods == ["presence.leave"] for methods in others.values())
        slow.socket.resume_reading()
        end = await slow.closed()
        assert (end.code, end.reason) == (4006, "slow consumer")
        for reader in readers:
            assert (await reader.push())["ok"]
        assert live.present == 0


async def test_presence_that_does_not_fit_the_answer_of_subscribe_follows_as_notifications(
    database_url: str,
) -> None:
    limits = Limits(presence_answer_bytes=3 * 400)
    async with live_server(database_url, limits) as live:
        alice = Person("alice")
        there, comes = await live.join(alice), await live.join(alice)
        spaces = [await there.create_space(alice) for _ in range(8)]
        ucans = {space: alice.grant(alice, space) for space in spaces}
        for space in spaces:
            await there.subscribe(space, ucan=ucans[space])
            there.notify("presence.set", {"space": space, "data": bytes(300)})
        await live.settled(there)
        entries = [{"id": space, "since": 0, "ucan": ucans[space], "presence": True} for space in spaces]
        answer = await comes.call("subscribe", {"spaces": entries})
        answered = [entry["id"] for entry in answer["spaces"] if entry.get("peers")]
        notices: list[Any] = [await comes.next() for _ in spaces[len(answered) :]]
        assert {notice.method for notice in notices} == {"presence"}
        followed = [notice.params["space"] for notice in notices]
        if InForce.shape is Shape.ONE:
            assert (answered, followed) == (spaces[:3], spaces[3:])
        # The first who listens at a node is answered before the other nodes are.
        assert len(answered) <= 3
        assert sorted(answered + followed) == sorted(spaces)
        assert await comes.heard() == []
