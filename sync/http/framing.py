"""How a server writes WebSocket frames (RFC 6455 5.2): whole messages, binary, unmasked, unfragmented."""

from typing import Final

PING: Final = b"\x89\x00"
"""An empty ping (RFC 6455 5.5.2)."""


def ws_header(length: int) -> bytes:
    """Header of a frame of `length` bytes: FIN, binary, no mask."""
    if length < 126:
        return bytes((0x82, length))
    if length < 1 << 16:
        return b"\x82\x7e" + length.to_bytes(2, "big")
    return b"\x82\x7f" + length.to_bytes(8, "big")


def ws_frame(payload: bytes) -> bytes:
    """`payload` as one complete message."""
    return ws_header(len(payload)) + payload
