"""Fan-out, provisional subscriptions and the count of connections."""

from functools import partial
from uuid import UUID, uuid4

from less_sync.sync.live.broker import NO_CURSOR, Broker, Granted, Hold
from less_sync.sync.protocol.codes import Close


class Ear:
    """A subscriber that keeps what it hears."""

    connection_id = "ear"
    is_peer = False

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.overflowed = 0

    def deliver(self, frame: bytes) -> None:
        self.heard.append(frame)

    def deliver_soon(self, frame: bytes) -> None:
        self.deliver(frame)

    def overflow(self) -> None:
        self.overflowed += 1

    def end(self, close: Close) -> None:
        raise AssertionError("the broker ends nobody")


PLAIN = Granted(0)


def new_broker(*, held_frames_max: int = 64) -> Broker:
    """A broker whose frames are their payloads."""
    return Broker(lambda payload: payload, held_frames_max=held_frames_max)


class Press:
    """Builds frames and counts how often."""

    def __init__(self, text: str = "news") -> None:
        self.text = text
        self.built: list[str] = []

    def __call__(self, spelling: str) -> bytes:
        self.built.append(spelling)
        return f"{self.text} of {spelling}".encode()


def subscribe(broker: Broker, ear: Ear, *spaces: UUID) -> None:
    provisional = broker.prepare(ear, {space: str(space) for space in spaces})
    broker.confirm(provisional, dict.fromkeys(spaces, PLAIN))


def test_a_notification_reaches_the_space_but_not_its_author_and_is_encoded_once() -> None:
    broker, space, other = new_broker(), uuid4(), uuid4()
    author, near, far = Ear(), Ear(), Ear()
    subscribe(broker, author, space)
    subscribe(broker, near, space)
    subscribe(broker, far, other)
    press = Press()
    assert broker.publish(space, press, exclude=author) == 1
    assert near.heard == [b"news of %s" % str(space).encode()]
    assert author.heard == far.heard == []
    assert press.built == [str(space)]


def test_nothing_is_encoded_when_nobody_else_listens() -> None:
    broker, space, author = new_broker(), uuid4(), Ear()
    subscribe(broker, author, space)
    press = Press()
    assert broker.publish(space, press, exclude=author) == 0
    assert broker.publish(uuid4(), press) == 0
    assert press.built == []


def test_every_spelling_gets_its_own_frame_made_once() -> None:
    broker, space = new_broker(), uuid4()
    plain, upper, shouting = Ear(), Ear(), Ear()
    subscribe(broker, plain, space)
    for ear in (upper, shouting):
        broker.confirm(broker.prepare(ear, {space: str(space).upper()}), {space: PLAIN})
    press = Press()
    assert broker.publish(space, press) == 3
    assert sorted(press.built) == sorted([str(space), str(space).upper()])
    assert upper.heard == shouting.heard == [b"news of %s" % str(space).upper().encode()]


def test_the_last_spelling_subscribed_is_the_one_used() -> None:
    broker, space, ear = new_broker(), uuid4(), Ear()
    subscribe(broker, ear, space)
    broker.confirm(broker.prepare(ear, {space: space.hex}), {space: PLAIN})
    broker.publish(space, Press())
    assert ear.heard == [b"news of %s" % space.hex.encode()]


def test_what_is_published_before_the_answer_is_delivered_with_it() -> None:
    broker, space, ear = new_broker(), uuid4(), Ear()
    provisional = broker.prepare(ear, {space: str(space)})
    broker.publish(space, Press("first"))
    broker.publish(space, Press("second"))
    assert ear.heard == []
    broker.confirm(provisional, {space: PLAIN})
    assert [heard.split()[0] for heard in ear.heard] == [b"first", b"second"]
    broker.publish(space, Press("third"))
    assert len(ear.heard) == 3


def test_what_was_held_for_a_refused_space_is_never_delivered() -> None:
    broker, granted, refused, ear = new_broker(), uuid4(), uuid4(), Ear()
    provisional = broker.prepare(ear, {granted: str(granted), refused: str(refused)})
    broker.publish(refused, Press())
    broker.confirm(provisional, {granted: PLAIN})
    broker.publish(refused, Press())
    assert ear.heard == []
    assert broker.subscribed(ear) == (granted,)


