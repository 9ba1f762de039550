"""What a peer announces on a connection that it opened: whose word is passed on, and to whom."""

from typing import Any, Final
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from less_sync.federation.inbound.homes import Home as Known
from less_sync.federation.inbound.homes import Homes
from less_sync.federation.settings import NoticesFrom
from less_sync.storage import Space
from tests.federation.inbound.peer_client import EDGE1, EDGE2, Home, Shared, entry, home_server, subscribe
from tests.live import Client

RECORD: Final = {"id": str(uuid4()), "blob": b"blob", "cursor": 10, "dek": bytes(44)}
ENTRY: Final = {"chain_seq": 1, "entry_hash": bytes(32), "payload": b"p"}
FILE: Final = {"id": str(uuid4()), "record_id": str(uuid4()), "size": 3, "dek": bytes(44)}
SAID: Final[dict[str, dict[str, Any]]] = {
    "sync": {"prev": 7, "cursor": 10, "key_generation": 2, "rewrap_epoch": 3, "records": [RECORD]},
    "membership": {"cursor": 11, "entries": [ENTRY]},
    "file": {"cursor": 12, "files": [FILE]},
    "revoked": {"reason": "ucan_revoked"},
}


def say(peer: Client, space: str) -> None:
    """All four, with members that nobody knows."""
    for method, params in SAID.items():
        peer.notify(method, {"space": space, "unknown": 1} | params)


async def heard(client: Client) -> dict[str, Any]:
    return {notice.method: notice.params for notice in await client.heard()}


def as_told(space: str) -> dict[str, Any]:
    return {method: {"space": space} | params for method, params in SAID.items()}


async def away(home: Home, host: str) -> tuple[Shared, Client, Client]:
    """A space whose home is elsewhere, a client of it here, and another peer that is subscribed to it."""
    shared = await home.share()
    member, other = await home.member(shared), await home.peer(EDGE2)
    await subscribe(other, entry(shared.id, ucan=shared.ucan()))
    await home.set_home(shared.id, host)
    return shared, member, other


@pytest.mark.parametrize(
    "home_server_text", [EDGE1, f"https://{EDGE1}", f"http://{EDGE1}:5379", f"{EDGE1.upper()}:443"]
)
async def test_a_space_s_home_is_believed_and_clients_alone_hear_of_it(
    database_url: str, home_server_text: str
) -> None:
    async with home_server(database_url) as home:
        shared, member, other = await away(home, home_server_text)
        peer = await home.peer()
        say(peer, shared.id.upper())
        await home.live.settled(peer)
        assert await heard(member) == as_told(shared.id)
        assert await heard(other) == {}
        # One that shows no record says all the same that there is something to pull.
        peer.notify("sync", {"space": shared.id} | SAID["sync"] | {"records": []})
        await home.live.settled(peer)
        assert (await heard(member))["sync"]["records"] == []


async def test_anybody_else_is_not_and_is_named_in_the_log_once_for_each_space(database_url: str) -> None:
    async with home_server(database_url) as home:
        shared, member, other = await away(home, "elsewhere.test")
        local = await home.share()
        client = await home.member(local)
        peer = await home.peer()
        await subscribe(peer, entry(local.id, ucan=local.ucan()))
        with capture_logs() as logs:
            for space in (shared.id, local.id, str(uuid4()), "no uuid") * 2:
                say(peer, space)
            await home.live.settled(peer)
        for listener in (member, other, client):
            assert await heard(listener) == {}
        dropped = [log for log in logs if log["event"] == "notification of a peer dropped"]
        assert [(log["peer"], log["space"]) for log in dropped] == [(EDGE1, shared.id), (EDGE1, local.id)]


async def test_any_subscriber_is_believed_where_the_operator_says_so(database_url: str) -> None:
    async with home_server(database_url, notices_from=NoticesFrom.SUBSCRIBED) as home:
        shared = await home.share()
        member, other, peer = await home.member(shared), await home.peer(EDGE2), await home.peer()
        say(peer, shared.id)
        await home.live.settled(peer)
        assert await heard(member) == {}
        for one in (peer, other):
            await subscribe(one, entry(shared.id, ucan=shared.ucan()))
        say(peer, shared.id)
        await home.live.settled(peer)
        assert await heard(member) == as_told(shared.id)
        assert await heard(other) == await heard(peer) == {}


async def test_nobody_is_believed_where_the_operator_says_so(database_url: str) -> None:
    async with home_server(database_url, notices_from=NoticesFrom.OFF) as home:
        shared, member, _ = await away(home, EDGE1)
        peer = await home.peer()
        say(peer, shared.id)
        await home.live.settled(peer)
        assert await heard(member) == {}


async def test_what_is_no_notification_does_no_harm(database_url: str) -> None:
    async with home_server(database_url) as home:
        shared, member, _ = await away(home, EDGE1)
        peer = await home.peer()
        shapes: list[dict[str, Any]] = [
            {},
            {"space": shared.id},
            {"spaces": []},
            {"spaces": [1]},
            {"token": "x"},
        ]
        for method in (*SAID, "unsubscribe", "auth", "presence.set", "presence.clear", "event.send", "?"):
            for params in shapes:
                peer.notify(method, params)
            peer.notify(method, {"space": shared.id, "data": b"x"})
        await home.live.settled(peer)
        assert await heard(member) == {}


async def test_a_fault_of_the_database_drops_the_notification_alone(database_url: str) -> None:
    async with home_server(database_url) as home:
        shared, member, _ = await away(home, EDGE1)
        peer = await home.peer()
        await home.sql("ALTER TABLE spaces RENAME TO away")
        peer.notify("revoked", {"space": shared.id} | SAID["revoked"])
        await home.live.settled(peer)
        await home.sql("ALTER TABLE away RENAME TO spaces")
        peer.notify("sync", {"space": shared.id} | SAID["sync"])
        await home.live.settled(peer)
        assert list(await heard(member)) == ["sync"]


class CountingSpaces:
    """A store of which each read is counted."""

    def __init__(self, home: str | None) -> None:
        self.home = home
        self.reads = 0

    async def get_spaces(self, ids: Any) -> dict[Any, Space]:
        self.reads += 1
        return {id: Space(id, "", b"", 1, 1, 0, 0, None, self.home) for id in ids}


async def test_a_home_is_remembered_for_a_moment_and_within_a_bound() -> None:
    now_s = 0.0
    spaces = CountingSpaces("https://edge1.test:5379/x")
    homes = Homes(
        spaces,  # type: ignore[arg-type]  # the one method that is used
        lambda home: home is not None,
        lambda: now_s,
        entries_max=2,
        life_s=30,
    )
    first, second, third = uuid4(), uuid4(), uuid4()
    assert homes.known(first) is Known.UNREAD
    assert await homes.read(first) == EDGE1
    now_s = 29.9
    assert homes.known(first) == EDGE1
    now_s = 30.0
    assert homes.known(first) is Known.UNREAD
    for home, known in ((None, Known.HERE), ("user@no host", ""), ("", "")):
        spaces.home = home
        assert await homes.read(second) == homes.known(second) == known
    await homes.read(first)
    await homes.read(third)
    assert homes.known(second) is Known.UNREAD
    assert spaces.reads == 6
