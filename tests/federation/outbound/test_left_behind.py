"""Whoever may have missed something at an edge is told so, whatever overtakes whatever."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from less_sync.sync.announce import WAITING_CHANGES_MAX
from less_sync.sync.protocol.frames import Notification, Response
from tests.federation.outbound.scripted_home import Edge, edge, record, refusal, until
from tests.live import Client, Person

OWNER = Person("owner")
HELD_FRAMES = 64
"""What is kept for a session that is just being let in."""


async def notice(client: Client) -> tuple[str, Any]:
    frame = await client.next()
    assert isinstance(frame, Notification)
    return frame.method, frame.params


async def notices(client: Client) -> list[tuple[str, Any]]:
    return [(one.method, one.params) for one in await client.heard()]


async def entered(at: Edge, name: str, space: str) -> tuple[Client, str]:
    """A member who is subscribed, with his UCAN."""
    client, ucan = await at.member(OWNER, name, space)
    await client.subscribe(space, ucan=ucan)
    return client, ucan


async def test_what_waits_too_long_behind_a_push_is_told_as_pull(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, _ = await entered(at, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        gate = at.home.gates["push"] = asyncio.Event()
        pushed = carol.send("push", {"space": space, "ucan": hers, "changes": [record(1)]})
        await until(lambda: at.home.in_flight)
        for _ in range(WAITING_CHANGES_MAX + 10):
            at.home.link.announce_sync(space, record(2))
        gate.set()
        await carol.response(pushed)
        heard = [params for _, params in [await notice(bob) for _ in range(WAITING_CHANGES_MAX + 1)]]
        assert [one["cursor"] for one in heard[:-1]] == list(range(1, WAITING_CHANGES_MAX + 1))
        assert (heard[-1]["prev"], heard[-1]["cursor"]) == (-1, WAITING_CHANGES_MAX + 11)


async def test_a_revocation_does_not_wait_for_a_push_behind_which_it_would_be_lost(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await entered(at, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        gate = at.home.gates["push"] = asyncio.Event()
        pushed = carol.send("push", {"space": space, "ucan": hers, "changes": [record(1)]})
        await until(lambda: at.home.in_flight)
        at.home.refused[ucan] = "forbidden"
        at.home.link.announce("revoked", space=space, reason="ucan_revoked")
        assert await notice(bob) == ("revoked", {"space": space, "reason": "ucan_revoked"})
        await until(lambda: not at.live.services.broker.listened_to(UUID(space)))
        gate.set()
        await carol.response(pushed)
        assert await notices(bob) == []


@pytest.mark.parametrize("pushes", [False, True], ids=["comes", "pushes"])
async def test_a_space_that_was_not_subscribed_again_is_caught_up_with_by_everybody(
    database_url: str, pushes: bool
) -> None:
    """Whoever subscribes meanwhile learns the cursor; whoever pushes learns one that is beyond a gap."""
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        bob, ucan = await entered(at, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        at.home.write(space, record(1))
        at.home.before += [("subscribe", refusal("internal"))] * 2
        await at.home.link.reconnect()
        await until(lambda: not at.home.before)
        if pushes:
            change = {"space": space, "ucan": ucan, "changes": [record(2)]}
            assert await bob.call("push", change) == {"ok": True, "cursor": 2}
        else:
            await carol.subscribe(space, ucan=hers)
        name, params = await notice(bob)
        assert (name, params["prev"], params["cursor"]) == ("sync", -1, 2 if pushes else 1)


async def test_who_is_let_in_slowly_is_told_to_pull_instead_of_being_cut_off(database_url: str) -> None:
    async with edge(database_url) as at:
        space = await at.shared(OWNER)
        await entered(at, "bob", space)
        carol, hers = await at.member(OWNER, "carol", space)
        gate = at.home.gates["subscribe"] = asyncio.Event()
        asked = carol.send("subscribe", {"spaces": [{"id": space, "since": 0, "ucan": hers}]})
        await until(lambda: at.home.in_flight)
        for _ in range(HELD_FRAMES + 10):
            at.home.link.announce_sync(space, record(1))
        gate.set()
        heard = [params for _, params in [await notice(carol) for _ in range(HELD_FRAMES + 1)]]
        assert [one["cursor"] for one in heard[:-1]] == list(range(1, HELD_FRAMES + 1))
        assert (heard[-1]["prev"], heard[-1]["cursor"]) == (-1, HELD_FRAMES + 10)
        answer = await carol.next()
        assert isinstance(answer, Response)
        assert answer.id == asked


async def test_who_hangs_up_just_when_the_home_answers_leaves_nothing_behind(database_url: str) -> None:
    """In whichever turn of the loop he is found to be gone."""
    async with edge(database_url) as at:
        for turns in range(16):
            space = await at.shared(OWNER)
            before = set(at.live.connections())
            carol, hers = await at.member(OWNER, f"carol {turns}", space)
            [connection] = set(at.live.connections()) - before
            gate = at.home.gates["subscribe"] = asyncio.Event()
            carol.send("subscribe", {"spaces": [{"id": space, "since": 0, "ucan": hers}]})
            await until(lambda: at.home.in_flight)
            gate.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            connection.connection_lost(None)
            connection.transport.abort()
            await until(lambda: not at.home.in_flight)
            await asyncio.sleep(0.01)
            assert not at.live.services.broker.listened_to(UUID(space)), turns
