"""WebSocket frames as far as both sides of the simulation need them."""

from typing import Final, NamedTuple

from tests.simulation.system import KEEPALIVE, Chunk, Notification, Response, decode_server_frame

_OPCODES: Final = {0x82: "binary", 0x88: "close", 0x89: "ping", 0x8A: "pong"}
_NO_MASK: Final = bytes(4)
PONG: Final = b"\x8a\x80" + _NO_MASK


class Closing(NamedTuple):
    """A close frame."""

    code: int
    reason: str


class Control(NamedTuple):
    """A ping or a pong, or a keepalive message."""

    kind: str


Frame = Response | Chunk | Notification | Closing | Control


class Malformed(Exception):
    """What was written is no sequence of whole frames."""


def parse(data: bytes) -> list[Frame]:
    """Read unmasked, unfragmented frames, which must fill `data`.

    Raises:
        Malformed: they do not.
    """
    frames: list[Frame] = []
    at = 0
    while at < len(data):
        kind = _OPCODES.get(data[at], "")
        length, head = data[at + 1], 2
        if length == 126:
            length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        elif length == 127:
            length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
        payload = data[at + head : at + head + length]
        if not kind or len(payload) != length:
            raise Malformed(data[:40])
        frames.append(_frame(kind, payload))
        at += head + length
    return frames


def _frame(kind: str, payload: bytes) -> Frame:
    if kind == "close":
        return Closing(int.from_bytes(payload[:2], "big"), payload[2:].decode())
    if kind != "binary":
        return Control(kind)
    if payload == KEEPALIVE:
        return Control("keepalive")
    frame = decode_server_frame(payload)
    if frame is None:
        raise Malformed(payload[:40])
    return frame


def described(frame: Frame) -> str:
    """One line, for whoever looks at a failure."""
    match frame:
        case Response(id, result, error):
            said = str(result)[:200] if error is None else f"{error.code}: {error.message}"
            return f"answer {id}: {said}"
        case Chunk(id, name, _):
            return f"chunk {id}: {name}"
        case Notification(method, params):
            return f"{method} {str(params)[:120]}"
        case _:
            return str(frame)


def message(payload: bytes) -> bytes:
    """A client's binary frame, masked with zeros."""
    return _masked(0x82, payload)


def closing(code: int) -> bytes:
    """A client's close frame."""
    return _masked(0x88, code.to_bytes(2, "big"))


def _masked(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((first, 0xFE)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + length.to_bytes(8, "big")
    return head + _NO_MASK + payload
