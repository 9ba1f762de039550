"""The sending half towards another server: it may read nothing, until an answer or a close waits for it."""

import asyncio

from less_sync.sync.limits import Limits
from less_sync.sync.session.patient import PatientOutbound
from tests.sync.session.test_outbound import FakeOwner, FakeWire

SHORT_S = 0.02


class NarrowWire(FakeWire):
    """A transport that one write fills."""

    out: PatientOutbound

    def write(self, data: bytes) -> None:
        super().write(data)
        self.out.paused()


def make(wire: FakeWire | None = None) -> tuple[PatientOutbound, FakeWire, FakeOwner]:
    wire, owner = wire or FakeWire(), FakeOwner()
    limits = Limits(write_timeout_s=SHORT_S, queue_frames=4)
    return PatientOutbound(wire, owner, limits, new_id=lambda: "id"), wire, owner


async def aborted(wire: FakeWire) -> None:
    async with asyncio.timeout(10):
        await wire.aborted.wait()


async def test_notifications_alone_set_no_deadline_and_overflow_at_their_bound() -> None:
    out, wire, owner = make()
    out.paused()
    for number in range(4):
        out.deliver(b"%d" % number)
    await asyncio.sleep(3 * SHORT_S)
    assert not wire.aborted.is_set()
    assert owner.fell == 0
    out.deliver(b"one too many")
    assert owner.fell == 1
    # The close frame that follows has a deadline.
    await aborted(wire)


async def test_an_answer_that_waits_behind_notifications_has_a_deadline() -> None:
    out, wire, _ = make()
    out.paused()
    out.deliver(b"notification")
    out.send(b"answer")
    await aborted(wire)


async def test_an_answer_that_fills_the_transport_has_a_deadline() -> None:
    narrow = NarrowWire()
    out, wire, _ = make(narrow)
    narrow.out = out
    out.send(b"answer")
    await aborted(wire)


async def test_whoever_waits_for_room_sets_the_deadline() -> None:
    out, wire, _ = make()
    out.paused()
    waiting = asyncio.ensure_future(out.drained())
    await aborted(wire)
    out.lost()
    await waiting


async def test_the_deadline_ends_when_the_peer_reads_and_notifications_may_wait_again() -> None:
    out, wire, owner = make()
    out.paused()
    out.send_raw(b"chunk")
    out.resumed()
    assert wire.written == [b"chunk"]
    assert owner.woken == 1
    out.paused()
    await asyncio.sleep(3 * SHORT_S)
    assert not wire.aborted.is_set()


async def test_a_close_that_cannot_leave_has_a_deadline_whichever_comes_first() -> None:
    for close_first in (True, False):
        out, wire, _ = make()
        steps = [out.discard, out.paused]
        for step in steps if close_first else reversed(steps):
            step()
        await aborted(wire)


async def test_nothing_is_left_of_a_deadline_when_the_connection_is_lost() -> None:
    out, wire, _ = make()
    out.paused()
    out.send(b"answer")
    out.lost()
    out.send(b"another")
    await asyncio.sleep(3 * SHORT_S)
    assert not wire.aborted.is_set()
