"""What the bus has lost is found by comparison: cursors, revocations, invitations, other homes; and what was
never true is undone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from less_sync.storage import Invited, SpaceState, Unavailable
from less_sync.sync.live.broker import NO_CURSOR, Granted, Hold
from less_sync.sync.live.bus import SUBJECT_OF_NODES, subject_of
from less_sync.sync.live.comparison import Comparison
from less_sync.sync.live.news import Committed, Created, Frame, Revoked, encode_news
from less_sync.sync.live.news import Invited as InvitedNews
from tests.sync.live.lossy_bus import Hub
from tests.sync.live.test_nodes import BEYOND_S, frame, sync
from tests.sync.live.world import Ear, Node, Rows, a_while

SPACE, OTHER = uuid4(), uuid4()
MAILBOX = "a" * 64
FAR = 2**40


class World:
    """Two nodes whose bus carries nothing, unless a test mends it."""

    def __init__(self) -> None:
        self.hub = Hub(loses=1.0)
        self.rows = Rows({SPACE: 4, OTHER: 2})
        self.here = Node(self.hub, self.rows, b"here")
        self.there = Node(self.hub, self.rows, b"there")

    async def revoke(self, cid: str) -> None:
        """As the node there does it."""
        self.rows.revoked.add((SPACE, cid))
        self.there.announce.revoked(SPACE, cid, exclude=Ear())
        await a_while()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    for node in (made.here, made.there):
        await node.announce.aclose(0)
        await node.nodes.aclose()
        node.mailboxes.close()


def rests_on(*cids: str) -> Hold:
    return Hold(frozenset(cids), FAR)


UNNAMED = Hold(frozenset(), FAR, unnamed=True)


async def test_what_was_written_elsewhere_is_told(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.rows.commit(SPACE, uuid4())
    await world.here.compare()
    await a_while(BEYOND_S)
    assert ear.heard == [sync(4, 5)]
    await world.here.compare()
    await a_while(BEYOND_S)
    assert ear.heard == [sync(4, 5)]
    assert world.here.nodes.comparison.found_behind == 1


async def test_a_thousand_spaces_are_one_query(world: World) -> None:
    spaces = [uuid4() for _ in range(2500)]
    world.rows.cursors.update(dict.fromkeys(spaces, 1))
    ear = Ear()
    texts = {space: str(space) for space in spaces}
    provisional = world.here.broker.prepare(ear, texts)
    await world.here.nodes.listen(spaces)
    granted = {space: Granted(1) for space in spaces}
    assert world.here.nodes.entering(granted) == []
    world.here.broker.confirm(provisional, granted)
    world.here.nodes.entered(granted)
    await world.here.compare()
    assert world.rows.compared == [1000, 1000, 500]
    assert world.here.bus.confirmations == 1


async def test_a_cursor_beyond_the_databases_is_set_back_and_everybody_begins_anew(world: World) -> None:
    ear, peer = await world.here.ear(SPACE), await world.here.ear(SPACE, is_peer=True)
    world.here.bus.take(subject_of(SPACE), encode_news(_committed(4, 5)))
    assert ear.heard == [sync(4, 5)]
    await world.here.compare()
    assert ear.heard[1:] == [("resubscribe",)]
    assert peer.heard[1:] == [("revoked",)]
    assert world.here.broker.cursor(SPACE) == NO_CURSOR
    again = await world.here.ear(SPACE)
    world.rows.commit(SPACE, uuid4())
    world.here.bus.take(subject_of(SPACE), encode_news(_committed(4, 5)))
    assert again.heard == [sync(4, 5)]


def _committed(prev: int, cursor: int) -> Committed:
    return Committed(b"elsewher", SPACE.bytes, prev, cursor, (Frame(frame(cursor, space=SPACE)),))


async def test_what_is_told_while_the_database_is_asked_is_not_taken_for_beyond_it(world: World) -> None:
    ear = await world.here.ear(SPACE)
    comparing = asyncio.create_task(world.here.compare())
    await asyncio.sleep(0)
    assert world.rows.compared == [1]
    world.here.push(SPACE, world.rows.commit(SPACE, uuid4()), uuid4())
    await comparing
    assert ear.heard == [sync(4, 5)]
    assert world.here.broker.listeners(SPACE) == [ear]


# Revocations.


async def test_what_two_comparisons_saw_in_another_order_than_they_end_is_not_taken_for_fewer(
    world: World,
) -> None:
    ear = await world.here.ear(SPACE, hold=rests_on("root"))
    slow, asked = asyncio.Event(), asyncio.Event()
    compare = world.rows.compare

    class Slow(Rows):
        """Answers with what it saw before."""

        async def compare(self, ids: Sequence[UUID]) -> dict[UUID, SpaceState]:
            states = await compare(ids)
            asked.set()
            await slow.wait()
            return states

    first = Comparison(
        Slow(),
        world.here.broker,
        world.here.announce,
        world.here.mailboxes,
        world.here.nodes.interests,
        world.here.nodes.in_order,
    )
    comparing = asyncio.create_task(first.compare([SPACE]))
    await asyncio.wait_for(asked.wait(), 10)
    await world.revoke("cid")
    await world.here.compare()
    slow.set()
    await comparing
    assert world.here.broker.listeners(SPACE) == [ear]
    assert ear.heard == []
    # The later one counts: what comes next is told.
    await world.revoke("root")
    await world.here.compare()
    assert world.here.broker.listeners(SPACE) == []


async def test_a_revocation_ends_at_every_node_what_rests_on_it(world: World) -> None:
    world.hub.loses = 0.0
    gone = await world.here.ear(SPACE, hold=rests_on("cid", "root"))
    stays = await world.here.ear(SPACE, hold=rests_on("root"))
    unnamed = await world.here.ear(SPACE, hold=UNNAMED, is_peer=True)
    other = await world.here.ear(OTHER, hold=rests_on("cid"))
    await world.revoke("cid")
    assert gone.heard == stays.heard == unnamed.heard == [("revoked",)]
    assert other.heard == []
    assert world.here.broker.listeners(SPACE) == [stays]
    # What was told is not told again by the comparison.
    await world.here.compare()
    await world.here.compare()
    assert stays.heard == [("revoked",)]


async def test_a_revocation_that_the_bus_lost_is_found_by_their_number(world: World) -> None:
    gone = await world.here.ear(SPACE, hold=rests_on("cid", "root"))
    stays = await world.here.ear(SPACE, hold=rests_on("root"))
    unnamed = await world.here.ear(SPACE, hold=UNNAMED, is_peer=True)
    await world.here.compare()
    await world.revoke("cid")
    assert gone.heard == []
    await world.here.compare()
    assert gone.heard == stays.heard == unnamed.heard == [("revoked",)]
    assert world.here.broker.listeners(SPACE) == [stays]
    await world.here.compare()
    assert stays.heard == [("revoked",)]


async def test_one_that_nobody_here_rests_on_is_told_all_the_same(world: World) -> None:
    stays = await world.here.ear(SPACE, hold=rests_on("root"))
    await world.here.compare()
    await world.revoke("cid")
    await world.here.compare()
    assert stays.heard == [("revoked",)]
    assert world.here.broker.listeners(SPACE) == [stays]


async def test_a_repeated_revocation_hides_no_other_one(world: World) -> None:
    gone = await world.here.ear(SPACE, hold=rests_on("cid"))
    world.rows.revoked.add((SPACE, "old"))
    await world.here.compare()
    world.here.announce.revoked_here(SPACE, ["old"])
    world.here.nodes._note_revoked(SPACE, ["old"])
    world.rows.revoked.add((SPACE, "cid"))
    await world.here.compare()
    assert world.here.broker.listeners(SPACE) == []
    assert gone.heard == [("revoked",), ("revoked",)]


async def test_before_the_number_is_known_named_tokens_are_looked_up(world: World) -> None:
    gone = await world.here.ear(SPACE, hold=rests_on("cid"))
    stays = await world.here.ear(SPACE, hold=rests_on("root"))
    await world.revoke("cid")
    await world.here.compare()
    assert gone.heard == [("revoked",)]
    assert world.here.broker.listeners(SPACE) == [stays]


async def test_who_rests_on_what_is_not_named_is_counted_from_before_he_was_checked(world: World) -> None:
    provisional = world.here.broker.prepare(ear := Ear(is_peer=True), {SPACE: str(SPACE)})
    await world.here.nodes.listen([SPACE], counted=True)
    assert world.rows.compared == [1]
    assert not any(UNNAMED.rests_on(cid) for _, cid in provisional.doubted), "nothing has risen"
    await world.revoke("cid")
    world.here.confirm(provisional, SPACE, 4, UNNAMED)
    await world.here.compare()
    assert ear.heard == [("revoked",)]
    assert world.here.broker.listeners(SPACE) == []


@pytest.mark.parametrize("how", ["fails", "cancelled"])
async def test_a_revocation_that_was_counted_and_could_not_be_read_is_read_the_next_time(
    world: World, how: str
) -> None:
    gone = await world.here.ear(SPACE, hold=rests_on("cid"))
    stays = await world.here.ear(SPACE, hold=rests_on("root"))
    await world.here.compare()
    await world.revoke("cid")
    if how == "fails":
        world.rows.revocations_are_away = True
        with pytest.raises(Unavailable):
            await world.here.compare()
        world.rows.revocations_are_away = False
    else:
        comparing = asyncio.create_task(world.here.compare())
        interest = world.here.nodes.interests.get(SPACE)
        assert interest is not None
        while interest.revocations != 1:  # noqa: ASYNC110  # between its two queries
            await asyncio.sleep(0)
        comparing.cancel()
        await asyncio.wait({comparing})
    assert gone.heard == []
    await world.here.compare()
    assert gone.heard == [("revoked",)]
    assert world.here.broker.listeners(SPACE) == [stays]


async def test_who_is_being_let_in_while_the_number_rises_is_checked_next_time(world: World) -> None:
    stays = await world.here.ear(SPACE, hold=rests_on("root"))
    await world.here.compare()
    arriving, unnamed = Ear(), Ear(is_peer=True)
    waiting = await world.here.prepare(arriving, SPACE)
    other = await world.here.prepare(unnamed, SPACE)
    await world.revoke("cid")
    await world.here.compare()
    assert any(UNNAMED.rests_on(cid) for _, cid in other.doubted)
    assert not any(rests_on("cid").rests_on(cid) for _, cid in waiting.doubted)
    world.here.broker.withdraw(other)
    world.here.confirm(waiting, SPACE, 4, rests_on("cid"))
    await world.here.compare()
    assert world.here.broker.listeners(SPACE) == [stays]


async def test_fewer_revocations_are_those_of_another_space(world: World) -> None:
    world.rows.revoked.add((SPACE, "cid"))
    ear = await world.here.ear(SPACE, hold=rests_on("root"))
    await world.here.compare()
    world.rows.revoked.clear()
    await world.here.compare()
    assert ear.heard == [("resubscribe",)]
    assert world.here.broker.listeners(SPACE) == []


async def test_a_space_that_is_created_anew_elsewhere_ends_what_rests_on_the_old_one(world: World) -> None:
    world.hub.loses = 0.0
    ear = await world.here.ear(SPACE, hold=rests_on("root"))
    world.there.announce.created(SPACE)
    world.there.announce.created(OTHER)
    await a_while()
    assert world.here.broker.listeners(SPACE) == []
    assert ear.heard == []
    assert world.here.forgotten == [SPACE, OTHER]


# Other homes, and spaces that are gone.


async def test_a_space_whose_home_went_elsewhere_is_left_to_that(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.rows.homes[SPACE] = "other.example"
    world.rows.cursors[SPACE] = 0
    await world.here.compare()
    assert ear.heard == []
    assert list(world.here.bus.subjects) == [SUBJECT_OF_NODES]
    assert world.here.broker.listeners(SPACE) == [ear]


async def test_a_space_that_was_deleted_is_no_news(world: World) -> None:
    ear = await world.here.ear(SPACE)
    del world.rows.cursors[SPACE]
    world.here.bus.take(subject_of(SPACE), encode_news(_committed(8, 9)))
    await a_while(BEYOND_S)
    await world.here.compare()
    assert ear.heard == []
    assert world.here.nodes.in_order.waiting == 0


# Invitations.


def invited(mailbox: str = MAILBOX, age_s: float = 0.0) -> Invited:
    return Invited(uuid4(), mailbox, datetime.now(UTC), age_s)


async def test_an_invitation_is_told_once_by_the_bus_or_by_the_comparison(world: World) -> None:
    ear = Ear()
    world.here.mailboxes.join(MAILBOX, ear)
    told, lost, own = invited(), invited(), invited()
    world.hub.loses = 0.0
    world.there.announce.invited(MAILBOX, told.id)
    world.here.announce.invited(MAILBOX, own.id)
    await a_while(0.01)
    assert ear.heard == [("invitation",)]
    world.rows.invitations = [told, own, invited("b" * 64), invited("c" * 64)]
    await world.here.compare()
    await a_while(0.01)
    assert len(ear.heard) == 1
    world.rows.invitations.append(lost)
    await world.here.compare()
    await world.here.compare()
    await a_while(0.01)
    assert len(ear.heard) == 2
    for late in (told, lost):
        world.there.announce.invited(MAILBOX, late.id)
    await a_while(0.01)
    assert len(ear.heard) == 2, "the bus was slow, or repeats itself"


async def test_what_lay_in_a_mailbox_before_its_owner_came_is_no_news(world: World) -> None:
    ear = Ear()
    world.here.mailboxes.join(MAILBOX, ear)
    world.rows.invitations = [invited(age_s=20.0)]
    await world.here.compare()
    await a_while(0.01)
    assert ear.heard == []


async def test_mailboxes_are_named_by_hashes_that_no_claim_can_bend(world: World) -> None:
    world.hub.keeps = True
    odd = "*.>\ud800"
    ear = Ear()
    world.here.mailboxes.join(odd, ear)
    world.hub.loses = 0.0
    world.there.announce.invited(odd, None)
    await a_while(0.01)
    assert ear.heard == [("invitation",)]
    [(subject, message)] = world.hub.sent
    assert subject == SUBJECT_OF_NODES
    assert b"*.>" not in message
    world.here.mailboxes.leave(odd, ear)
    world.here.nodes.hear(encode_news(InvitedNews(b"elsewher", b"short")))
    assert world.here.mailboxes.listened_to_s(b"short") is None


async def test_revocations_of_spaces_nobody_listens_to_are_not_kept(world: World) -> None:
    for _ in range(100):
        world.here.nodes.hear(encode_news(Revoked(b"elsewher", uuid4().bytes, ("cid",) * 1000)))
        world.here.nodes.hear(encode_news(Created(b"elsewher", uuid4().bytes)))
    assert len(world.here.nodes.interests) == 0


async def test_a_loop_of_comparisons_outlives_what_it_meets(world: World) -> None:
    ear = await world.here.ear(SPACE)
    running = asyncio.create_task(world.here.nodes.run())
    world.rows.commit(SPACE, uuid4())
    world.rows.is_away = True
    world.here.bus.mend()
    await a_while(BEYOND_S)
    assert ear.heard == []
    world.rows.is_away = False
    world.here.bus.mend()
    await a_while(BEYOND_S)
    assert ear.heard == [sync(4, 5)]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
