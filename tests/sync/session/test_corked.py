"""Notices of one turn of the loop: the first at once, the others together, in the order there ever was."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Broker, Granted
from less_sync.sync.live.cork import CORKED_FRAME_BYTES_MAX, CORKED_FRAMES_MAX, Cork
from less_sync.sync.session.outbound import Outbound
from less_sync.sync.session.patient import PatientOutbound
from tests.sync.session.test_outbound import FakeOwner, FakeWire

SPACE = UUID(int=7)


class Turns:
    """A loop whose turns end when they are told to."""

    def __init__(self) -> None:
        self.ends: list[Callable[[], None]] = []
        self.cork = Cork(self.ends.append)

    def end(self) -> None:
        """End the turn."""
        ends, self.ends[:] = self.ends[:], []
        for end in ends:
            end()


def session(turns: Turns, kind: type[Outbound] = Outbound, **limits: int) -> tuple[Outbound, FakeWire]:
    wire = FakeWire()
    settings = Limits(**limits)  # type: ignore[arg-type]  # checked by the names
    return kind(wire, FakeOwner(), settings, new_id=lambda: "id", cork=turns.cork), wire


def test_the_first_notice_of_a_turn_leaves_at_once_and_the_others_together_at_its_end() -> None:
    turns = Turns()
    out, wire = session(turns)
    turns.cork.begin()
    for frame in (b"1", b"2", b"3"):
        out.deliver(frame)
    assert wire.written == [b"1"]
    turns.end()
    assert wire.written == [b"1", b"23"]
    turns.end()
    out.deliver(b"4")  # nothing is published: it has no turn
    out.deliver(b"5")
    assert wire.written == [b"1", b"23", b"4", b"5"]


def test_each_turn_begins_with_one_that_leaves_at_once() -> None:
    turns = Turns()
    out, wire = session(turns)
    for frame in (b"1", b"2", b"3"):
        turns.cork.begin()
        out.deliver(frame)
        turns.end()
    assert wire.written == [b"1", b"2", b"3"]


def test_what_else_a_session_sends_goes_behind_what_waits_for_it() -> None:
    for kind in (Outbound, PatientOutbound):
        turns = Turns()
        out, wire = session(turns, kind)
        turns.cork.begin()
        for number in range(3):
            out.deliver(b"n%d" % number)
        out.send(b"answer")
        out.deliver(b"n3")
        out.send_raw(b"chunk")
        assert b"".join(wire.written) == b"n0n1n2answern3chunk"
        turns.end()
        assert wire.written == [b"n0", b"n1n2", b"answer", b"n3", b"chunk"]


def test_large_notices_and_many_small_ones_do_not_wait() -> None:
    turns = Turns()
    out, wire = session(turns)
    large = bytes(CORKED_FRAME_BYTES_MAX + 1)
    turns.cork.begin()
    for frame in (b"1", b"2", large, large):
        out.deliver(frame)
    assert wire.written == [b"1", b"2", large, large]
    for _ in range(CORKED_FRAMES_MAX + 1):
        out.deliver(b"x")
    assert wire.written[4:] == [b"x" * CORKED_FRAMES_MAX]
    turns.end()
    assert wire.written[5:] == [b"x"]


async def test_what_waits_when_the_transport_fills_is_queued_under_the_bounds_of_a_queue() -> None:
    turns = Turns()
    out, wire = session(turns, queue_frames=3)
    turns.cork.begin()
    for frame in (b"1", b"2", b"3"):
        out.deliver(frame)
    out.paused()  # by a pong, say, which no session knows of
    turns.end()
    out.deliver(b"4")
    assert wire.written == [b"1"]
    out.resumed()
    assert wire.written == [b"1", b"2", b"3", b"4"]

    turns.cork.begin()
    for frame in (b"5", b"6"):
        out.deliver(frame)
    out.paused()
    for frame in (b"7", b"8"):
        out.deliver(frame)  # 6 waits before them
    assert (out.closed, out.dropped) == (False, 0)
    out.deliver(b"9")
    assert (out.closed, out.dropped) == (True, 4)
    turns.end()
    assert wire.written[4:] == [b"5"]


def test_a_close_goes_behind_what_waits_and_a_lost_connection_gets_nothing_more() -> None:
    for end, written, dropped in ((Outbound.discard, [b"1", b"23"], 0), (Outbound.lost, [b"1"], 2)):
        turns = Turns()
        out, wire = session(turns)
        turns.cork.begin()
        for frame in (b"1", b"2", b"3"):
            out.deliver(frame)
        end(out)
        turns.end()
        assert (wire.written, out.dropped) == (written, dropped)


def test_who_subscribes_in_the_middle_of_a_turn_hears_nothing_of_before() -> None:
    turns = Turns()
    broker = Broker(lambda payload: payload, cork=turns.cork)
    (early, early_wire), (late, late_wire) = session(turns), session(turns)
    for number, out in enumerate((early, late)):
        provisional = broker.prepare(out, {SPACE: str(SPACE)})
        for cursor in (1 + 2 * number, 2 + 2 * number):
            broker.publish(SPACE, lambda _space, cursor=cursor: b"%d" % cursor, cursor=cursor)  # type: ignore[misc]
        broker.confirm(provisional, {SPACE: Granted(2 + 2 * number)})
    broker.unsubscribe(early, [SPACE])
    broker.publish(SPACE, lambda _space: b"5", cursor=5)
    turns.end()
    assert b"".join(early_wire.written) == b"1234"
    assert b"".join(late_wire.written) == b"345"


STEPS = st.lists(
    st.sampled_from(["publish", "answer", "large", "pause", "resume", "pong", "end"]), max_size=60
)


@given(STEPS)
def test_the_order_of_a_connection_is_what_it_would_be_without(steps: list[str]) -> None:
    asyncio.run(played(steps))


async def played(steps: list[str]) -> None:
    """Have one session of each kind, and one without turns, do the same."""
    turns = Turns()
    wired = [session(turns), session(turns, PatientOutbound)]
    plain = Outbound(plain_wire := FakeWire(), FakeOwner(), Limits(), new_id=lambda: "id")
    outs = [plain, *(out for out, _ in wired)]
    for number, step in enumerate(steps):
        frame = b"[%d]" % number
        if step in ("publish", "large"):
            turns.cork.begin()
            frame += bytes(CORKED_FRAME_BYTES_MAX) if step == "large" else b""
            for out in outs:
                out.deliver(frame)
        elif step == "answer":
            for out in outs:
                out.send(frame)
        elif step == "end":
            turns.end()
        else:
            for out in outs:
                (out.paused if step == "pause" else out.resumed)()
    turns.end()
    for out in outs:
        out.resumed()
    for _, wire in wired:
        assert b"".join(wire.written) == b"".join(plain_wire.written)
        assert len(wire.written) <= len(plain_wire.written)
