"""Clients of three servers come to know the same, whatever happens in between, and nobody has to ask."""

import asyncio
from random import Random

import pytest

from tests.federation.proxy import Way, Wire
from tests.federation.rig import Rig, change, rig
from tests.federation.witnesses import Replica, Writer, undisturbed, written_once
from tests.live import Person

ROUNDS = 10
PUSHES_PER_ROUND = 4
CONVERGED_S = 60.0
NODES = ("home", "edge1", "edge2")


async def write_some(writer: Writer) -> None:
    for _ in range(PUSHES_PER_ROUND):
        await writer.push()


def break_somehow(wire: Wire, random: Random) -> None:
    """Cut a wire at a boundary that will come, at once, or when it has been silent for a while."""
    match random.randrange(3):
        case 0:
            way, forwarded = random.choice(list(Way)), random.random() < 0.5
            wire.cut_at(way, count=random.randrange(1, 6), forwarded=forwarded)
        case 1:
            wire.cut()
        case _:
            wire.swallow(random.choice(list(Way)))
            asyncio.get_running_loop().call_later(random.uniform(0.05, 0.5), wire.cut)


async def all_know_the_same(r: Rig, replicas: list[Replica], writers: list[Writer]) -> None:
    """Check that every replica is what the home holds, which is what was acknowledged."""
    shared = replicas[0].shared
    await written_once(r.home, shared, writers)
    stored = await r.home.sql("SELECT id::text, cursor, blob FROM records WHERE space_id = $1", shared.id)
    expected = {one["id"]: (one["cursor"], one["blob"]) for one in stored}
    for replica in replicas:
        assert replica.records == expected


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_replicas_converge_after_links_broke_in_every_way(databases: list[str], seed: int) -> None:
    random = Random(seed)
    async with rig(databases, *NODES) as r, undisturbed(*r.nodes.values()):
        shared = await r.share(r.home, r.edge1, r.edge2)
        nodes = list(r.nodes.values())
        replicas = [await Replica.at(node, Person(f"replica at {node.name}"), shared) for node in nodes]
        writers = [
            await Writer.at(node, Person(f"writer at {node.name}"), shared, seed * 10 + number)
            for number, node in enumerate(nodes)
        ]
        wires = [r.wire(edge, r.home) for edge in (r.edge1, r.edge2)]
        # Each write moves the cursor by one. Replicas hear of it, or are told to pull; nobody asks for them.
        end = ROUNDS * PUSHES_PER_ROUND * len(writers)
        following = [asyncio.create_task(replica.follow(end)) for replica in replicas]
        for number in range(ROUNDS):
            break_somehow(wires[number % 2], random)
            await asyncio.gather(*(write_some(writer) for writer in writers))
        await asyncio.wait_for(asyncio.gather(*following), CONVERGED_S)
        await all_know_the_same(r, replicas, writers)
        assert all(len(wire.upgrades) > 1 for wire in wires)
        # Who was connected all the time missed nothing; the others heard news and pulled what they missed.
        assert (replicas[0].pulls, replicas[0].applied) == (1, end)
        assert all(replica.pulls > 1 and replica.applied for replica in replicas[1:])


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_replicas_converge_after_the_home_was_away_and_had_news(databases: list[str], how: str) -> None:
    async with rig(databases, *NODES) as r:
        shared, zero = await r.share(r.home, r.edge1, r.edge2), Person("zero")
        edges = [r.edge1, r.edge2]
        async with undisturbed(*edges):
            replicas = [await Replica.at(edge, Person(edge.name), shared) for edge in edges]
            await (r.home.stop() if how == "stop" else r.home.kill())
            await r.home.start()
            # It is back before its peers find it, and has news for them by then.
            at_home = await r.home.join(zero)
            for _ in range(3):
                answer = await at_home.push(change(), space=shared.id, ucan=shared.grant(zero))
                assert answer["ok"] is True
            r.lead_to(r.home)
            for replica in replicas:
                await asyncio.wait_for(replica.follow(3), CONVERGED_S)
            assert replicas[0].records == replicas[1].records
            assert len(replicas[0].records) == 3
