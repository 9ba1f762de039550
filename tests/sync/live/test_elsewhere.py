"""Who is present at other nodes: what is told, asked, healed and forgotten, over a wire that fails."""

import random
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.limits import Limits
from less_sync.sync.live import elsewhere as module
from less_sync.sync.live.elsewhere import ALIVE_S, NODES_MAX, SILENCE_S_MAX
from less_sync.sync.live.groups import EVENT_WINDOW, Groups, Listened, OtherNode, Seen
from less_sync.sync.live.news import (
    NEWS_BYTES_MAX,
    SAID_BYTES_MAX,
    Alive,
    Asked,
    Event,
    Gone,
    Here,
    Left,
    Present,
)
from less_sync.sync.live.pace import ANSWERS_PER_PACE, ASKS_PER_PACE, PACE_S
from tests.sync.live.meeting import LIMITS, Node, Room, follow

STALE_S = LIMITS.presence_stale_s
SPACE = uuid4()


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.close()


def two(room: Room, limits: Limits = LIMITS) -> tuple[Node, Node]:
    """Two nodes that listen to `SPACE`."""
    nodes = room.node(limits), room.node(limits)
    for node in nodes:
        node.elsewhere.began(SPACE)
    return nodes


def test_a_first_listener_asks_once_and_is_told_what_the_second_one_finds(room: Room) -> None:
    there, here = room.node(), room.node()
    there.elsewhere.began(SPACE)
    first = there.show(SPACE, "first", b"1")
    room.run(1.0)
    here.elsewhere.began(SPACE)
    assert here.elsewhere.look(SPACE) == []
    second = there.show(SPACE, "second", b"2")
    room.run(1.0)
    # What came while the answer was on its way is not told again.
    assert here.news(SPACE) == [("presence", second, b"2"), ("presence", first, b"1")]
    assert {entry.peer: entry.data for entry in here.elsewhere.look(SPACE)} == {first: b"1", second: b"2"}
    there.show(SPACE, "first", b"3")
    there.clear(SPACE, "second")
    there.hang_up("first")
    room.run(1.0)
    assert here.news(SPACE) == [
        ("presence", first, b"3"),
        ("presence.leave", second, b""),
        ("presence.leave", first, b""),
    ]
    assert here.elsewhere.look(SPACE) == []
    assert (room.sent[Asked], room.sent[Here]) == (1, 1)


def test_nothing_travels_in_a_space_that_is_not_on_the_bus(room: Room) -> None:
    there, here = room.node(), room.node()
    here.elsewhere.began(SPACE)
    peer = there.show(SPACE, "alice")
    there.elsewhere.say(SPACE, peer, b"hello")
    there.clear(SPACE, "alice")
    assert there.elsewhere.look(SPACE) == []
    room.run(1.0)
    assert set(room.sent) == {Alive}
    assert here.news(SPACE) == []


def test_late_and_repeated_messages_bring_nobody_back(room: Room) -> None:
    there, here = two(room)
    room.wire.repeats = 1.0
    peer = there.show(SPACE, "alice")
    room.run(1.0)
    assert here.news(SPACE) == [("presence", peer, b"here")]
    there.clear(SPACE, "alice")
    room.run(1.0)
    assert here.news(SPACE) == [("presence.leave", peer, b"")]
    for late in (
        Present(there.id, SPACE.bytes, 0, 1, peer, b"here"),
        Here(there.id, SPACE.bytes, 1, 0, 1, ((peer, b"here"),)),
        Left(there.id, SPACE.bytes, 1, 2, peer),
    ):
        here.elsewhere.hear(late)
    assert here.news(SPACE) == []


def test_what_overtook_its_predecessor_is_completed_by_an_answer(room: Room) -> None:
    there, here = two(room)
    alice = there.show(SPACE, "alice")
    room.run(1.0)
    here.news(SPACE)
    room.wire.drop = lambda to, news: isinstance(news, Left)
    there.clear(SPACE, "alice")
    bob = there.show(SPACE, "bob")  # there was nobody left to forget the number for
    room.run(1.0)
    assert follow({alice: b"here"}, here.news(SPACE)) == {bob: b"here"}
    assert room.sent[Asked] == 1
    carol = there.show(SPACE, "carol")
    room.run(1.0)
    assert here.news(SPACE) == [("presence", carol, b"here")]
    assert room.sent[Asked] == 1


