"""Limits per person and per connection over real sockets (docs/protocol.md 8.1 and 12.2)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Response
from tests.live import Client, Live, live_server

MAILBOX = "ab" * 32
REFUSED = ("rate_limited", "rate limit exceeded: max 10 invitations per hour")


def invitation(payload: str = "come") -> dict[str, str]:
    return {"mailbox_id": MAILBOX, "payload": payload}


@asynccontextmanager
async def devices(live: Live, count: int) -> AsyncIterator[list[Client]]:
    """Connections of one user, each with a mailbox of its own so that none is refused."""
    yield [await live.connect(mailbox_id=f"{number:064x}") for number in range(count)]


async def attempt(client: Client, params: dict[str, str]) -> Response:
    response, _ = await client.response(client.send("invitation.create", params))
    return response


async def test_parallel_requests_take_no_more_slots_than_there_are(database_url: str) -> None:
    async with live_server(database_url) as live, devices(live, 5) as clients:
        answers = await asyncio.gather(*(attempt(client, invitation()) for client in clients * 4))
        refusals = [(one.error.code, one.error.message) for one in answers if one.error is not None]
        assert refusals == [REFUSED] * 10
        con = await asyncpg.connect(database_url)
        try:
            assert await con.fetchval("SELECT count(*) FROM invitations") == 10
            assert await con.fetchval("SELECT count(*) FROM rate_limit_actions") == 10
            actors = await con.fetch("SELECT DISTINCT actor_hash FROM rate_limit_actions")
        finally:
            await con.close()
        assert [len(row[0]) for row in actors] == [64]
        # One person's limit is nobody else's, nor another action's.
        other = await live.connect("bob")
        await other.call("invitation.create", invitation())
        assert (await clients[0].push())["ok"]


async def test_what_fails_gives_its_slot_back_and_the_limit_comes_before_validation(
    database_url: str,
) -> None:
    async with live_server(database_url) as live:
        client = await live.connect()
        broken = (
            ({"mailbox_id": ""}, ("bad_request", "missing mailbox_id")),
            ({"mailbox_id": "AB" * 32}, ("bad_request", "mailbox_id must be 64-char hex string")),
            ({"payload": ""}, ("bad_request", "missing payload")),
            ({"payload": "é" * 65_537}, ("payload_too_large", "payload too large")),
            ({"server": "b.example"}, ("bad_request", "federation is not enabled on this server")),
        )
        for _ in range(3):
            for change, error in broken:
                assert await client.error("invitation.create", invitation() | change) == error
        await client.call("invitation.create", invitation("é" * 65_536))
        for _ in range(9):
            await client.call("invitation.create", invitation())
        assert await client.error("invitation.create", invitation()) == REFUSED
        assert await client.error("invitation.create", invitation() | {"payload": ""}) == REFUSED


async def test_the_message_names_the_configured_number(database_url: str) -> None:
    async with live_server(database_url, Limits(invitations_per_window=2)) as live:
        client = await live.connect()
        for _ in range(2):
            await client.call("invitation.create", invitation())
        text = "rate limit exceeded: max 2 invitations per hour"
        assert await client.error("invitation.create", invitation()) == ("rate_limited", text)


async def test_without_a_key_nothing_is_limited_and_nobody_is_counted(database_url: str) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        client = await live.connect()
        for _ in range(12):
            await client.call("invitation.create", invitation())
        con = await asyncpg.connect(database_url)
        try:
            assert await con.fetchval("SELECT count(*) FROM rate_limit_actions") == 0
        finally:
            await con.close()


async def test_a_slot_is_free_again_once_the_window_is_over(database_url: str) -> None:
    async with live_server(database_url, Limits(invitations_per_window=1)) as live:
        client = await live.connect()
        await client.call("invitation.create", invitation())
        assert (await client.error("invitation.create", invitation()))[0] == "rate_limited"
        con = await asyncpg.connect(database_url)
        try:
            await con.execute("UPDATE rate_limit_actions SET created_at = now() - interval '3601 seconds'")
        finally:
            await con.close()
        await client.call("invitation.create", invitation())


async def test_presence_and_events_beyond_the_rate_are_dropped(database_url: str) -> None:
    burst, sent = 5, 60
    limits = Limits(transient_per_s=1, transient_burst=burst)
    async with live_server(database_url, limits) as live:
        listener, client = await live.connect(), await live.connect()
        await listener.subscribe()
        await client.subscribe()
        for number in range(sent):
            client.notify("event.send", {"space": client.space, "data": bytes([number])})
        assert await client.heard() == []
        events = await listener.heard()
        numbers = [event.params["data"][0] for event in events if isinstance(event.params, dict)]
        assert numbers[:burst] == list(range(burst))
        assert numbers == sorted(numbers)
        assert burst <= len(numbers) < sent  # one more for every second it took
        # Nothing else is limited by it.
        assert (await client.push())["ok"]
        client.notify("presence.clear", {"space": client.space})
        client.notify("unsubscribe", {"spaces": [client.space]})
        assert await client.heard() == []


async def test_a_flood_is_closed_and_another_connection_of_the_user_is_not(database_url: str) -> None:
    limits = Limits(transient_per_s=1, transient_burst=1)
    async with live_server(database_url, limits) as live:
        flooder, other = await live.connect(), await live.connect()
        await flooder.subscribe()
        await other.subscribe()
        for _ in range(99):  # ten times the rate for ten seconds is a hundred
            flooder.notify("presence.set", {"space": flooder.space, "data": b"!"})
        await live.settled(flooder)
        flooder.notify("presence.set", {"space": flooder.space, "data": b"!"})
        end = await flooder.closed()
        assert (end.code, end.reason) == (4007, "rate limited")
        notices = await other.methods_heard()
        assert notices[0] == "presence"
        assert notices[-1] == "presence.leave"
        other.notify("event.send", {"space": other.space, "data": b"fine"})
        assert await other.heard() == []
