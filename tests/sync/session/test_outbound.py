"""The sending half of a session: order, bounds, deadlines. The transport is a double that can be full."""

import asyncio

import pytest

from less_sync.sync.limits import Limits
from less_sync.sync.protocol.codes import Close
from less_sync.sync.session.outbound import Outbound


class FakeWire:
    """A transport whose buffer the test fills and drains."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.unsent = 0
        self.aborted = asyncio.Event()
        self.heartbeat = b"beat"

    def frame(self, payload: bytes) -> bytes:
        return payload

    def frame_header(self, length: int) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def unsent_bytes(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted.set()


class FakeOwner:
    silent_s = 0.0

    def __init__(self) -> None:
        self.fell = 0
        self.woken = 0

    def fell_behind(self) -> None:
        self.fell += 1

    def end_soon(self, close: Close) -> None:
        self.ended = close

    def writable_again(self) -> None:
        self.woken += 1


def make(**limits: int | float) -> tuple[Outbound, FakeWire, FakeOwner]:
    wire, owner = FakeWire(), FakeOwner()
    out = Outbound(wire, owner, Limits(**limits), new_id=lambda: "id")  # type: ignore[arg-type]  # checked by the names
    return out, wire, owner


async def test_frames_go_straight_to_a_transport_that_takes_them() -> None:
    out, wire, _ = make()
    out.send(b"response")
    out.deliver(b"notification")
    assert wire.written == [b"response", b"notification"]
    assert out.ready


async def test_frames_wait_in_order_while_the_transport_is_full() -> None:
    out, wire, owner = make()
    out.paused()
    out.deliver(b"1")
    out.send(b"2")
    out.deliver(b"3")
    assert wire.written == []
    before = out.ready
    out.resumed()
    assert wire.written == [b"1", b"2", b"3"]
    assert (before, out.ready) == (False, True)
    assert owner.woken == 1


@pytest.mark.parametrize(
    ("limits", "frames"),
    [({"queue_frames": 3}, [b"x"] * 4), ({"queue_bytes": 10}, [b"12345", b"12345", b"1"])],
)
async def test_a_queue_over_its_bound_is_dropped_whole_and_the_owner_told_once(
    limits: dict[str, int], frames: list[bytes]
) -> None:
    out, wire, owner = make(**limits)
    out.paused()
    for frame in frames[:-1]:
        out.deliver(frame)
    before = owner.fell
    out.deliver(frames[-1])
    out.deliver(b"after")
    assert (before, owner.fell) == (0, 1)
    out.resumed()
    assert wire.written == []
    out.lost()


async def test_a_transport_that_fills_again_while_the_queue_leaves_keeps_the_rest_queued() -> None:
    out, wire, owner = make()

    class Filling(FakeWire):
        def write(self, data: bytes) -> None:
            super().write(data)
            if len(self.written) == 2:
                out.paused()

    wire = Filling()
    out = Outbound(wire, owner, Limits(), new_id=lambda: "id")
    out.paused()
    for frame in (b"1", b"2", b"3", b"4"):
        out.deliver(frame)
    out.resumed()
    assert wire.written == [b"1", b"2"]
    assert owner.woken == 0
    out.resumed()
    assert wire.written == [b"1", b"2", b"3", b"4"]
    assert owner.woken == 1


async def test_a_peer_that_stops_reading_is_dropped_after_the_write_deadline() -> None:
    out, wire, _ = make(write_timeout_s=0.01)
    wire.unsent = 500_000
    out.paused()
    await asyncio.wait_for(wire.aborted.wait(), 5)


async def test_a_peer_that_reads_slowly_is_let_live() -> None:
    out, wire, _ = make(write_timeout_s=0.01, write_progress_bytes=1000)
    checks = 0

    class Draining(FakeWire):
        def unsent_bytes(self) -> int:
            nonlocal checks
            checks += 1
            return max(0, 5000 - 1000 * checks)

    wire = Draining()
    out = Outbound(
        wire, FakeOwner(), Limits(write_timeout_s=0.01, write_progress_bytes=1000), new_id=lambda: "id"
    )
    out.paused()
    await asyncio.wait_for(wire.aborted.wait(), 5)
    assert checks >= 5  # each deadline at which it had read on was followed by another


async def test_whoever_waits_for_room_goes_on_when_there_is_some_or_when_the_connection_is_gone() -> None:
    out, _, _ = make()
    await out.drained()
    for end in (out.resumed, out.lost):
        out.paused()
        waiters = [asyncio.create_task(out.drained()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(waiter.done() for waiter in waiters)
        end()
        await asyncio.wait_for(asyncio.gather(*waiters), 5)


async def test_one_cancelled_waiter_leaves_the_others_waiting() -> None:
    out, _, _ = make()
    out.paused()
    first, second = (asyncio.create_task(out.drained()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    assert first.cancelled()
    assert not second.done()
    out.resumed()
    await asyncio.wait_for(second, 5)


async def test_nothing_is_sent_after_the_end() -> None:
    out, wire, owner = make()
    out.lost()
    out.send(b"late")
    out.deliver(b"late")
    assert wire.written == []
    assert owner.fell == 0
