"""Writing CBOR by hand, for frames that are joined from parts (RFC 8949 3, docs/protocol.md 3.3).

Definite lengths and shortest-form integers only. Everything else is written by cbor2; tests compare the two.
"""

from struct import Struct
from typing import Final

UNSIGNED: Final = 0
NEGATIVE: Final = 1
BYTES: Final = 2
TEXT: Final = 3
ARRAY: Final = 4
MAP: Final = 5
TAG: Final = 6
SIMPLE: Final = 7

_SMALL: Final = tuple(
    tuple(bytes((major << 5 | n,)) if n < 24 else bytes((major << 5 | 24, n)) for n in range(256))
    for major in range(6)
)
_U16: Final = Struct(">BH").pack
_U32: Final = Struct(">BI").pack
_U64: Final = Struct(">BQ").pack


def head(major: int, argument: int) -> bytes:
    """Initial byte and argument of an item: a length, or an integer's value; below 2**64."""
    if argument < 256:
        return _SMALL[major][argument]
    if argument < 1 << 16:
        return _U16(major << 5 | 25, argument)
    if argument < 1 << 32:
        return _U32(major << 5 | 26, argument)
    return _U64(major << 5 | 27, argument)


def integer(value: int) -> bytes:
    """One integer of at most 64 bits."""
    return head(UNSIGNED, value) if value >= 0 else head(NEGATIVE, -1 - value)


def text(value: str) -> bytes:
    """One text string."""
    encoded = value.encode()
    return head(TEXT, len(encoded)) + encoded