def test_who_comes_to_an_empty_room_is_alone_in_it(room: Room) -> None:
    there, here = two(room)
    alice = there.show(SPACE, "alice")
    room.run(1.0)
    room.wire.drop = lambda to, news: isinstance(news, Left)
    there.clear(SPACE, "alice")
    room.run(3.0)
    assert here.others(SPACE) == {alice: b"here"}
    bob = there.show(SPACE, "bob")
    room.run(0.5)
    assert here.others(SPACE) == {bob: b"here"}
    assert room.sent[Asked] == 0


def test_a_lost_departure_of_the_last_one_heals_before_presence_is_stale(room: Room) -> None:
    there, here = two(room)
    there.show(SPACE, "alice")
    room.run(1.0)
    room.wire.drop = lambda to, news: isinstance(news, Left)
    there.clear(SPACE, "alice")
    room.run(STALE_S - 1.0)
    assert [method for method, _, _ in here.news(SPACE)] == ["presence", "presence.leave"]
    assert (room.sent[Asked], room.sent[Here]) == (1, 1)
    room.run(2 * STALE_S)
    assert (room.sent[Asked], room.sent[Here]) == (1, 1)


def test_nobody_asks_while_clients_repeat_what_they_show(room: Room) -> None:
    there, here = two(room)
    for _ in range(20):
        there.show(SPACE, "alice")
        room.run(35.0)
    assert len(here.news(SPACE)) == 20
    assert {kind: count for kind, count in room.sent.items() if kind is not Alive} == {Present: 20}


def test_of_whom_nobody_answers_for_long_is_gone(room: Room) -> None:
    there, here = two(room)
    alice = there.show(SPACE, "alice")
    room.run(1.0)
    room.wire.drop = lambda to, news: not isinstance(news, Alive)
    there.clear(SPACE, "alice")
    room.run(STALE_S - 2.0)
    assert here.others(SPACE) == {alice: b"here"}
    room.run(4.0)
    assert here.others(SPACE) == {}
    assert room.sent[Here] == 0
    assert 2 <= room.sent[Asked] <= 6


def test_a_silent_node_is_thought_dead_and_one_that_stops_says_so(room: Room) -> None:
    silent, gone, here = room.node(), room.node(), room.node()
    for node in room.nodes:
        node.elsewhere.began(SPACE)
    alice, bob = silent.show(SPACE, "alice"), gone.show(SPACE, "bob")
    room.run(2 * SILENCE_S_MAX)
    assert here.elsewhere.names == ["node 0", "node 1"]
    assert room.sent[Alive] == 3 * (1 + int(2 * SILENCE_S_MAX / ALIVE_S))
    here.news(SPACE)
    gone.stop()
    room.run(0.5)
    assert here.news(SPACE) == [("presence.leave", bob, b"")]
    here.elsewhere.hear(Present(gone.id, SPACE.bytes, 0, 1, bob, b"here"))
    here.elsewhere.hear(Alive(gone.id, "node 1"))
    silent.crash()
    room.run(SILENCE_S_MAX - ALIVE_S - 1.5)
    assert here.news(SPACE) == []
    room.run(ALIVE_S + 3.0)
    assert here.news(SPACE) == [("presence.leave", alice, b"")]
    assert here.elsewhere.names == []
    assert len(here.elsewhere) == 0


def test_other_news_is_a_sign_of_life(room: Room) -> None:
    there, here = two(room)
    alice = there.show(SPACE, "alice")
    room.run(1.0)
    there.crash()
    for _ in range(3):
        room.run(SILENCE_S_MAX - 5.0)
        here.elsewhere.heard_of(there.id)
        here.elsewhere.heard_of(b"somebody")
    assert here.others(SPACE) == {alice: b"here"}
    assert here.elsewhere.names == ["node 0"]


def test_a_node_that_stood_still_forgets_nobody(room: Room) -> None:
    there, here = two(room)
    alice = there.show(SPACE, "alice")
    room.run(1.0)
    here._task.cancel()
    room.wire.drop = lambda to, news: to == here.id
    room.run(SILENCE_S_MAX * 2)
    room.wire.drop = lambda to, news: False
    here.elsewhere.tick()
    assert here.others(SPACE) == {alice: b"here"}


