"""The columns of an index as arrays, without numpy, whose import takes a tenth of a second and 12 MiB.

Strides of a row's length pick the bytes of one column out of many rows at once, some 20 ns a row and column.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from operator import add, lt
from typing import Final

from less_sync.volume.format.rows import ALIGNMENT, ROW_BYTES

_ID: Final = range(7, -1, -1)
_LOW: Final = range(11, 7, -1)
"""Places of the bytes in a row, the lowest first."""
_HIGH: Final = 12
"""Of the fifth byte of an offset."""
_BYTES: Final = {"Q": 8, "i": 4, "B": 1}


class Columns:
    """Whole rows of an index, column by column."""

    __slots__ = ("_rows", "_size", "_width")

    def __init__(self, rows: bytes, width: int) -> None:
        self._rows: Final = rows
        self._width: Final = width
        self._size: Final = range(ROW_BYTES[width] - 1, ROW_BYTES[width] - 5, -1)

    def ids(self) -> "array[int]":
        """Of the needles."""
        return self._column("Q", _ID)

    def sizes(self) -> "array[int]":
        """Negative ones are deletions."""
        return self._column("i", self._size)

    def units(self) -> "array[int]":
        """Offsets in units of 8 bytes; 0 is a deletion."""
        return self._column("Q", (*_LOW, _HIGH) if self._width == 5 else _LOW)

    def values(self) -> "array[int]":
        """The low 32 bits of the offsets above the 32 bits of the sizes, as `needle_map.Settled` has them."""
        return self._column("Q", (*self._size, *_LOW))

    def high(self) -> "array[int]":
        """The fifth bytes of the offsets; nothing in an index of 4-byte offsets."""
        return self._column("B", (_HIGH,)) if self._width == 5 else array("B")

    def _column(self, kind: str, places: Sequence[int]) -> "array[int]":
        row_bytes, item_bytes = ROW_BYTES[self._width], _BYTES[kind]
        picked = bytearray(len(self._rows) // row_bytes * item_bytes)
        for at, place in enumerate(places):
            picked[at::item_bytes] = self._rows[place::row_bytes]
        column = array(kind, bytes(picked))
        if sys.byteorder == "big":
            column.byteswap()
        return column


def ascend(column: "array[int]") -> bool:
    """Whether each number is above the one before it."""
    return all(map(lt, column, islice(column, 1, None)))


def furthest_end(units: "array[int]", sizes: "array[int]") -> int:
    """The largest sum of an offset and a size, of one row or more whose offsets ascend."""
    last_end = units[-1] * ALIGNMENT + sizes[-1]
    # What begins further before that than the longest is long cannot end behind it.
    start = bisect_left(units, max(0, last_end - max(sizes)) // ALIGNMENT)
    furthest: int = max(map(add, map(ALIGNMENT.__mul__, units[start:]), sizes[start:]))
    return furthest
