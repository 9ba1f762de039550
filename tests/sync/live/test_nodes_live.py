"""Two servers on one database with a bus between them, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import uuid4

import pytest

from less_sync.auth import Permission
from less_sync.sync.live.bus import SUBJECT_OF_NODES
from tests.live import Live, Person, cid_of, live_server
from tests.sync.live.lossy_bus import Hub, LossyBus


@dataclass(eq=False)
class GatedBus(LossyBus):
    """Says that it listens when the test lets it."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def confirmed(self) -> bool:
        self.asked.set()
        await self.gate.wait()
        return True


class Pair(NamedTuple):
    hub: Hub
    here: Live
    there: Live


@pytest.fixture
async def pair(database_url: str) -> AsyncIterator[Pair]:
    hub = Hub()
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(live_server(database_url, bus=hub.bus()))
        there = await stack.enter_async_context(live_server(database_url, bus=hub.bus()))
        there.issuer = here.issuer
        there.services.authenticator = here.services.authenticator
        yield Pair(hub, here, there)


async def test_a_member_revoked_at_one_server_hears_nothing_more_at_the_other(pair: Pair) -> None:
    owner, guest = Person("alice"), Person("bob")
    here, there = await pair.here.join(owner), await pair.there.join(guest)
    space = await here.create_space(owner)
    root = owner.grant(owner, space, Permission.ADMIN)
    ucan = owner.grant(guest, space)
    await here.subscribe(space, ucan=root)
    assert "errors" not in await there.subscribe(space, ucan=ucan)
    change = {"id": str(uuid4()), "blob": b"x", "expected_cursor": 0}
    assert (await here.push(change, space=space, ucan=root))["ok"]
    notice = await asyncio.wait_for(there.next(), 10)
    assert getattr(notice, "method", "") == "sync"
    assert (await there.push({**change, "id": str(uuid4())}, space=space, ucan=ucan))["cursor"] == 2
    assert getattr(await asyncio.wait_for(here.next(), 10), "method", "") == "sync"
    await here.call("membership.revoke", {"space": space, "ucan": root, "ucan_cid": cid_of(ucan)})
    assert getattr(await asyncio.wait_for(there.next(), 10), "method", "") == "revoked"
    assert (await here.push({**change, "id": str(uuid4())}, space=space, ucan=root))["ok"]
    await asyncio.sleep(0.05)
    assert await there.heard() == []
    result = await there.subscribe(space, ucan=ucan)
    assert result["errors"] == [{"space": space, "error": "forbidden"}]


async def test_spaces_that_one_is_not_let_into_are_not_heard_of(pair: Pair) -> None:
    client = await pair.here.connect("alice")
    result = await client.subscribe(*(str(uuid4()) for _ in range(20)))
    assert len(result["errors"]) == 20
    assert list(pair.hub.buses[0].subjects) == [SUBJECT_OF_NODES]


async def test_who_hangs_up_while_the_bus_is_waited_for_leaves_nothing(database_url: str) -> None:
    bus = GatedBus(Hub())
    async with live_server(database_url, bus=bus) as live:
        client = await live.connect("alice")
        client.send("subscribe", {"spaces": [{"id": client.space, "since": 0}]})
        await asyncio.wait_for(bus.asked.wait(), 10)
        assert len(bus.subjects) == 2
        client.socket.abort()
        async with asyncio.timeout(10):
            while len(bus.subjects) > 1:  # noqa: ASYNC110  a bus tells nobody what is left
                await asyncio.sleep(0.005)
        assert live.services.nodes is not None
        assert len(live.services.nodes.interests) == 0
        bus.gate.set()
        again = await live.connect("alice")
        assert (await again.subscribe())["spaces"][0]["cursor"] == 0
        assert len(bus.subjects) == 2
