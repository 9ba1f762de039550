"""A bounded CBOR reader for frames that the fast decoder refuses.

cbor2 refuses more than the protocol does: nearly all tags, keys that are no strings, the same key twice. In
unknown places those are ignored, in known ones they are `invalid_params`, and only broken bytes end the
connection (docs/protocol.md 3.4 and 3.5). So a refused frame is read once more, here, where every oddity
becomes `REFUSED`: no field accepts it, and where nobody looks it does no harm. No key but text and bytes is
ever hashed, since colliding keys of other types could block the process for seconds.

Work is bounded: the position only moves forward, each byte is looked at and copied at most twice, a declared
length is compared with what is left before anything is allocated, nesting and items are counted, items as
`items.count_items` counts them.
"""

from collections.abc import Iterator
from struct import unpack
from typing import Final

from cbor2 import CBORSimpleValue, undefined

from less_sync.sync.protocol.errors import MalformedCbor
from less_sync.sync.protocol.items import ITEM_COUNTS

DEPTH_MAX: Final = 64
"""Containers and tags around an item, the outermost included."""

ODD_FRAME_ITEMS_MAX: Final = 65_536
"""A twelfth of what a frame may have that the fast decoder reads: an item takes eight times as long here."""


BYTE_STRING_TAG: Final = 64
"""An array of bytes (RFC 8746), which some encoders write around each byte string. Directly around one it is
dropped; anywhere else it is a tag like any other (docs/protocol.md 3.5)."""


class Refused:
    """A well-formed value that no field accepts: tagged, or a map with odd or repeated keys."""

    def __repr__(self) -> str:
        return "REFUSED"


REFUSED: Final = Refused()

_BREAK: Final = object()
_SIMPLE: Final = {20: False, 21: True, 22: None, 23: undefined}
_FLOATS: Final = {25: ">e", 26: ">f", 27: ">d"}
_BYTE_STRINGS: Final = frozenset(bytes((0x40 + low,)) for low in range(32))
"""Initial bytes of major type 2."""
_ONCE: Final = frozenset(("type", "id", "method"))


def scan(data: bytes, *, depth_max: int = DEPTH_MAX, items_max: int = ODD_FRAME_ITEMS_MAX) -> object:
    """Read the first item of `data`; what follows it is not looked at.

    Raises:
        MalformedCbor: no item, or one beyond the bounds.
    """
    return _Scanner(data, depth_max=depth_max, items_max=items_max).item(0)


def scan_frame(
    data: bytes, *, depth_max: int = DEPTH_MAX, items_max: int = ODD_FRAME_ITEMS_MAX
) -> dict[str, object]:
    """Read the map that a frame is (docs/protocol.md 3.4).

    The value of a key that stands twice is `REFUSED`, which matters to `params` alone.

    Raises:
        MalformedCbor: no such map; also when `type`, `id` or `method` stand twice, or a key is no text.
    """
    return _Scanner(data, depth_max=depth_max, items_max=items_max).frame()


class _Scanner:
    """Position and budget within one message."""

    __slots__ = ("_data", "_depth_max", "_end", "_items_left", "_position")

    def __init__(self, data: bytes, *, depth_max: int, items_max: int) -> None:
        self._data = data
        self._end = len(data)
        self._position = 0
        self._depth_max = depth_max
        self._items_left = items_max

    def frame(self) -> dict[str, object]:
        major, length = self._head()
        if major != 5:
            raise MalformedCbor
        frame: dict[str, object] = {}
        for _ in range(self._count(length, items_each=2)):
            key = self.item(1, may_break=length is None)
            if key is _BREAK:
                break
            if type(key) is not str or (key in frame and key in _ONCE):
                raise MalformedCbor
            value = self.item(1)
            frame[key] = REFUSED if key in frame else value
        return frame

    def item(self, depth: int, *, may_break: bool = False) -> object:
        """Read one item that stands within `depth` containers; `_BREAK` for a break where one may stand."""
        start = self._position
        major, argument = self._head()
        if major == 7:
            return self._simple(start, argument, may_break=may_break)
        if major == 2:
            return self._take(argument) if argument is not None else b"".join(self._chunks(2))
        if major == 3:
            return self._text(argument) if argument is not None else "".join(map(_utf8, self._chunks(3)))
        if argument is not None and major < 2:
            return -1 - argument if major else argument
        if depth >= self._depth_max:
            raise MalformedCbor
        if major == 4:
            return self._array(argument, depth + 1)
        if major == 5:
            return self._map(argument, depth + 1)
        if argument is None:  # an integer or a tag cannot be of indefinite length
            raise MalformedCbor
        if argument == BYTE_STRING_TAG and self._data[self._position : self._position + 1] in _BYTE_STRINGS:
            return self.item(depth + 1)
        self.item(depth + 1)
        return REFUSED

    def _head(self) -> tuple[int, int | None]:
        """Major type and argument of the next item; None for an indefinite length or a break."""
        position = self._position
        if position >= self._end:
            raise MalformedCbor
        initial = self._data[position]
        self._items_left -= ITEM_COUNTS[initial]
        if self._items_left < 0:
            raise MalformedCbor
        self._position = position + 1
        low = initial & 31
        if low < 24:
            return initial >> 5, low
        if low < 28:
            return initial >> 5, int.from_bytes(self._take(1 << (low - 24)), "big")
        if low < 31:
            raise MalformedCbor
        return initial >> 5, None

    def _take(self, length: int) -> bytes:
        position = self._position
        if length > self._end - position:
            raise MalformedCbor
        self._position = position + length
        return self._data[position : position + length]

    def _text(self, length: int) -> str:
        return _utf8(self._take(length))

    def _chunks(self, major: int) -> Iterator[bytes]:
        """The pieces of a string of indefinite length, each definite and of the string's own type."""
        while True:
            chunk, length = self._head()
            if length is None and chunk == 7:
                return
            if length is None or chunk != major:
                raise MalformedCbor
            yield self._take(length)

    def _simple(self, start: int, argument: int | None, *, may_break: bool) -> object:
        """What the initial byte at `start`, of major type 7, and its argument mean."""
        if argument is None:
            if may_break:
                return _BREAK
            raise MalformedCbor
        low = self._data[start] & 31
        if low in _FLOATS:
            return unpack(_FLOATS[low], self._data[start + 1 : self._position])[0]
        if low == 24 and argument < 32:
            raise MalformedCbor
        return _SIMPLE[argument] if argument in _SIMPLE else CBORSimpleValue(argument)

    def _count(self, length: int | None, *, items_each: int) -> int:
        """How often a container's loop may run: each item takes a byte at least."""
        left = self._end - self._position
        if length is None:
            return left + 1
        if length * items_each > left:
            raise MalformedCbor
        return length

    def _array(self, length: int | None, depth: int) -> object:
        items: list[object] = []
        for _ in range(self._count(length, items_each=1)):
            value = self.item(depth, may_break=length is None)
            if value is _BREAK:
                break
            items.append(value)
        return items

    def _map(self, length: int | None, depth: int) -> object:
        """The map as a dict, or `REFUSED` if a key is neither text nor bytes or stands twice."""
        pairs: dict[object, object] = {}
        refused = False
        for _ in range(self._count(length, items_each=2)):
            key = self.item(depth, may_break=length is None)
            if key is _BREAK:
                break
            value = self.item(depth)
            refused = refused or type(key) not in (str, bytes) or key in pairs
            if not refused:
                pairs[key] = value
        return REFUSED if refused else pairs


def _utf8(data: bytes) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise MalformedCbor from None