def test_withdrawing_keeps_what_was_subscribed_before() -> None:
    broker, old, new, ear = new_broker(), uuid4(), uuid4(), Ear()
    subscribe(broker, ear, old)
    provisional = broker.prepare(ear, {old: str(old), new: str(new)})
    broker.publish(old, Press("kept"))
    broker.publish(new, Press("held"))
    broker.withdraw(provisional)
    broker.publish(new, Press("lost"))
    assert [heard.split()[0] for heard in ear.heard] == [b"kept"]
    assert broker.subscribed(ear) == (old,)


def test_a_session_that_falls_behind_before_its_answer_is_told_so() -> None:
    broker, space, ear = new_broker(held_frames_max=2), uuid4(), Ear()
    provisional = broker.prepare(ear, {space: str(space)})
    for _ in range(5):
        broker.publish(space, Press())
    broker.confirm(provisional, {space: PLAIN})
    assert ear.overflowed == 1
    assert ear.heard == []


def test_the_author_waiting_for_its_own_subscription_does_not_hear_itself() -> None:
    broker, space, ear = new_broker(), uuid4(), Ear()
    provisional = broker.prepare(ear, {space: str(space)})
    broker.publish(space, Press(), exclude=ear)
    broker.confirm(provisional, {space: PLAIN})
    assert ear.heard == []


def test_unsubscribed_spaces_fall_silent_and_unknown_ones_are_ignored() -> None:
    broker, one, two, ear = new_broker(), uuid4(), uuid4(), Ear()
    subscribe(broker, ear, one, two)
    broker.unsubscribe(ear, [one, uuid4()])
    assert broker.publish(one, Press()) == 0
    assert broker.publish(two, Press()) == 1
    broker.unsubscribe(Ear(), [two])
    assert broker.publish(two, Press()) == 1


def test_a_person_has_a_share_of_connections_and_a_freed_place_can_be_used() -> None:
    broker = new_broker()
    assert [broker.take_place("m", connections_max=2) for _ in range(3)] == [True, True, False]
    assert broker.take_place("other", connections_max=2)
    broker.give_place_back("m")
    assert broker.take_place("m", connections_max=2)
    broker.give_place_back("m")
    broker.give_place_back("m")
    assert broker.take_place("m", connections_max=1)


def test_the_cursor_told_to_all_is_that_of_the_first_subscription_or_a_later_change_and_never_falls() -> None:
    broker, space, ear = new_broker(), uuid4(), Ear()
    assert broker.cursor(space) == NO_CURSOR
    broker.confirm(broker.prepare(ear, {space: str(space)}), {space: Granted(7)})
    assert broker.cursor(space) == 7
    broker.publish(space, Press(), exclude=ear, cursor=9)
    broker.publish(space, Press())
    broker.publish(space, Press(), cursor=8)
    late = Ear()
    broker.confirm(broker.prepare(late, {space: str(space)}), {space: Granted(12)})
    assert broker.cursor(space) == 9  # who comes late knows more than the others
    broker.unsubscribe(late, [space])
    broker.unsubscribe(ear, [space])
    assert broker.cursor(space) == NO_CURSOR


def test_who_is_just_being_let_in_is_told_of_cursors_too() -> None:
    broker, space, ear = new_broker(), uuid4(), Ear()
    assert broker.cursor_told(space) == NO_CURSOR
    provisional = broker.prepare(ear, {space: str(space)})
    broker.publish(space, Press(), cursor=8)
    broker.publish(space, Press())
    assert broker.cursor_told(space) == 8
    assert broker.cursor(space) == NO_CURSOR
    broker.confirm(provisional, {space: Granted(7)})
    assert broker.cursor(space) == broker.cursor_told(space) == 8


def test_a_space_is_listened_to_by_subscribers_and_by_those_just_being_let_in() -> None:
    broker, space, ear = new_broker(), uuid4(), Ear()
    assert not broker.listened_to(space)
    provisional = broker.prepare(ear, {space: str(space)})
    assert broker.listened_to(space)
    assert broker.arriving(space) == [provisional]
    broker.withdraw(provisional)
    assert not broker.listened_to(space)
    assert broker.arriving(space) == []
    subscribe(broker, ear, space)
    assert broker.listened_to(space)


