"""Nodes that tell each other of commits: order, gaps, own writes, arrivals, and news that are not true."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import cbor2
import pytest

from less_sync.storage import SpaceNews
from less_sync.sync.announce import Change, Notice
from less_sync.sync.live.broker import NO_CURSOR
from less_sync.sync.live.bus import SUBJECT_OF_NODES, subject_of
from less_sync.sync.live.in_order import FILLS_MAX
from less_sync.sync.live.interest import Interests
from less_sync.sync.live.news import Committed, Frame, encode_news
from less_sync.sync.live.nodes import CURSOR_MAX
from less_sync.sync.live.sequence import CHANGES_MAX, Early, Room, Sequence
from less_sync.sync.protocol.notifications import presence_leave_notification
from tests.sync.live.lossy_bus import Hub
from tests.sync.live.world import GAP_S, Ear, Node, Rows, a_while, pushed

SPACE = uuid4()
R1, R2, R3, R4 = (uuid4() for _ in range(4))
BEYOND_S = GAP_S * 3


class World:
    """Two nodes; `here` has somebody who listens from cursor 4 on."""

    def __init__(self) -> None:
        self.hub = Hub(keeps=True)
        self.rows = Rows({SPACE: 4})
        self.here = Node(self.hub, self.rows, b"here")
        self.there = Node(self.hub, self.rows, b"there")

    def commit(self, node: Node, record: UUID, *, author: Ear | None = None, blob: bytes = b"x") -> int:
        cursor = self.rows.commit(SPACE, record)
        node.push(SPACE, cursor, record, author=author, blob=blob)
        return cursor

    def tell(
        self, prev: int, cursor: int, *frames: bytes, space: UUID = SPACE, node: bytes = b"elsewhere"[:8]
    ) -> None:
        """Say something on the bus, true or not, to the node here."""
        news = Committed(node, space.bytes, prev, cursor, tuple(map(Frame, frames)))
        self.here.bus.take(subject_of(SPACE), encode_news(news))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    for node in (made.here, made.there):
        await node.announce.aclose(0)
        await node.nodes.aclose()


def sync(prev: int, cursor: int, *records: int) -> tuple[str, int, int, list[int]]:
    return ("sync", prev, cursor, list(records) or [cursor])


def frame(cursor: int, record: UUID = R1, space: UUID = SPACE) -> bytes:
    return pushed(cursor, record).notices[0].build(str(space))


async def test_a_commit_is_told_at_both_nodes_and_built_once(world: World) -> None:
    ear, far = await world.here.ear(SPACE), await world.there.ear(SPACE)
    built: list[str] = []

    def build(text: str) -> bytes:
        built.append(text)
        return frame(5)

    world.rows.commit(SPACE, R1)
    world.there.announce.push_begun(SPACE)
    world.there.announce.push_ended(SPACE, Change(5, (Notice(build),), 1))
    await a_while()
    assert ear.heard == far.heard == [sync(4, 5)]
    assert ear.frames == far.frames
    assert built == [str(SPACE)]
    assert world.hub.published == 1
    assert world.rows.reads == []


async def test_who_spells_the_space_otherwise_hears_it_so_from_other_nodes_too(world: World) -> None:
    text = str(SPACE).upper()
    ear, far = await world.here.ear(SPACE, text=text), await world.there.ear(SPACE, text=text)
    world.commit(world.there, R1)
    await a_while()
    for one in (ear, far):
        message = cbor2.loads(one.frames[0])
        assert message["params"]["space"] == text
        assert {**message, "params": {**message["params"], "space": str(SPACE)}} == cbor2.loads(frame(5))


async def test_what_nobody_here_listens_to_is_told_to_others_and_not_heard_from_them(world: World) -> None:
    ear = await world.here.ear(SPACE)
    other = uuid4()
    world.commit(world.there, R1)
    world.there.push(other, 1, R2)
    await a_while()
    assert ear.heard == [sync(4, 5)]
    assert list(world.there.bus.subjects) == [SUBJECT_OF_NODES]
    assert world.hub.published == 2
    assert world.there.nodes.in_order.waiting == world.here.nodes.in_order.waiting == 0


async def test_what_comes_early_waits_for_what_it_follows(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.rows.cursors[SPACE] = 7
    for cursor in (7, 6, 5):
        assert ear.heard == []
        world.tell(cursor - 1, cursor, frame(cursor))
    assert ear.heard == [sync(4, 5), sync(5, 6), sync(6, 7)]
    assert world.here.nodes.in_order.waiting == 0
    await a_while(BEYOND_S)
    assert world.rows.reads == []


async def test_what_is_repeated_or_late_is_dropped(world: World) -> None:
    ear = await world.here.ear(SPACE)
    for cursor in (5, 5, 6, 5, 6, 4):
        world.tell(cursor - 1, cursor, frame(cursor))
    assert ear.heard == [sync(4, 5), sync(5, 6)]
    assert world.here.nodes.in_order.late == 4


async def test_a_gap_is_read_after_a_while_with_one_query(world: World) -> None:
    ear = await world.here.ear(SPACE)
    for record in (R1, R2, R3, R1):
        world.rows.commit(SPACE, record)
    world.tell(7, 8, frame(8))
    assert ear.heard == []
    await a_while(BEYOND_S)
    # What 5 wrote was written again at 8, which is told by itself.
    assert ear.heard == [sync(4, 7, 6, 7), sync(7, 8)]
    assert world.rows.reads == [(4, 7)]
    world.tell(4, 5, frame(5))
    assert len(ear.heard) == 2


async def test_a_commit_too_long_for_the_bus_is_read_at_once(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.commit(world.there, R1, blob=bytes(300_000))
    await a_while()
    assert world.rows.reads == [(4, 5)]
    assert ear.heard == [sync(4, 5)]
    assert max(len(message) for _, message in world.hub.sent) < 100


async def test_what_is_read_is_told_though_more_is_said_to_be_there_meanwhile(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.rows.gate = asyncio.Event()
    for record in (R1, R2):
        world.commit(world.there, record, blob=bytes(300_000))
        await a_while()
    world.rows.gate.set()
    await a_while()
    assert world.rows.reads == [(4, 5), (5, 6)]
    assert ear.heard == [sync(4, 5), sync(5, 6)]


async def test_what_is_said_last_is_not_taken_for_all_there_is(world: World) -> None:
    ear = await world.here.ear(SPACE)
    for record in (R1, R2, R3):
        world.rows.commit(SPACE, record)
    for cursor in (7, 6):
        world.tell(cursor, cursor)
    await a_while(BEYOND_S)
    assert ear.heard == [sync(4, 7, 5, 6, 7)]


async def test_an_own_push_waits_for_the_one_of_another_node_before_it(world: World) -> None:
    author = await world.here.ear(SPACE)
    ear = await world.here.ear(SPACE)
    world.hub.delay_s = GAP_S / 4
    world.commit(world.there, R1)
    world.commit(world.here, R2, author=author)
    assert ear.heard == []
    await a_while(GAP_S / 2)
    assert ear.heard == [sync(4, 5), sync(5, 6)]
    assert author.heard == [sync(4, 5)]
    assert world.rows.reads == []


async def test_an_author_does_not_hear_his_own_when_what_is_before_it_was_lost(world: World) -> None:
    author = await world.here.ear(SPACE)
    ear = await world.here.ear(SPACE)
    world.hub.loses = 1.0
    world.commit(world.there, R1)
    world.commit(world.here, R2, author=author)
    await a_while(BEYOND_S)
    assert ear.heard == [sync(4, 5), sync(5, 6)]
    assert author.heard == [sync(4, 5)]


async def test_rows_are_not_read_before_our_own_writes_under_way_are_announced(world: World) -> None:
    author = await world.here.ear(SPACE)
    world.rows.commit(SPACE, R1)  # ours, written; its answer is on the way
    world.here.announce.push_begun(SPACE)
    world.rows.commit(SPACE, R2)
    world.tell(5, 6, frame(6))
    await a_while(BEYOND_S)
    assert world.rows.reads == []
    world.here.announce.push_ended(SPACE, pushed(5, R1, author=author))
    await a_while()
    assert author.heard == [sync(5, 6)]
    assert world.rows.reads == []


async def test_what_was_said_while_nobody_was_let_in_yet_is_told_from_the_cursor_on(world: World) -> None:
    ear = Ear()
    provisional = await world.here.prepare(ear, SPACE)
    world.rows.cursors[SPACE] = 7
    for cursor in (7, 5, 6):
        world.tell(cursor - 1, cursor, frame(cursor))
    await a_while(BEYOND_S)
    assert world.rows.reads == []
    assert world.here.confirm(provisional, SPACE, 5) == []
    assert ear.heard == [sync(5, 6), sync(6, 7)]


async def test_who_read_a_lower_cursor_than_who_was_let_in_first_is_told_to_pull(world: World) -> None:
    first, second, third = Ear(), Ear(), Ear()
    waiting = [await world.here.prepare(ear, SPACE) for ear in (first, second, third)]
    assert world.here.confirm(waiting[0], SPACE, 6) == []
    assert world.here.confirm(waiting[1], SPACE, 4) == [SPACE]
    assert world.here.confirm(waiting[2], SPACE, 6) == []
    # What the second has missed was not yet heard of when the first came, and is late now.
    world.tell(4, 5, frame(5))
    assert second.heard == []


async def test_who_is_told_to_pull_is_told_so_in_the_place_of_changes_that_were_held(world: World) -> None:
    first, second = Ear(), Ear()
    waiting = [await world.here.prepare(ear, SPACE) for ear in (first, second)]
    assert world.here.confirm(waiting[0], SPACE, 6) == []
    world.tell(6, 7, frame(7))
    world.here.announce.publish(SPACE, lambda text: presence_leave_notification(text, peer="p"))
    # Of 5 and 6 nothing was held: behind 7 it would be told of an earlier cursor, or of 7 again.
    assert world.here.confirm(waiting[1], SPACE, 4) == [SPACE]
    assert [one[0] for one in second.heard] == ["presence.leave"]
    world.tell(7, 8, frame(8))
    assert first.heard[0] == sync(6, 7)
    assert first.heard[-1] == second.heard[-1] == sync(7, 8)


async def test_who_is_let_in_when_the_last_one_has_gone_hears_what_came_meanwhile(world: World) -> None:
    gone, ear = await world.here.ear(SPACE), Ear()
    waiting = await world.here.prepare(ear, SPACE)
    cursor = world.rows.cursors[SPACE]
    world.here.announce.end_session(gone, present=False)
    world.commit(world.there, R1)
    await a_while()
    assert world.here.confirm(waiting, SPACE, cursor) == []
    assert ear.heard == [sync(4, 5)]
    assert world.here.nodes.in_order.waiting == 0


async def test_who_read_a_lower_cursor_than_who_began_anew_is_told_to_pull(world: World) -> None:
    gone, first, second = await world.here.ear(SPACE), Ear(), Ear()
    waiting = [await world.here.prepare(ear, SPACE) for ear in (first, second)]
    world.here.announce.end_session(gone, present=False)
    world.rows.cursors[SPACE] = 6
    assert world.here.confirm(waiting[0], SPACE, 6) == []
    # The second has read before that, and the news of it is late for the first.
    world.tell(4, 5, frame(5))
    world.tell(5, 6, frame(6))
    assert world.here.confirm(waiting[1], SPACE, 4) == [SPACE]
    assert second.heard == []


async def test_nothing_is_kept_for_who_was_refused(world: World) -> None:
    provisional = await world.here.prepare(Ear(), SPACE)
    world.tell(8, 9, frame(9))
    assert world.here.nodes.in_order.waiting == 1
    world.here.broker.withdraw(provisional)
    assert world.here.nodes.in_order.waiting == 0
    assert list(world.here.bus.subjects) == [SUBJECT_OF_NODES]


@pytest.mark.parametrize(
    "lie",
    [
        (2**62 - 1, 2**62, True),
        (2**62, 2**62, False),
        (CURSOR_MAX - 1, CURSOR_MAX, True),
        (7, 9, True),
        (4, 2**62, True),
    ],
    ids=["far ahead", "far ahead without frames", "at the end", "two at once", "a leap"],
)
async def test_a_cursor_beyond_the_database_is_forgotten(world: World, lie: tuple[int, int, bool]) -> None:
    ear = await world.here.ear(SPACE)
    prev, cursor, framed = lie
    world.tell(prev, cursor, *([frame(cursor)] if framed else []))
    await a_while(BEYOND_S)
    assert ear.heard == []
    assert len(world.rows.reads) == 1
    assert world.here.nodes.in_order.waiting == 0
    world.commit(world.there, R1)
    await a_while()
    assert ear.heard == [sync(4, 5)]


async def test_what_cannot_be_so_is_not_told(world: World) -> None:
    ear = await world.here.ear(SPACE)
    for prev, cursor in ((6, 5), (-1, 5), (4, 2**63), (2**64 - 1, 5)):
        world.tell(prev, cursor, frame(5))
    world.tell(4, 5, frame(5), node=world.here.nodes.node)
    world.tell(4, 5, frame(5), space=uuid4())
    for message in (
        b"",
        b"\xc1",
        b"\x90",
        b"\x92\x01\xc0",
        b"\xdf" * 100,
        encode_news(Committed(b"short", b"", 4, 5)),
    ):
        world.here.nodes.hear(message)
    await a_while(BEYOND_S)
    assert ear.heard == []
    assert world.here.broker.cursor(SPACE) == 4
    assert world.here.nodes.in_order.waiting == 0


async def test_frames_that_tell_of_something_else_are_read_from_the_rows_instead(world: World) -> None:
    ear = await world.here.ear(SPACE)
    wrong = [frame(5, space=uuid4()), frame(99), b"", b"\xa3dtype\x02", frame(5)[:40]]
    for number, other in enumerate(wrong):
        cursor = world.rows.commit(SPACE, R1)
        world.tell(cursor - 1, cursor, other)
        await a_while()
        assert ear.heard[number:] == [sync(cursor - 1, cursor)]
    assert len(world.rows.reads) == len(wrong)


async def test_a_database_that_is_away_leaves_a_gap_to_the_comparison(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.rows.commit(SPACE, R1)
    world.rows.commit(SPACE, R2)
    world.rows.is_away = True
    world.tell(5, 6, frame(6))
    await a_while(BEYOND_S)
    reads = len(world.rows.reads)
    await a_while(BEYOND_S)
    assert len(world.rows.reads) == reads == 1
    world.rows.is_away = False
    await world.here.compare()
    await a_while(BEYOND_S)
    assert ear.heard == [sync(4, 5), sync(5, 6)]


async def test_what_came_while_rows_were_read_is_not_told_twice(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.rows.gate = asyncio.Event()
    for record in (R1, R2, R3):
        world.rows.commit(SPACE, record)
    world.tell(6, 7, frame(7))
    await a_while(BEYOND_S)
    world.tell(4, 5, frame(5))
    assert ear.heard == [sync(4, 5)]
    world.rows.gate.set()
    await a_while(BEYOND_S)
    assert ear.heard == [sync(4, 5), sync(5, 6), sync(6, 7)]
    assert world.rows.reads == [(4, 6), (5, 6)]


class BusyRows(Rows):
    """Some spaces are written to whenever they are read."""

    busy: dict[UUID, Node]

    async def between(
        self, space: UUID, above: int, up_to: int, *, rows_max: int, bytes_max: int
    ) -> SpaceNews | None:
        news = await super().between(space, above, up_to, rows_max=rows_max, bytes_max=bytes_max)
        if space in self.busy:
            self.busy[space].nodes.in_order.heard(space, self.commit(space, uuid4()))
        return news


async def test_spaces_that_are_written_to_without_a_pause_do_not_keep_others_from_being_read() -> None:
    rows = BusyRows({SPACE: 4})
    node = Node(Hub(), rows, b"here")
    rows.busy = {uuid4(): node for _ in range(2 * FILLS_MAX)}
    for space in rows.busy:
        rows.cursors[space] = 0
        await node.ear(space)
        node.nodes.in_order.heard(space, rows.commit(space, R1), follows=0)
    await a_while()
    ear = await node.ear(SPACE)
    node.nodes.in_order.heard(SPACE, rows.commit(SPACE, R1), follows=4)
    told, before = {space: node.broker.cursor(space) for space in rows.busy}, len(rows.reads)
    await a_while(BEYOND_S)
    assert ear.heard == [sync(4, 5)]
    assert rows.reads.index((4, 5), before) - before <= 3 * FILLS_MAX
    # Busy ones have their turns too.
    assert all(node.broker.cursor(space) > cursor for space, cursor in told.items())
    await node.announce.aclose(0)
    await node.nodes.aclose()


async def test_an_unknown_outcome_is_told_in_sequence_and_to_other_nodes(world: World) -> None:
    ear, far = await world.here.ear(SPACE), await world.there.ear(SPACE)
    world.rows.commit(SPACE, R1)
    world.here.announce.push_begun(SPACE)
    world.here.announce.unknown(SPACE)
    world.here.announce.push_ended(SPACE, None)
    await a_while(BEYOND_S)
    assert ear.heard == far.heard == [sync(4, 5)]


async def test_an_unknown_outcome_of_a_space_that_nobody_here_listens_to_is_told_to_others(
    world: World,
) -> None:
    far = await world.there.ear(SPACE)
    world.rows.commit(SPACE, R1)
    world.here.announce.unknown(SPACE)
    await a_while(BEYOND_S)
    assert far.heard == [sync(4, 5)]


async def test_a_session_that_ends_while_rows_are_read_leaves_nothing(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.rows.gate = asyncio.Event()
    world.rows.commit(SPACE, R1)
    world.rows.commit(SPACE, R2)
    world.tell(5, 6, frame(6))
    await a_while(BEYOND_S)
    world.here.announce.end_session(ear, present=False)
    world.rows.gate.set()
    await a_while()
    assert ear.heard == []
    assert world.here.nodes.in_order.waiting == 0
    assert world.here.broker.cursor(SPACE) == NO_CURSOR


async def test_closing_ends_reading(world: World) -> None:
    await world.here.ear(SPACE)
    world.rows.gate = asyncio.Event()
    world.rows.commit(SPACE, R1)
    world.tell(5, 6, frame(6))
    await a_while(BEYOND_S)
    await world.here.nodes.aclose()
    assert world.here.nodes.in_order.waiting == 0
    world.tell(7, 8, frame(8))
    assert world.here.nodes.in_order.waiting == 0


# Interest.


async def test_a_space_is_heard_of_while_somebody_listens_and_a_while_longer(world: World) -> None:
    interests = world.here.nodes.interests
    ear = await world.here.ear(SPACE)
    assert subject_of(SPACE) in world.here.bus.subjects
    world.here.broker.unsubscribe(ear, [SPACE])
    interests.leave_old()
    assert subject_of(SPACE) in world.here.bus.subjects
    confirmations = world.here.bus.confirmations
    await world.here.ear(SPACE)
    assert world.here.bus.confirmations == confirmations


async def test_a_space_is_left_when_its_time_is_over_or_too_many_are(world: World) -> None:
    ended: list[UUID] = []
    interests = Interests(
        world.here.bus, lambda space, _: ended.append(space), listened_s=0.0, listened_spaces_max=2
    )
    spaces = [uuid4() for _ in range(4)]
    for space in spaces:
        interests.begin(space).opened_at = 1
        interests.idle(space)
    assert ended == spaces[:2]
    interests.leave_old()
    assert ended == spaces
    assert len(interests) == 0


async def test_nobody_waits_for_a_bus_that_is_away_and_once_for_one_that_is_slow(world: World) -> None:
    bus = world.here.bus
    bus.connected = False
    await world.here.nodes.listen([SPACE])
    assert bus.confirmations == 0
    bus.connected, bus.is_slow = True, True
    await world.here.nodes.listen([SPACE])
    await world.here.nodes.listen([SPACE])
    assert bus.confirmations == 2
    bus.is_slow = False
    await world.here.nodes.listen([SPACE])
    await world.here.nodes.listen([SPACE])
    assert bus.confirmations == 3
    bus.mend()
    await world.here.nodes.listen([SPACE])
    assert bus.confirmations == 4


async def test_spaces_of_other_homes_are_not_heard_of(world: World) -> None:
    provisional = await world.here.prepare(Ear(), SPACE)
    world.here.nodes.foreign([SPACE])
    assert list(world.here.bus.subjects) == [SUBJECT_OF_NODES]
    world.here.broker.withdraw(provisional)


async def test_news_of_another_home_stay_here(world: World) -> None:
    ear = await world.here.ear(SPACE)
    world.here.announce.relay(SPACE, pushed(9, R1)._replace(clients_only=True))
    assert ear.heard == [sync(8, 9)]
    assert world.hub.published == 0


# Bounds.


def early(prev: int, size_bytes: int = 1, *, own: bool = False) -> Early:
    return Early(prev, prev + 1, (), size_bytes, own)


def test_what_waits_is_bounded_in_number_and_in_bytes() -> None:
    room = Room(100)
    sequence = Sequence(room)
    for prev in range(CHANGES_MAX * 2):
        sequence.hold(early(prev, 0))
    assert len(sequence) == CHANGES_MAX
    assert sequence.top == CHANGES_MAX * 2
    sequence.clear()
    sequence.hold(early(1, 60))
    other = Sequence(room)
    other.hold(early(1, 60))
    assert (len(sequence), len(other), room.bytes_left) == (1, 0, 40)
    assert other.top == 2
    sequence.clear()
    assert room.bytes_left == 100


def test_an_own_commit_takes_the_place_of_what_others_say_of_it() -> None:
    sequence = Sequence(Room())
    sequence.hold(early(1))
    sequence.hold(early(1, own=True))
    sequence.hold(early(1))
    assert len(sequence) == 1
    one = sequence.next(1)
    assert one is not None
    assert one.own
    assert sequence.next(1) is None