def test_people_of_a_large_node_leave_in_portions(
    room: Room,
) -> None:
    there, here = room.node(Limits(presence_per_space=10)), room.node()
    spaces = [UUID(int=number) for number in range(300)]
    for space in spaces:
        for node in room.nodes:
            node.elsewhere.began(space)
        for who in range(10):
            there.show(space, str(who))
    room.run(1.0)
    assert len(here.elsewhere) == 3000
    here.elsewhere.hear(Gone(there.id))
    assert len(here.elsewhere) == 2090
    assert here.elsewhere.tick() < 0.1
    assert len(here.elsewhere) == 1180
    room.run(3.0)
    assert len(here.elsewhere) == 0
    assert sum(method == "presence.leave" for _, method, _, _ in here.told) == 3000


def test_an_answer_that_does_not_fit_into_a_message_comes_in_parts(room: Room) -> None:
    limits = Limits(presence_per_space=1000, presence_bytes=1024)
    there, here = two(room, limits)
    room.wire.drop = lambda to, news: isinstance(news, Present)
    peers = [there.show(SPACE, str(who), bytes(1024)) for who in range(1000)]
    room.run(1.0)
    ghost = "f" * 32
    here.elsewhere.hear(Present(there.id, SPACE.bytes, 0, 1, ghost, b"?"))
    here.elsewhere.look(SPACE)
    room.run(1.0)
    told = here.news(SPACE)
    assert (room.sent[Asked], room.sent[Here]) == (1, 5)
    assert NEWS_BYTES_MAX // 2 < room.largest_bytes <= NEWS_BYTES_MAX
    assert told[0] == ("presence", ghost, b"?")
    # The space was full before the last one came: who is gone leaves first the next time.
    assert told[-1] == ("presence.leave", ghost, b"")
    assert [peer for method, peer, _ in told[1:-1]] == peers[:999]
    assert here.elsewhere.ignored == 1


def test_an_answer_of_which_a_part_is_lost_is_asked_for_again(room: Room) -> None:
    limits = Limits(presence_per_space=600, presence_bytes=1024)
    there, here = two(room, limits)
    room.wire.drop = lambda to, news: isinstance(news, Present)
    for who in range(500):
        there.show(SPACE, str(who), bytes(1024))
    room.run(1.0)
    here.elsewhere.hear(Present(there.id, SPACE.bytes, 0, 1, "ghost", b"?"))
    room.wire.drop = lambda to, news: isinstance(news, Here) and news.part == 1
    here.elsewhere.look(SPACE)
    room.run(1.0)
    assert "ghost" in here.others(SPACE)
    room.wire.drop = lambda to, news: False
    room.run(4.0)
    assert here.others(SPACE) == there.own(SPACE)
    assert len([one for one in here.news(SPACE) if one[0] == "presence"]) == 501


def test_a_space_is_full_over_all_nodes_and_its_people_go_on(room: Room) -> None:
    limits = Limits(presence_per_space=3)
    there, here = two(room, limits)
    assert there.show(SPACE, "alice")
    assert there.show(SPACE, "bob")
    room.run(1.0)
    assert here.show(SPACE, "carol")
    room.run(1.0)
    assert not here.show(SPACE, "dave")
    assert not there.show(SPACE, "erin")
    assert there.show(SPACE, "alice", b"again")
    there.clear(SPACE, "bob")
    room.run(1.0)
    assert here.show(SPACE, "dave")


def test_what_is_too_long_or_too_much_is_not_taken(room: Room) -> None:
    there, here = two(room, Limits(presence_per_space=2, presence_bytes=SAID_BYTES_MAX + 1))
    before = room.sent.total()
    peer = there.show(SPACE, "alice", bytes(SAID_BYTES_MAX + 1))
    there.elsewhere.say(SPACE, peer, bytes(SAID_BYTES_MAX + 1))
    assert room.sent.total() == before
    here.elsewhere.look(SPACE)
    room.run(0.5)
    assert here.others(SPACE) == {}
    for number, (name, data) in enumerate((("p" * 65, b""), ("q", bytes(SAID_BYTES_MAX + 2)), ("r", b""))):
        here.elsewhere.hear(Present(there.id, SPACE.bytes, number, number + 1, name, data))
    assert here.others(SPACE) == {"r": b""}
    for name in ("s", "t"):
        here.elsewhere.hear(Here(there.id, SPACE.bytes, 9, 0, 2, ((name, b""),)))
    assert set(here.others(SPACE)) == {"r", "s"}
    for part, parts in ((-1, 1), (1, 1), (0, 0), (0, 2000)):
        here.elsewhere.hear(Here(there.id, SPACE.bytes, 99, part, parts, ()))
    assert set(here.others(SPACE)) == {"r", "s"}
    assert here.elsewhere.ignored == 3


