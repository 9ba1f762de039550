"""Many calls and pulls over a link whose connections break at any moment: every one ends, and rightly."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

import cbor2
import pytest
from websockets.exceptions import ConnectionClosed

from less_sync.federation.outbound.calls import PeerFault, PeerLost, PeerUnreachable, PullBroken, Repeat
from less_sync.federation.outbound.socket import READ_BYTES
from less_sync.sync.protocol.frames import Request, decode_frame
from tests.federation.outbound.home import QUICK, Linked, linked, scripted_home
from tests.sync.scripted_server import Peer

PEOPLE = "abcd"
ROUNDS = 40


@dataclass
class Fate:
    """A home that breaks connections as a seed says, and what came to it."""

    chance: random.Random
    came: Counter[str] = field(default_factory=Counter)
    orders: list[list[str]] = field(default_factory=list)
    """For each connection the names of the calls, in order."""

    async def act(self, peer: Peer) -> None:
        order: list[str] = []
        self.orders.append(order)
        with suppress(ConnectionClosed):
            async for message in peer.connection:
                assert isinstance(message, bytes)
                one = decode_frame(message)
                assert isinstance(one, Request)
                assert isinstance(one.params, dict)
                name = str(one.params["name"])
                self.came[name] += 1
                order.append(name)
                if await self.broke(peer):
                    return
                if one.method == "pull":
                    for number in range(5):
                        await peer.chunk(one, "pull.record", {"name": name, "number": number})
                        if await self.broke(peer):
                            return
                    await peer.answer(one, {"_chunks": 5})
                else:
                    await peer.answer(one, {"name": name})

    async def broke(self, peer: Peer) -> bool:
        draw = self.chance.random()
        if draw < 0.02:
            peer.connection.transport.abort()
        elif draw < 0.03:
            peer.connection.transport.close()
        elif draw < 0.04:
            await peer.connection.close(self.chance.choice([1000, 1001, 1011, 4001, 4006]))
        elif draw < 0.06:
            await peer.connection.send(b"\xff\x00")
            return False
        return draw < 0.04


async def calls_of(to: Linked, person: str, chance: random.Random, ends: Counter[str]) -> None:
    """Bursts of calls of one person; each gets its own answer or a fault."""
    for burst in range(ROUNDS):
        repeat = chance.choice(list(Repeat))

        async def one(name: str, repeat: Repeat = repeat) -> None:
            params = cbor2.dumps({"name": name})
            try:
                result = await to.link.call("push", params, person=person, repeat=repeat)
            except (PeerLost, PeerUnreachable) as fault:
                ends[type(fault).__name__] += 1
                if isinstance(fault, PeerUnreachable):
                    ends[f"unsent {name}"] += 1
            else:
                assert result == {"name": name}
                ends["answered"] += 1

        letter = "o" if repeat is Repeat.ONCE else "u"
        names = [f"{letter}{person}{burst:03}{number}" for number in range(chance.randint(1, 6))]
        tasks = [asyncio.create_task(one(name)) for name in names]
        if chance.random() < 0.2:
            await asyncio.sleep(0)
            chance.choice(tasks).cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()


async def pulls_of(to: Linked, person: str, ends: Counter[str]) -> None:
    """One pull after another; whole, broken behind chunks in order, or none at all."""
    for number in range(ROUNDS):
        name, received = f"p{person}{number}", 0
        try:
            async for chunk in to.link.pull(cbor2.dumps({"name": name}), person=person):
                assert chunk.data == {"name": name, "number": received}
                received += 1
        except PullBroken:
            assert received
            ends["broken"] += 1
        except PeerFault:
            assert not received
            ends["none"] += 1
        else:
            assert received == 5
            ends["pulled"] += 1


@pytest.mark.parametrize("seed", range(4))
async def test_every_call_ends_once_and_nothing_is_left_behind(seed: int) -> None:
    limits = replace(QUICK, calls_in_flight=8, backoff_max_s=0.02, recycled_s=0.01, pull_refused_s=0.05)
    fate = Fate(random.Random(seed))
    ends: Counter[str] = Counter()
    async with scripted_home(fate.act) as home, linked(home.url, limits) as to:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for index, person in enumerate(PEOPLE):
                group.create_task(calls_of(to, person, random.Random(f"{seed} {index}"), ends))
                group.create_task(pulls_of(to, person, ends))
        outbox = to.link._outbox
        assert not outbox.busy
        assert (outbox._unwritten, outbox._written, outbox._lanes, outbox._held_bytes) == ({}, {}, {}, 0)
        assert to.link._pulls.running == 0
        assert outbox._turns._held == {}
    assert ends["answered"] > ROUNDS
    assert ends["pulled"] > ROUNDS
    assert ends["PeerLost"] > 0  # else nothing was tried
    for name, times in fate.came.items():
        assert times <= (1 if name.startswith("u") else 2), name
        assert not (times and ends[f"unsent {name}"]), name
    for order in fate.orders:
        for person in PEOPLE:
            mine = [name[2:] for name in order if name[0] in "ou" and name[1] == person]
            assert mine == sorted(mine)


async def test_a_flood_of_small_messages_leaves_turns_to_others() -> None:
    message = cbor2.dumps({"type": 2, "method": "sync", "params": {}})
    count = 20_000

    async def flood(peer: Peer) -> None:
        for _ in range(count):
            await peer.connection.send(message)
        await peer.connection.wait_closed()

    async with scripted_home(flood) as home, linked(home.url, wanted=True) as to:
        to.link.wake()
        heard, most = 0, 0
        async with asyncio.timeout(20):
            while heard < count:
                await asyncio.sleep(0)
                most = max(most, len(to.told.heard) - heard)
                heard = len(to.told.heard)
        # A frame has two bytes more than its message, and two reads may come in one turn.
        assert most <= 2 * READ_BYTES / (len(message) + 2) + 1
