"""Peers that hang up at any moment, ask for everything at once, or subscribe while something is revoked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.federation.quotas import Usage
from less_sync.federation.settings import PeerQuotas
from less_sync.sync.live.broker import Subscriber
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.frames import Notification, Response, encode_notification
from tests.federation.inbound.peer_client import Home, Shared, change, entry, home_server, subscribe
from tests.integration.waiting import until
from tests.live import Client, cid_of

DELAYS_S: Final = [step * 0.0004 for step in range(18)]
"""How long after asking the connection is dropped: before, within and after what it asked for."""
MANY: Final = PeerQuotas(connections=1000)


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    async with home_server(database_url, quotas=MANY) as running:
        yield running


async def all_given_back(home: Home) -> None:
    """Return once nothing is counted for a connection or a subscription."""

    async def idle() -> bool:
        usage = home.usage()
        return (usage.connections, usage.spaces) == (0, 0)

    await until(idle)
    assert home.live.services.announce.writes_under_way == 0


Ask = Callable[[Client, Shared, Shared], object]


def ask_to_subscribe(peer: Client, first: Shared, second: Shared) -> None:
    entries = [entry(one.id, ucan=one.ucan()) for one in (first, second)]
    peer.send("subscribe", {"spaces": entries})


def ask_for_everything(peer: Client, first: Shared, second: Shared) -> None:
    ask_to_subscribe(peer, first, second)
    for shared in (first, second):
        peer.send("pull", {"spaces": [{"id": shared.id, "since": 0, "ucan": shared.ucan()}]})
        peer.send("push", {"space": shared.id, "ucan": shared.ucan(), "changes": [change()]})
        peer.notify("unsubscribe", {"spaces": [shared.id]})
        peer.send("fed.invitation", {"mailbox_id": "ab" * 32, "payload": "x"})
    ask_to_subscribe(peer, first, second)


def ask_again_and_again(peer: Client, first: Shared, second: Shared) -> None:
    for _ in range(20):
        ask_to_subscribe(peer, first, second)
        peer.notify("unsubscribe", {"spaces": [first.id, second.id, str(uuid4())]})


@pytest.mark.parametrize("ask", [ask_to_subscribe, ask_for_everything, ask_again_and_again])
async def test_whenever_a_peer_hangs_up_everything_is_given_back(home: Home, ask: Ask) -> None:
    first, second = await home.share(), await home.share()
    for delay_s in DELAYS_S:
        peer = await home.peer()
        ask(peer, first, second)
        await asyncio.sleep(delay_s)
        peer.socket.abort()
    last = await home.peer()
    ask(last, first, second)
    await home.live.settled(last)
    last.socket.abort()
    await all_given_back(home)
    rows = await home.sql("SELECT count(*) AS count FROM records")
    assert rows[0]["count"] > 0 or ask is not ask_for_everything
    assert home.usage().records_this_hour == rows[0]["count"]
    rows = await home.sql("SELECT count(*) AS count FROM invitations")
    assert home.usage().invitations_this_hour == rows[0]["count"]


async def test_a_thousand_requests_at_once_are_answered_each_once_and_leave_nothing(home: Home) -> None:
    spaces = [await home.share() for _ in range(4)]
    peer = await home.peer()
    ids: list[str] = []
    for number in range(1000):
        shared = spaces[number // 4 % 4]
        match number % 4:
            case 0:
                params: dict[str, object] = {"spaces": [entry(shared.id, ucan=shared.ucan())]}
                ids.append(peer.send("subscribe", params))
            case 1:
                params = {"space": shared.id, "ucan": shared.ucan(), "changes": [change()]}
                ids.append(peer.send("push", params))
            case 2:
                params = {"spaces": [{"id": shared.id, "since": 0, "ucan": shared.ucan()}]}
                ids.append(peer.send("pull", params))
            case _:
                ids.append(peer.send("nonsense", {}))
    answered: list[str] = []
    while len(answered) < len(ids):
        frame = await peer.next()
        if isinstance(frame, Response):
            answered.append(frame.id)
    assert sorted(answered) == sorted(ids)
    in_order = [id for number, id in enumerate(ids) if number % 4 != 2]
    assert [id for id in answered if id in set(in_order)] == in_order
    assert home.usage() == Usage(1, 4, 250, 250, 0)
    peer.socket.abort()
    await all_given_back(home)


class Nobody:
    """Whoever revoked: not one of the subscribers."""

    connection_id = "nobody"
    is_peer = False

    def deliver(self, frame: bytes) -> None:
        raise AssertionError

    def deliver_soon(self, frame: bytes) -> None:
        self.deliver(frame)

    def overflow(self) -> None:
        raise AssertionError

    def end(self, close: Close) -> None:
        raise AssertionError


async def test_what_is_revoked_while_the_rows_are_read_is_refused(home: Home, database_url: str) -> None:
    spaces = [await home.share() for _ in range(4)]
    ucans = [shared.ucan() for shared in spaces]
    first = await home.peer()
    [token] = [
        space["token"] for space in (await subscribe(first, entry(spaces[3].id, ucan=ucans[3])))["spaces"]
    ]
    await first.socket.hangup(20)
    peer, nobody = await home.peer(), Nobody()
    announce = home.live.services.announce
    blocker = await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE spaces")
        entries = [entry(one.id, ucan=ucan) for one, ucan in zip(spaces[:3], ucans[:3], strict=True)]
        id = peer.send("subscribe", {"spaces": [*entries, entry(spaces[3].id, token=token)]})
        broker = home.live.services.broker

        async def arriving() -> bool:
            return bool(broker.arriving(UUID(spaces[0].id)))

        await until(arriving)
        subscriber: Subscriber = nobody
        announce.revoked(UUID(spaces[0].id), cid_of(ucans[0]), exclude=subscriber)
        announce.revoked(UUID(spaces[1].id), "another", exclude=subscriber)
        announce.maybe_revoked(UUID(spaces[2].id), cid_of(ucans[2]))
        announce.revoked(UUID(spaces[3].id), "any, as the token does not tell", exclude=subscriber)
    await blocker.close()
    response, _ = await peer.response(id)
    assert isinstance(response.result, dict)
    assert [space["id"] for space in response.result["spaces"]] == [spaces[1].id]
    assert response.result["errors"] == [
        {"space": spaces[0].id, "error": "forbidden"},
        {"space": spaces[2].id, "error": "internal"},
        {"space": spaces[3].id, "error": "forbidden"},
    ]
    assert home.usage().spaces == 1
    # It hears of the revocation in the space that it was let into, and of no other.
    assert [notice.params["space"] for notice in await peer.heard()] == [spaces[1].id]  # type: ignore[index]  # decoded CBOR


def numbered(number: int, text: str) -> bytes:
    return encode_notification("numbered", {"number": number})


async def test_hundreds_of_changes_while_the_rows_are_read_are_kept(home: Home, database_url: str) -> None:
    shared = await home.share()
    peer = await home.peer()
    broker, space = home.live.services.broker, UUID(shared.id)
    blocker = await asyncpg.connect(database_url)
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE spaces")
        id = peer.send("subscribe", {"spaces": [entry(shared.id, ucan=shared.ucan())]})

        async def arriving() -> bool:
            return bool(broker.arriving(space))

        await until(arriving)
        for number in range(1000):
            broker.publish(space, partial(numbered, number))
    await blocker.close()
    frames = [await peer.next() for _ in range(1001)]
    notices = [frame.params for frame in frames if isinstance(frame, Notification)]
    assert notices == [{"number": number} for number in range(1000)]
    assert [frame.id for frame in frames if isinstance(frame, Response)] == [id]


async def test_a_revocation_whose_outcome_is_unknown_lets_peers_come_back(home: Home) -> None:
    shared, other = await home.share(), await home.share()
    by_ucan, elsewhere = await home.peer(), await home.peer()
    ucan = shared.ucan()
    [space] = (await subscribe(by_ucan, entry(shared.id, ucan=ucan)))["spaces"]
    by_token = await home.peer()
    await subscribe(by_token, entry(shared.id, token=space["token"]))
    await subscribe(elsewhere, entry(other.id, ucan=other.ucan()))
    home.live.services.announce.maybe_revoked(UUID(shared.id), cid_of(ucan))
    for peer in (by_ucan, by_token):
        end = await peer.closed()
        assert (end.code, end.reason) == (1001, "access must be checked again")
    await home.live.settled(elsewhere)
    assert home.usage() == Usage(connections=1, spaces=1)
