"""Links that are cut at every frame boundary and at random ones: nothing is lost, nothing is done twice."""

import asyncio
from random import Random

import pytest

from tests.federation.proxy import Way
from tests.federation.rig import Rig, change, rig, subscribed
from tests.federation.witnesses import Writer, drain, undisturbed, written_once
from tests.live import Person

ROUNDS = 12
WRITERS = 3
PUSHES_PER_ROUND = 3
BOUNDARIES = [
    (way, kind, forwarded)
    for way, kind in (
        (Way.UP, "subscribe"),
        (Way.DOWN, "result"),
        (Way.UP, "push"),
        (Way.DOWN, "sync"),
    )
    for forwarded in (False, True)
]


async def heals(r: Rig) -> None:
    """Wait until the home counts one connection and one subscription of the edge."""
    await r.home.until_counts(r.edge1, 1, 1)


@pytest.mark.parametrize(("way", "kind", "forwarded"), BOUNDARIES)
async def test_a_cut_around_each_kind_of_frame_is_mended(
    databases: list[str], way: Way, kind: str, forwarded: bool
) -> None:
    async with rig(databases) as r, undisturbed(r.home, r.edge1):
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        zero, one = Person("zero"), Person("one")
        at_home = await subscribed(r.home, zero, shared)
        wire.cut_at(way, kind, forwarded=forwarded)
        hearer = await subscribed(r.edge1, one, shared)
        writer = await Writer.at(r.edge1, Person("two"), shared, 7)
        for _ in range(3):
            await writer.push()
        foreign = await Writer.at(r.home, zero, shared, 8)
        for _ in range(3):
            await foreign.push()
        await heals(r)
        assert len(wire.upgrades) == 2
        await written_once(r.home, shared, [writer, foreign])
        assert [told["cursor"] for told in await drain(at_home, 6)] == [1, 2, 3, 4, 5, 6]
        cursors = [told["cursor"] for told in await drain(hearer, 6)]
        assert cursors == sorted(cursors)
        assert len(await hearer.pull(space=shared.id, ucan=shared.grant(one))) == 2 + len(
            writer.acknowledged | foreign.acknowledged
        )


async def push_some(writer: Writer) -> None:
    for _ in range(PUSHES_PER_ROUND):
        await writer.push()


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_cuts_lose_nothing_that_was_acknowledged(databases: list[str], seed: int) -> None:
    random = Random(seed)
    async with rig(databases) as r, undisturbed(r.home, r.edge1):
        wire, shared = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1)
        zero, one = Person("zero"), Person("one")
        at_home, hearer = await subscribed(r.home, zero, shared), await subscribed(r.edge1, one, shared)
        writers = [await Writer.at(r.edge1, Person(f"w{n}"), shared, seed * 10 + n) for n in range(WRITERS)]
        for _ in range(ROUNDS):
            way, forwarded = random.choice(list(Way)), random.random() < 0.5
            wire.cut_at(way, count=random.randrange(1, WRITERS * PUSHES_PER_ROUND), forwarded=forwarded)
            await asyncio.gather(*(push_some(writer) for writer in writers))
        wire.mend()
        await asyncio.gather(*(push_some(writer) for writer in writers))
        await heals(r)
        await written_once(r.home, shared, writers)
        assert len(wire.upgrades) > ROUNDS
        total = sum(writer.pushes for writer in writers)
        assert [told["cursor"] for told in await drain(at_home, total)] == list(range(1, total + 1))
        # The edge has told all that its clients wrote, and after each cut what the home has.
        await at_home.push(change(), space=shared.id, ucan=shared.grant(zero))
        told = await drain(hearer, total + 1)
        cursors = [one["cursor"] for one in told if one["prev"] != -1]
        assert cursors == sorted(set(cursors))


@pytest.mark.parametrize(("way", "kind"), [(Way.UP, "fed.invitation"), (Way.DOWN, "result")])
@pytest.mark.parametrize("forwarded", [False, True])
async def test_an_invitation_that_was_written_is_not_sent_a_second_time(
    databases: list[str], way: Way, kind: str, forwarded: bool
) -> None:
    async with rig(databases) as r, undisturbed(r.edge1):
        wire, mailbox = r.wire(r.edge1, r.home), "cd" * 32
        c0, c1 = await r.home.connect("zero", mailbox_id=mailbox), await r.edge1.connect("one")
        wire.cut_at(way, kind, forwarded=forwarded)
        invitation = {"mailbox_id": mailbox, "payload": "come", "server": r.home.domain}
        answer, _ = await c1.response(c1.send("invitation.create", invitation))
        reached, answered = way is Way.DOWN or forwarded, way is Way.DOWN and forwarded
        assert (answer.error is None) == answered
        if answer.error is not None:
            told = answer.error.code, answer.error.message
            assert told == ("internal", "failed to deliver invitation to remote server")
        assert len(wire.frames(Way.UP, "fed.invitation")) == 1
        await r.home.until_counts(r.edge1, 0, 0)
        assert len((await c0.call("invitation.list", {}))["invitations"]) == int(reached)
