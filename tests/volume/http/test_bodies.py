"""Buffers of bodies: used again, grown with what arrives, freed when nobody needs them."""

from less_sync.volume.http.bodies import (
    AROUND_BYTES,
    FIRST_BYTES,
    KEPT_MAX,
    MEDIUM_BYTES,
    SMALL_BYTES,
    BodyPool,
    Buffers,
    Incoming,
)


def test_buffers_are_used_again_and_freed_when_nobody_needs_them() -> None:
    buffers = Buffers(10)
    taken = [buffers.take() for _ in range(KEPT_MAX + 3)]
    for buffer in taken:
        buffers.give(buffer)
    buffers.trim()
    again = [buffers.take() for _ in range(2)]
    assert {id(one) for one in again} <= {id(one) for one in taken}
    for buffer in again:
        buffers.give(buffer)
    buffers.trim()  # all but two were not needed
    assert len({id(buffers.take()) for _ in range(3)} & {id(one) for one in taken}) == 2
    buffers.trim()
    assert len(buffers.take()) == 10 + AROUND_BYTES


def test_a_buffer_that_somebody_looks_at_is_not_used_again() -> None:
    buffers = Buffers(10)
    buffer = buffers.take()
    view = memoryview(buffer)
    buffers.give(buffer)
    assert buffers.take() is not buffer
    view.release()


def test_a_body_takes_memory_as_it_arrives() -> None:
    announced = Incoming(BodyPool(), 50 * MEDIUM_BYTES, 100 * MEDIUM_BYTES)
    assert len(announced.body.buffer) == 0
    announced.add(b"x")
    assert len(announced.body.buffer) == FIRST_BYTES + AROUND_BYTES
    for arrived, taken in (
        (FIRST_BYTES, SMALL_BYTES),
        (SMALL_BYTES, MEDIUM_BYTES),
        (MEDIUM_BYTES, 2 * MEDIUM_BYTES),
    ):
        announced.add(bytes(arrived + 1 - announced.bytes_received))
        assert len(announced.body.buffer) == taken + AROUND_BYTES
    whole = Incoming(BodyPool(), SMALL_BYTES, MEDIUM_BYTES)
    whole.add(bytes(SMALL_BYTES))
    assert len(whole.body.buffer) == SMALL_BYTES + AROUND_BYTES


def test_bytes_received_where_room_said_and_bytes_copied_make_one_body() -> None:
    content = bytes(range(256)) * 10_000
    incoming = Incoming(BodyPool(), len(content), len(content))
    incoming.add(content[:1000])
    at = 1000
    while incoming.bytes_missing:
        room = incoming.room()
        assert room is not None
        count = min(len(room), 70_001)
        room[:count] = content[at : at + count]
        room.release()
        incoming.advance(count)
        at += count
    assert incoming.body.view() == content
    assert len(incoming.body.buffer) - incoming.body.end >= AROUND_BYTES - incoming.body.start
