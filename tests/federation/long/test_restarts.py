"""Servers that stop, die and come back, at either end of a link."""

import asyncio

import pytest

from tests.federation.proxy import Way
from tests.federation.rig import Node, Rig, Shared, change, notice, rig, subscribed
from tests.federation.witnesses import Writer, drain, undisturbed, written_once
from tests.integration.waiting import until
from tests.live import Client, Person

PUSHES = 20


async def end(node: Node, how: str) -> None:
    await (node.stop() if how == "stop" else node.kill())


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_an_edge_finds_its_home_again_and_nothing_acknowledged_is_lost(
    databases: list[str], how: str
) -> None:
    async with rig(databases) as r, undisturbed(r.edge1):
        shared, one = await r.share(r.home, r.edge1), Person("one")
        hearer = await subscribed(r.edge1, one, shared)
        writers = [await Writer.at(r.edge1, Person(f"w{n}"), shared, n) for n in range(2)]

        async def write(writer: Writer) -> None:
            for _ in range(PUSHES):
                await writer.push()

        writing = [asyncio.create_task(write(writer)) for writer in writers]
        await r.wire(r.edge1, r.home).until(
            lambda: len(r.wire(r.edge1, r.home).frames(Way.UP, "push")) > PUSHES // 2
        )
        await end(r.home, how)
        assert len(await while_away(hearer, shared, one)) == 0
        await r.start(r.home)
        await asyncio.gather(*writing)
        await r.home.until_counts(r.edge1, 1, 1)
        await written_once(r.home, shared, writers)
        total = 2 * PUSHES
        cursors = [told["cursor"] for told in await drain(hearer, total)]
        assert cursors == sorted(cursors)
        # What its neighbour at home writes now is heard again.
        zero = Person("zero")
        at_home = await r.home.join(zero)
        assert (await at_home.push(change(), space=shared.id, ucan=shared.grant(zero)))["ok"] is True
        while (await notice(hearer))["cursor"] <= total:
            pass


async def while_away(client: Client, shared: Shared, person: Person) -> list[object]:
    """What an edge says of a space whose home is not there: nothing, and at once."""
    return list(await client.pull(space=shared.id, ucan=shared.grant(person)))


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_home_gives_everything_back_that_a_lost_edge_held(databases: list[str], how: str) -> None:
    async with rig(databases) as r, undisturbed(r.home):
        shared, zero, one = await r.share(r.home, r.edge1), Person("zero"), Person("one")
        at_home = await subscribed(r.home, zero, shared)
        writer = await Writer.at(r.edge1, one, shared, 3)
        await subscribed(r.edge1, one, shared)
        for _ in range(PUSHES):
            await writer.push()
        assert await r.home.counts(r.edge1) == (1, 1)
        await end(r.edge1, how)
        await r.home.until_counts(r.edge1, 0, 0)
        assert (await drain(at_home, PUSHES))[-1]["cursor"] == PUSHES
        await r.start(r.edge1)
        writer.client = await r.edge1.join(one)
        hearer = await subscribed(r.edge1, one, shared)
        await writer.push()
        assert (await notice(hearer))["cursor"] == PUSHES + 1
        assert (await notice(at_home))["cursor"] == PUSHES + 1
        await written_once(r.home, shared, [writer])
        assert await r.home.counts(r.edge1) == (1, 1)


async def test_an_unused_home_that_is_away_costs_the_clients_of_the_edge_nothing(
    databases: list[str],
) -> None:
    async with rig(databases, started=("home", "edge1")) as r:
        shared, one = await r.share(r.home, r.edge1), Person("one")
        ucan = shared.grant(one)
        await r.home.kill()
        async with undisturbed(r.edge1):
            c1 = await r.edge1.join(one)
            entry = {"id": shared.id, "since": 0, "ucan": ucan}
            own = {"id": c1.space, "since": 0}
            answer = await c1.call("subscribe", {"spaces": [entry, own]})
            assert [space["id"] for space in answer["spaces"]] == [c1.space]
            assert answer["errors"] == [{"space": shared.id, "error": "internal"}]
            refused = await c1.push(change(), space=shared.id, ucan=ucan)
            assert refused == {"ok": False, "error": "internal"}
            assert await c1.pull(space=shared.id, ucan=ucan) == []
            assert (await c1.push(change()))["ok"] is True
        await r.start(r.home)
        assert await until_subscribed(r, c1, shared, ucan)


async def until_subscribed(r: Rig, client: Client, shared: Shared, ucan: str) -> bool:
    """Ask until the home has been found."""

    async def found() -> bool:
        return bool((await client.subscribe(shared.id, ucan=ucan))["spaces"])

    await until(found)
    return await r.home.counts(r.edge1) == (1, 1)
