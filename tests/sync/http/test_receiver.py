"""The short way of `Receiver` against the parser: both make the same of whatever comes, in any pieces."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from less_sync.sync.http.receiver import Receiver

MESSAGE_BYTES_MAX = 300
MASK = b"\x37\xfa\x21\x3d"


def frame(first: int, payload: bytes, *, length_bytes: int | None = None, masked: bool = True) -> bytes:
    """One frame of a client; `length_bytes` behind the second byte, by default as few as will do."""
    size = len(payload)
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2
    short = {0: size, 2: 126, 8: 127}[length_bytes]
    head = bytes((first, short | (0x80 if masked else 0))) + (
        size.to_bytes(length_bytes) if length_bytes else b""
    )
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload))


frames = st.builds(
    frame,
    st.sampled_from([0x82, 0x82, 0x82, 0x82, 0x02, 0x80, 0x00, 0x81, 0x89, 0x8A, 0x88, 0xC2, 0x83]),
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from([bytes(125), bytes(119), bytes(126), bytes(300), bytes(301), b"\x03\xe8"]),
    ),
    length_bytes=st.sampled_from([None, None, None, 2, 8]),
    masked=st.sampled_from([True, True, True, False]),
)


class Step(NamedTuple):
    """What happens next: this side closes, or bytes arrive."""

    data: bytes | None


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Frames, each in one piece or cut or together with the next, and perhaps the end of this side."""
    steps: list[Step] = []
    for data in draw(st.lists(frames, max_size=8)):
        cut = draw(st.integers(0, 3 * len(data)))
        if cut < len(data) and cut:
            steps += [Step(data[:cut]), Step(data[cut:])]
        elif steps and steps[-1].data is not None and not draw(st.integers(0, 3)):
            steps[-1] = Step(steps[-1].data + data)
        else:
            steps.append(Step(data))
    if draw(st.integers(0, 4)) == 0:
        steps.insert(draw(st.integers(0, len(steps))), Step(None))
    return steps


def received(
    steps: list[Step], *, trusted: bool, short_way: bool
) -> tuple[list[tuple[int, bool, bytes]], object]:
    """All frames that arrived, and how it failed, if it did."""
    receiver = Receiver(first_message_bytes=100, first_frames=4)
    if trusted:
        receiver.trust(MESSAGE_BYTES_MAX)
    arrived: list[tuple[int, bool, bytes]] = []
    for step in steps:
        if step.data is None:
            receiver.close_only()
        elif short_way and (message := receiver.whole_message(step.data)) is not None:
            arrived.append((Opcode.BINARY, True, message))
        else:
            receiver.receive_data(step.data)
        for event in receiver.events_received():
            assert isinstance(event, Frame)
            arrived.append((event.opcode, event.fin, bytes(event.data)))
    return arrived, receiver.failure


@given(histories(), st.booleans())
def test_the_short_way_makes_the_same_of_everything(steps: list[Step], trusted: bool) -> None:
    assert received(steps, trusted=trusted, short_way=True) == received(
        steps, trusted=trusted, short_way=False
    )


def test_a_message_in_one_frame_goes_the_short_way_once_there_is_trust() -> None:
    receiver = Receiver(first_message_bytes=100, first_frames=4)
    assert receiver.whole_message(frame(0x82, b"hello")) is None
    receiver.trust(MESSAGE_BYTES_MAX)
    for payload in (b"", b"hello", bytes(125), bytes(126), bytes(MESSAGE_BYTES_MAX)):
        assert receiver.whole_message(frame(0x82, payload)) == payload
    assert receiver.whole_message(frame(0x82, bytes(MESSAGE_BYTES_MAX + 1))) is None
    # As long as one of 127 bytes whose second byte said so.
    assert receiver.whole_message(frame(0x82, bytes(119), length_bytes=8)) is None


def test_no_message_goes_the_short_way_between_the_pieces_of_another() -> None:
    receiver = Receiver(first_message_bytes=100, first_frames=4)
    receiver.trust(MESSAGE_BYTES_MAX)
    for begun in (frame(0x82, b"hello")[:4], frame(0x82, b"hello")[4:6]):
        receiver.receive_data(begun)
        assert receiver.whole_message(frame(0x82, b"within")) is None
    receiver.receive_data(frame(0x82, b"hello")[6:])
    assert receiver.whole_message(frame(0x82, b"next")) == b"next"
    receiver.receive_data(frame(0x02, b"the first fragment"))
    assert receiver.whole_message(frame(0x82, b"within")) is None
    receiver.receive_data(frame(0x80, b", and the last"))
    assert receiver.whole_message(frame(0x82, b"next")) == b"next"


def test_no_message_goes_the_short_way_once_either_side_has_closed() -> None:
    for peer in (True, False):
        receiver = Receiver(first_message_bytes=100, first_frames=4)
        receiver.trust(MESSAGE_BYTES_MAX)
        if peer:
            receiver.receive_data(frame(0x88, b""))
        else:
            receiver.close_only()
        assert receiver.whole_message(frame(0x82, b"late")) is None