def test_memory_of_all_others_together_is_bounded() -> None:
    told: list[UUID] = []
    groups = Groups(lambda space, build: told.append(space), Limits(), lambda: 0.0, bytes_max=5000)
    state = groups.spaces[SPACE] = Listened()
    group = groups.group(OtherNode(bytes(8), 0.0), state, SPACE)
    for number in range(20):
        groups.put(group, str(number), bytes(600), told=True)
    assert len(groups) == len(told) == 4
    groups.put(group, "0", bytes(1024), told=True)
    groups.put(group, "0", b"", told=True)
    assert (len(told), groups.ignored) == (6, 16)
    groups.remove(group, "0")
    groups.remove(group, "1")
    groups.put(group, "20", bytes(1000), told=False)
    assert (len(groups), len(told)) == (3, 9)
    groups.drop(group)
    assert len(groups) == 0
    assert groups._bytes == 0


def test_so_many_nodes_are_known_and_no_more(room: Room) -> None:
    here = room.node()
    for number in range(1, NODES_MAX + 6):
        here.elsewhere.hear(Alive(number.to_bytes(8, "big"), "n" * 1000))
    assert len(here.elsewhere.names) == NODES_MAX
    assert here.elsewhere.ignored == 5
    assert {len(name) for name in here.elsewhere.names} == {128}
    for number in range(1, NODES_MAX + 6):
        here.elsewhere.hear(Gone(number.to_bytes(8, "big")))
    assert here.elsewhere.names == []
    assert len(here.elsewhere._gone) == NODES_MAX
    room.run(STALE_S + 2.0)
    assert len(here.elsewhere._gone) == 0


def test_many_who_ask_in_one_space_are_answered_together(room: Room) -> None:
    there, here = two(room)
    there.show(SPACE, "alice")
    for number in range(200):
        there.elsewhere.hear(Asked(number.to_bytes(8, "big"), SPACE.bytes))
    assert room.sent[Here] == 1
    room.run(0.9)
    assert room.sent[Here] == 1
    room.run(5.0)
    assert room.sent[Here] == 2
    assert here.elsewhere.ignored == 0


def test_questions_and_answers_of_many_spaces_are_paced(room: Room) -> None:
    there, here = room.node(), room.node()
    spaces = [UUID(int=number) for number in range(1000)]
    for space in spaces:
        for node in room.nodes:
            node.elsewhere.began(space)
        there.show(space, "alice")
    room.wire.drop = lambda to, news: isinstance(news, Present)
    for space in spaces:
        here.elsewhere.look(space)
    asked, answered = room.sent[Asked], room.sent[Here]
    for _ in range(3):
        room.run(PACE_S)
        assert room.sent[Asked] - asked <= ASKS_PER_PACE
        assert room.sent[Here] - answered <= 2 * ANSWERS_PER_PACE
        asked, answered = room.sent[Asked], room.sent[Here]
    room.run(10.0)
    assert (room.sent[Asked], room.sent[Here]) == (1000, 1000)
    there.stop()
    room.run(1.0)
    assert len(here.elsewhere) == 0


def test_after_a_reconnect_everybody_says_who_is_there_and_asks(room: Room) -> None:
    there, here = two(room)
    other = uuid4()
    for node in room.nodes:
        node.elsewhere.began(other)
    alice, here_too = there.show(SPACE, "alice"), here.show(other, "bob")
    here.elsewhere.look(SPACE)
    room.run(1.0)
    room.wire.drop = lambda to, news: True
    there.clear(SPACE, "alice")
    carol, dave = there.show(SPACE, "carol"), there.show(other, "dave")
    room.run(2.0)
    room.wire.drop = lambda to, news: False
    assert here.others(SPACE) == {alice: b"here"}
    here.elsewhere.reconnected()
    there.elsewhere.reconnected()
    room.run(2.0)
    assert here.others(SPACE) == {carol: b"here"}
    assert here.others(other) == {dave: b"here"}
    assert there.others(other) == {here_too: b"here"}


