"""Notices of one turn of the loop: the first at once, the others together, in the order there ever was."""

import asyncio
from collections.abc import Callable
from functools import partial
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Broker, Granted
from less_sync.sync.live.cork import CORKED_FRAME_BYTES_MAX, CORKED_FRAMES_MAX, OPEN, Cork
from less_sync.sync.session.outbound import Outbound
from less_sync.sync.session.patient import PatientOutbound
from tests.sync.session.test_outbound import FakeOwner, FakeWire

SPACE, OTHER = UUID(int=7), UUID(int=8)


def _said(frame: bytes, _space: str) -> bytes:
    return frame


class World:
    """A broker, a loop whose turns end when they are told to, and sessions that listen to two spaces."""

    def __init__(self, *, turns: bool = True) -> None:
        self._ends: list[Callable[[], None]] = []
        self._cork = Cork(self._ends.append) if turns else OPEN
        self.broker = Broker(lambda payload: payload, cork=self._cork)

    def session(self, kind: type[Outbound] = Outbound, **limits: int) -> tuple[Outbound, FakeWire]:
        """One that listens to both."""
        wire = FakeWire()
        settings = Limits(**limits)  # type: ignore[arg-type]  # checked by the names
        out = kind(wire, FakeOwner(), settings, new_id=lambda: "id", cork=self._cork)
        both = {space: str(space) for space in (SPACE, OTHER)}
        self.broker.confirm(self.broker.prepare(out, both), dict.fromkeys(both, Granted(0)))
        return out, wire

    def publish(self, *frames: bytes, space: UUID = SPACE) -> None:
        """Tell whoever listens."""
        for frame in frames:
            self.broker.publish(space, partial(_said, frame))

    def end(self) -> None:
        """End the turn."""
        ends, self._ends[:] = self._ends[:], []
        for end in ends:
            end()


def test_the_first_notice_of_a_turn_leaves_at_once_and_the_others_together_at_its_end() -> None:
    world = World()
    _, wire = world.session()
    world.publish(b"1", b"2", b"3")
    assert wire.written == [b"1"]
    world.end()
    assert wire.written == [b"1", b"23"]
    world.publish(b"4", b"5")
    assert wire.written == [b"1", b"23", b"4"]
    world.end()
    assert wire.written == [b"1", b"23", b"4", b"5"]


def test_without_turns_nothing_waits() -> None:
    world = World(turns=False)
    _, wire = world.session()
    world.publish(b"1", b"2", b"3")
    assert wire.written == [b"1", b"2", b"3"]


def test_each_turn_begins_with_one_that_leaves_at_once() -> None:
    world = World()
    _, wire = world.session()
    for frame in (b"1", b"2", b"3"):
        world.publish(frame)
        world.end()
    assert wire.written == [b"1", b"2", b"3"]


def test_what_else_a_session_hears_goes_behind_what_waits_for_it() -> None:
    for kind in (Outbound, PatientOutbound):
        world = World()
        out, wire = world.session(kind)
        world.publish(b"1", b"2", b"3")
        out.send(b"answer")
        world.publish(b"4")
        world.publish(b"other", space=OTHER)
        world.publish(b"5")
        out.send_raw(b"chunk")
        world.publish(b"6")
        out.notify(b"invitation")
        assert wire.written == [b"1", b"23", b"answer", b"4", b"other", b"5", b"chunk", b"6", b"invitation"]
        world.end()
        assert len(wire.written) == 9


def test_large_notices_and_many_small_ones_do_not_wait() -> None:
    world = World()
    _, wire = world.session()
    large = bytes(CORKED_FRAME_BYTES_MAX + 1)
    world.publish(b"1", b"2", large, large)
    assert wire.written == [b"1", b"2", large, large]
    world.publish(*[b"x"] * (CORKED_FRAMES_MAX + 1))
    assert wire.written[4:] == [b"x" * CORKED_FRAMES_MAX]
    world.end()
    assert wire.written[5:] == [b"x"]


async def test_what_waits_when_the_transport_fills_is_queued_under_the_bounds_of_a_queue() -> None:
    world = World()
    out, wire = world.session(queue_frames=3)
    world.publish(b"1", b"2", b"3")
    out.paused()  # by a pong, say, of which a session is not told
    world.end()
    world.publish(b"4")
    assert wire.written == [b"1"]
    out.resumed()
    assert wire.written == [b"1", b"2", b"3", b"4"]

    world.end()
    world.publish(b"5", b"6")
    out.paused()
    world.publish(b"7")
    out.send(b"answer")  # 6 and 7 wait before it
    assert (out.closed, out.dropped) == (False, 0)
    world.publish(b"8")
    world.end()
    assert (out.closed, out.dropped) == (True, 4)
    assert wire.written[4:] == [b"5"]


def test_a_close_goes_behind_what_waits_and_a_lost_connection_gets_nothing_more() -> None:
    for end, written, dropped in ((Outbound.discard, [b"1", b"23"], 0), (Outbound.lost, [b"1"], 2)):
        world = World()
        out, wire = world.session()
        world.publish(b"1", b"2", b"3")
        end(out)
        world.publish(b"4")
        world.end()
        assert (wire.written, out.dropped) == (written, dropped)


def test_who_subscribes_in_the_middle_of_a_turn_hears_nothing_of_before() -> None:
    world = World()
    early, early_wire = world.session()
    world.publish(b"1", b"2")
    _, late_wire = world.session()
    world.publish(b"3", b"4")
    world.broker.unsubscribe(early, [SPACE])
    world.publish(b"5")
    world.end()
    assert b"".join(early_wire.written) == b"1234"
    assert b"".join(late_wire.written) == b"345"


STEPS = ("publish", "publish", "large", "elsewhere", "answer", "chunk", "pause", "resume", "end")


@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_the_order_of_a_connection_is_what_it_would_be_without(steps: list[str]) -> None:
    asyncio.run(played(steps))


async def played(steps: list[str]) -> None:
    """Have a session of each kind and one without turns do the same."""
    worlds = [(World(turns=turns), kind) for turns, kind in ((False, Outbound), (True, Outbound))]
    worlds.append((World(), PatientOutbound))
    sessions = [(world, *world.session(kind)) for world, kind in worlds]
    for number, step in enumerate(steps):
        for world, out, _ in sessions:
            _do(step, b"[%d]" % number, world, out)
    for world, out, _ in sessions:
        world.end()
        out.resumed()
    plain, *corked = (wire.written for *_, wire in sessions)
    for written in corked:
        assert b"".join(written) == b"".join(plain)
        assert len(written) <= len(plain)


def _do(step: str, frame: bytes, world: World, out: Outbound) -> None:
    match step:
        case "publish":
            world.publish(frame)
        case "large":
            world.publish(frame + bytes(CORKED_FRAME_BYTES_MAX))
        case "elsewhere":
            world.publish(frame, space=OTHER)
        case "answer":
            out.send(frame)
        case "chunk":
            out.send_raw(frame)
        case "pause":
            out.paused()
        case "resume":
            out.resumed()
        case _:
            world.end()