def test_a_subscription_rests_on_the_tokens_it_was_granted_for() -> None:
    broker, space, other = new_broker(), uuid4(), uuid4()
    one, two = Ear(), Ear()
    for ear, cids in ((one, {"a", "b"}), (two, {"b", "c"})):
        provisional = broker.prepare(ear, {space: str(space), other: str(other)})
        broker.confirm(provisional, {space: Granted(0, Hold(frozenset(cids), 100)), other: PLAIN})
    assert broker.resting_on(space, "a") == [one]
    assert broker.resting_on(space, "b") == [one, two]
    assert broker.resting_on(other, "b") == []
    assert broker.holds(one) == {space: Hold(frozenset({"a", "b"}), 100)}
    broker.unsubscribe(one, [space])
    assert broker.resting_on(space, "b") == [two]
    assert broker.holds(one) == {}
    assert broker.subscribed(one) == (other,)


def test_a_newer_grant_replaces_what_a_subscription_rests_on() -> None:
    broker, space, ear = new_broker(), uuid4(), Ear()
    for hold in (Hold(frozenset({"old"}), 1), Hold(frozenset({"new"}), 2)):
        broker.confirm(broker.prepare(ear, {space: str(space)}), {space: Granted(0, hold)})
    assert broker.resting_on(space, "old") == []
    assert broker.resting_on(space, "new") == [ear]


def zeros(size_bytes: int, spelling: str) -> bytes:
    return bytes(size_bytes)


def test_what_is_held_is_bounded_in_bytes_too() -> None:
    space = uuid4()
    for size_bytes, overflowed in ((10, 0), (11, 1)):
        broker, ear = Broker(lambda payload: payload, held_bytes_max=10), Ear()
        provisional = broker.prepare(ear, {space: str(space)})
        broker.publish(space, partial(zeros, size_bytes))
        broker.confirm(provisional, {space: PLAIN})
        assert ear.overflowed == overflowed
        assert len(ear.heard) == 1 - overflowed


def test_more_frames_are_held_for_whoever_asks_for_that() -> None:
    broker, ear, space = new_broker(held_frames_max=1), Ear(), uuid4()
    provisional = broker.prepare(ear, {space: str(space)}, frames_max=3)
    for _ in range(3):
        broker.publish(space, Press())
    broker.confirm(provisional, {space: PLAIN})
    assert len(ear.heard) == 3
    assert ear.overflowed == 0


def test_each_end_of_a_subscription_is_told_once() -> None:
    broker, ear, first, second = new_broker(), Ear(), uuid4(), uuid4()
    told: list[tuple[object, UUID]] = []
    broker.watch(lambda subscriber, space: told.append((subscriber, space)))
    subscribe(broker, ear, first, second)
    subscribe(broker, ear, first)
    broker.withdraw(broker.prepare(ear, {first: str(first)}))
    assert told == []
    broker.unsubscribe(ear, [first, first, uuid4()])
    broker.unsubscribe(ear, [first])
    assert told == [(ear, first)]
    broker.unsubscribe(ear, broker.subscribed(ear))
    assert told == [(ear, first), (ear, second)]


class PeerEar(Ear):
    """Another server."""

    is_peer = True


def test_what_is_for_clients_alone_reaches_no_server_not_even_one_that_is_being_let_in() -> None:
    broker, client, server, late, space = new_broker(), Ear(), PeerEar(), PeerEar(), uuid4()
    subscribe(broker, client, space)
    subscribe(broker, server, space)
    provisional = broker.prepare(late, {space: str(space)})
    assert broker.publish(space, Press("said"), clients_only=True) == 1
    assert broker.publish(space, Press("stored")) == 2
    broker.confirm(provisional, {space: PLAIN})
    said, stored = f"said of {space}".encode(), f"stored of {space}".encode()
    assert client.heard == [said, stored]
    assert server.heard == late.heard == [stored]