def test_who_stops_listening_forgets_and_asks_anew(room: Room) -> None:
    there, here = two(room)
    there.show(SPACE, "alice")
    here.elsewhere.look(SPACE)
    room.run(1.0)
    here.news(SPACE)
    here.show(SPACE, "bob")
    here.elsewhere.ended(SPACE)
    here.elsewhere.ended(SPACE)
    assert here.elsewhere.count(SPACE) == 0
    assert here.news(SPACE) == []
    there.show(SPACE, "alice", b"unheard")
    room.run(1.0)
    here.elsewhere.began(SPACE)
    assert here.elsewhere.look(SPACE) == []
    room.run(1.0)
    assert list(here.others(SPACE).values()) == [b"unheard"]


def test_events_are_told_once_in_whatever_order_they_come(room: Room) -> None:
    there, here = two(room)
    room.wire.repeats, room.wire.delays = 0.5, 0.5
    peer = there.show(SPACE, "alice")
    for number in range(200):
        there.elsewhere.say(SPACE, peer, bytes([number]))
    room.run(5.0)
    events = [data[0] for method, _, data in here.news(SPACE) if method == "event"]
    assert sorted(events) == list(range(200))
    assert events != sorted(events)
    for name, data in (("p" * 65, b""), ("p", bytes(LIMITS.event_bytes + 1))):
        here.elsewhere.hear(Event(there.id, SPACE.bytes, 1000, name, data))
    assert here.news(SPACE) == []


@given(st.lists(st.integers(1, 4 * EVENT_WINDOW), max_size=200))
def test_repeated_numbers_are_known_as_such(numbers: list[int]) -> None:
    seen, model = Seen(), set[int]()
    for number in numbers:
        known = number in model or number <= max(model, default=0) - EVENT_WINDOW
        assert seen.is_new(number) is not known
        model.add(number)


def test_our_own_messages_and_odd_ones_are_harmless(room: Room) -> None:
    there, here = two(room)
    here.elsewhere.hear(Alive(here.id, "me"))
    here.elsewhere.hear(Present(here.id, SPACE.bytes, 0, 1, "me", b""))
    here.elsewhere.hear(Left(there.id, SPACE.bytes, -5, -1, "x"))
    here.elsewhere.hear(Left(there.id, SPACE.bytes, 3, 4, "x"))
    here.elsewhere.hear(Asked(there.id, uuid4().bytes))
    here.elsewhere.hear(Present(there.id, uuid4().bytes, 0, 1, "x", b""))
    assert here.told == []
    assert here.elsewhere.tick() == module.TICK_S


@pytest.mark.parametrize("seed", range(60))
def test_presence_converges_whatever_the_wire_did(seed: int) -> None:
    room, chance = Room(seed), random.Random(seed)
    try:
        _play(room, chance)
    finally:
        room.close()


def _play(room: Room, chance: random.Random) -> None:
    spaces = [UUID(int=number) for number in range(2)]
    nodes = [room.node() for _ in range(3)]
    for node in nodes:
        for space in spaces:
            node.elsewhere.began(space)
            node.elsewhere.look(space)
    room.wire.loses, room.wire.repeats = chance.choice((0.0, 0.1, 0.4)), chance.choice((0.0, 0.3))
    room.wire.delays, room.wire.delay_s = chance.choice((0.0, 0.3)), chance.choice((0.5, 10.0))
    people = [(node, f"{number}") for node in nodes for number in range(3)]
    for _ in range(120):
        (node, who), space = chance.choice(people), chance.choice(spaces)
        chance.choice((node.show, node.show, node.clear))(space, who)
        if chance.random() < 0.05:
            node.hang_up(who)
        room.run(chance.choice((0.0, 0.01, 0.5, 4.0)))
    # Good weather: clients go on repeating what they show.
    room.wire.loses = room.wire.repeats = room.wire.delays = 0.0
    room.run(10.0)
    for _ in range(3):
        for node, who in people:
            for space in spaces:
                if node.presence.peer(space, who) in node.own(space):
                    node.show(space, who)
        room.run(STALE_S / 2)
    for node in nodes:
        for space in spaces:
            there: dict[str, bytes] = {}
            for other in nodes:
                there |= other.own(space) if other is not node else {}
            assert node.others(space) == there
            assert node.elsewhere.count(space) == len(there)
            assert follow({}, node.news(space)) == there
