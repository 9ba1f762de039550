"""The presence registry: pseudonyms, caps, expiry, and how little each operation looks at."""

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from less_sync.sync.limits import Limits
from less_sync.sync.live import presence
from less_sync.sync.live.presence import Departure, Presence, pseudonym
from less_sync.sync.protocol.messages import PresenceEntry

SECRET = bytes(range(32))
A, B, C = (UUID(int=n) for n in (10, 11, 12))


class Clock:
    """Monotonic seconds, moved by the test."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def registry(clock: Clock | None = None, **limits: Any) -> Presence:
    return Presence(Limits(**limits), secret=SECRET, clock=clock or Clock())


def named(space: UUID, connection: str) -> str:
    return pseudonym(SECRET, connection=connection, space=str(space))


def test_the_pseudonym_is_the_one_other_servers_make() -> None:
    made = pseudonym(SECRET, connection="conn-1", space="space-1")
    assert made == "bf1f373c7979d4d8777a28ed5e1fced8"


def test_pseudonyms_differ_by_space_connection_and_secret_and_never_show_the_connection() -> None:
    one, other = registry(), Presence()
    names = {
        one.peer(A, "c"),
        one.peer(B, "c"),
        one.peer(A, "d"),
        other.peer(A, "c"),
        Presence().peer(A, "c"),
    }
    assert len(names) == 5
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)
    assert one.peer(A, "c") == one.peer(A, "c") == named(A, "c")


def test_the_separator_keeps_connection_and_space_apart() -> None:
    names = {pseudonym(SECRET, connection=c, space=s) for c, s in [("a", "bc"), ("ab", "c"), ("abc", "")]}
    assert len(names) == 3


def test_who_is_present_is_listed_for_everybody_else() -> None:
    one = registry()
    assert one.set(A, "c", b"hi") == named(A, "c")
    assert one.set(A, "d", b"") == named(A, "d")
    assert one.set(B, "c", b"elsewhere") == named(B, "c")
    assert one.others(A, "c") == [PresenceEntry(named(A, "d"), b"")]
    assert one.others(A, "e") == [PresenceEntry(named(A, "c"), b"hi"), PresenceEntry(named(A, "d"), b"")]
    assert one.others(C, "c") == []


def test_a_refresh_replaces_the_data_and_keeps_the_name() -> None:
    one = registry()
    assert one.set(A, "c", b"one") == one.set(A, "c", b"two") == one.peer(A, "c")
    assert one.others(A, "d") == [PresenceEntry(named(A, "c"), b"two")]
    assert len(one) == 1


def test_clearing_tells_who_left_and_only_once() -> None:
    one = registry()
    one.set(A, "c", b"")
    one.set(A, "d", b"")
    assert one.clear(B, "c") is None
    assert one.clear(A, "c") == named(A, "c")
    assert one.clear(A, "c") is None
    assert one.others(A, "c") == [PresenceEntry(named(A, "d"), b"")]


def test_a_disconnect_leaves_every_space_in_ascending_order() -> None:
    one = registry()
    for space in (C, A, B):
        one.set(space, "c", b"")
        one.set(space, "d", b"")
    assert one.drop("c") == [Departure(space, named(space, "c")) for space in (A, B, C)]
    assert one.drop("c") == []
    assert len(one) == 3


def test_nothing_is_remembered_of_those_who_left() -> None:
    one = registry()
    one.set(A, "c", b"")
    one.set(B, "c", b"")
    one.clear(A, "c")
    one.drop("c")
    assert [len(index) for index in (one._spaces, one._connections, one._by_age)] == [0, 0, 0]


def test_the_hundred_and_first_is_refused_but_a_refresh_is_not() -> None:
    one = registry()
    for n in range(100):
        assert one.set(A, f"c{n}", b"")
    assert one.set(A, "late", b"") is None
    assert one.set(A, "c0", b"again") == named(A, "c0")
    assert one.set(B, "late", b"") == named(B, "late")
    one.clear(A, "c1")
    assert one.set(A, "late", b"") == named(A, "late")
    assert len(one.others(A, "late")) == 99


def test_data_may_have_1024_bytes_and_not_one_more() -> None:
    one = registry()
    assert one.set(A, "c", bytes(1024))
    assert one.set(A, "c", bytes(1025)) is None
    assert one.set(A, "d", bytes(1025)) is None
    assert one.others(A, "x") == [PresenceEntry(named(A, "c"), bytes(1024))]


def test_silence_of_more_than_45_seconds_is_swept_the_oldest_first() -> None:
    clock = Clock()
    one = registry(clock)
    one.set(B, "c", b"")
    clock.now_s += 1
    one.set(A, "d", b"")
    clock.now_s += 1
    one.set(A, "e", b"")
    clock.now_s += 43
    assert one.sweep() == []
    clock.now_s += 1.5
    assert one.sweep() == [Departure(B, named(B, "c")), Departure(A, named(A, "d"))]
    assert one.sweep() == []
    clock.now_s += 100
    assert one.sweep() == [Departure(A, named(A, "e"))]
    assert len(one) == 0


def test_a_refresh_counts_as_a_sign_of_life() -> None:
    clock = Clock()
    one = registry(clock)
    one.set(A, "c", b"")
    one.set(A, "d", b"")
    clock.now_s += 40
    one.set(A, "c", b"")
    clock.now_s += 40
    assert one.sweep() == [Departure(A, named(A, "d"))]
    assert one.others(A, "d") == [PresenceEntry(named(A, "c"), b"")]


def test_one_sweep_removes_no_more_than_it_is_asked_to() -> None:
    clock = Clock()
    one = registry(clock)
    for n in range(5):
        one.set(A, f"c{n}", b"")
    clock.now_s += 46
    assert [len(one.sweep(removed_max=2)) for _ in range(4)] == [2, 2, 1, 0]


def work(operation: Callable[[], object]) -> int:
    """Bytecodes of the registry executed for one operation."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != presence.__file__:
            return None
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        operation()
    finally:
        sys.settrace(before)
    return count


OPERATIONS: dict[str, Callable[[Presence], object]] = {
    "set": lambda one: one.set(C, "c", b""),
    "refresh": lambda one: one.set(A, "c", b"x"),
    "clear": lambda one: one.clear(A, "c"),
    "drop": lambda one: one.drop("c"),
    "others": lambda one: one.others(A, "x"),
    "sweep": lambda one: one.sweep(),
}


@pytest.mark.parametrize("silence_s", [0.0, 10.0])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_looks_at_no_entry_it_does_not_return(operation: str, silence_s: float) -> None:
    found = []
    for bystanders in (10, 5000):
        clock = Clock()
        one = registry(clock)
        for space in (A, B):
            one.set(space, "c", b"")
        clock.now_s += 40
        for n in range(bystanders):
            one.set(uuid4(), f"d{n % 500}", b"")
        clock.now_s += silence_s  # after 10 s the first two have gone stale
        found.append(work(partial(OPERATIONS[operation], one)))
    assert 0 < found[0] == found[1]


class Compared(RuleBasedStateMachine):
    """The registry against a dictionary that is scanned for everything."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.one = registry(self.clock, presence_per_space=3)
        self.model: dict[tuple[UUID, str], tuple[bytes, float, int]] = {}
        self.turn = 0

    spaces = st.sampled_from([A, B, C])
    connections = st.sampled_from(["p", "q", "r", "s"])

    @rule(space=spaces, connection=connections, data=st.binary(max_size=3))
    def set(self, space: UUID, connection: str, data: bytes) -> None:
        self.turn += 1
        full = sum(1 for where, _ in self.model if where == space) >= 3
        refused = full and (space, connection) not in self.model
        answer = self.one.set(space, connection, data)
        assert answer == (None if refused else named(space, connection))
        if not refused:
            self.model[space, connection] = (data, self.clock.now_s, self.turn)

    @rule(space=spaces, connection=connections)
    def clear(self, space: UUID, connection: str) -> None:
        there = self.model.pop((space, connection), None)
        assert self.one.clear(space, connection) == (there and named(space, connection))

    @rule(connection=connections)
    def drop(self, connection: str) -> None:
        gone = sorted(space for space, who in self.model if who == connection)
        for space in gone:
            del self.model[space, connection]
        assert self.one.drop(connection) == [Departure(space, named(space, connection)) for space in gone]

    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0, 45.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def sweep(self) -> None:
        gone = [key for key, (_, seen, _) in self.model.items() if self.clock.now_s - seen > 45]
        gone.sort(key=lambda key: self.model[key][2])
        for key in gone:
            del self.model[key]
        assert self.one.sweep() == [Departure(space, named(space, who)) for space, who in gone]

    @invariant()
    def everybody_is_listed(self) -> None:
        assert len(self.one) == len(self.model)
        for space in (A, B, C):
            listed = {(entry.peer, entry.data) for entry in self.one.others(space, "p")}
            assert listed == {
                (named(where, who), data)
                for (where, who), (data, _, _) in self.model.items()
                if where == space and who != "p"
            }


Compared.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgainstAScannedDictionary = Compared.TestCase
