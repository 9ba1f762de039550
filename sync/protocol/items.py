"""How many items a frame has, counted before anything is decoded.

cbor2 bounds the depth of what it decodes and nothing else: 4 MiB of empty arrays become four million lists,
and the event loop stands still until they are made. So frames large enough for that are counted first.

To be counted, CBOR need not be understood: a container is its head and then its items (RFC 8949 3), so a
frame is one long row of heads, and only strings have bytes between their head and the next. `count_items`
steps from head to head. It does not look for the end of the frame's map, so bytes behind the map count as
well. Where no head can stand it stops. The decoder stops there too, or earlier, and never makes more than was
counted.

Nearly every large frame is a push of very many small records. Looking at each head costs more than decoding
it does, so records of the usual form are stepped over eight at a time, by a regular expression. Where blobs
are larger, another one steps over what stands between two of them.
"""

import re
from functools import cache
from typing import Final

from less_sync.sync.protocol.cbor import ARRAY, BYTES, MAP, SIMPLE, TAG, TEXT

FRAME_ITEMS_MAX: Final = 786_432
"""Three for each sixteen bytes of a frame of 4 MiB: room for one record more than a push may have, the
shortest there are, which count for seven each, so that it hears `payload_too_large` and is not cut off."""

CONTAINER_ITEMS: Final = 3
"""An array, a map, a tag and a simple value without a meaning count for so many. Each is an object of its own
and takes as much memory and time as three numbers or short strings."""

_RUN_RECORDS: Final = 8
_RETRY_ITEMS: Final = 64
"""Items from a record that starts no run to the next place where a run is looked for: a look in vain takes as
long as a few records."""


_SMALL_BYTES: Final = 255
"""A blob up to here can be part of a run. Looking for a record behind every string would take long where
there are very many."""
_INTEGER: Final = r"(?:[\x00-\x17\x20-\x37]|[\x18\x38].|[\x19\x39].{2}|[\x1a\x3a].{4}|[\x1b\x3b].{8})"
_NEXT_BLOB: Final = re.compile(
    rf"(?s)oexpected_cursor{_INTEGER}(?:cdekX,.{{44}}(\xa4)|(\xa3))bidx\$.{{36}}dblobY..".encode()
)
"""What stands between the blobs of two records that have their fields in the usual order, the second blob
having a length of two bytes: the end of the first record, and the second one up to and with that length."""
_NEXT_BLOB_ITEMS: Final = (0, CONTAINER_ITEMS + 8, CONTAINER_ITEMS + 6)
"""By group of `_NEXT_BLOB`: a map and three or two fields, with the second blob."""


def _is_costly(initial: int) -> bool:
    major, low = initial >> 5, initial & 31
    return major in (ARRAY, MAP, TAG) or (major == SIMPLE and (low < 20 or low == 24))


ITEM_COUNTS: Final = tuple(CONTAINER_ITEMS if _is_costly(initial) else 1 for initial in range(256))
"""By initial byte: how many items one item counts for."""

_RUN_FIELDS: Final = {MAP << 5 | fields: fields for fields in (2, 3, 4)}
"""By initial byte of a map: how many fields a record that starts so has."""

_LENGTH_BYTES: Final = {major << 5 | 24 + power: 1 << power for major in (BYTES, TEXT) for power in range(4)}
"""By initial byte of a string: how many bytes its length takes, when it stands behind the initial byte."""


def _step(initial: int) -> int:
    """Bytes from a head that starts so to the next; 0 when that takes more than this byte to tell."""
    major, low = initial >> 5, initial & 31
    if initial in _RUN_FIELDS or initial in _LENGTH_BYTES or 28 <= low <= 30:
        return 0
    if low < 24:
        return 1 + low if major in (BYTES, TEXT) else 1
    return 1 if low == 31 else 1 + (1 << low - 24)


_STEPS: Final = tuple((_step(initial), ITEM_COUNTS[initial]) for initial in range(256))


def count_items(data: bytes, items_max: int) -> int:
    """Count the items of `data`; a number somewhat above `items_max` as soon as there are more."""
    size = len(data)
    position = count = look_from = 0
    try:
        while count <= items_max:
            initial = data[position]
            step, items = _STEPS[initial]
            if step:
                position += step
                count += items
            elif initial in _LENGTH_BYTES:
                width = _LENGTH_BYTES[initial]
                start = position + 1 + width
                # Nearly all lengths have one byte, which is read in half the time by itself.
                length = data[position + 1] if width == 1 else int.from_bytes(data[position + 1 : start])
                position = start + length
                count += 1
                if _SMALL_BYTES < length < size:
                    while found := _NEXT_BLOB.match(data, position):
                        end = found.end()
                        position = end + (data[end - 2] << 8 | data[end - 1])
                        count += _NEXT_BLOB_ITEMS[found.lastindex or 0]
            elif initial not in _RUN_FIELDS:  # reserved: no item starts so
                break
            elif count < look_from:
                position += 1
                count += items
            elif end := _end_of_run(data, position):
                position = end
                count += _RUN_RECORDS * (CONTAINER_ITEMS + 2 * _RUN_FIELDS[initial])
            else:
                look_from = count + _RETRY_ITEMS
    except IndexError:  # the end of the data, or a string that goes beyond it
        pass
    return count


# A run of records, as a regular expression.


def _end_of_run(data: bytes, position: int) -> int:
    """Where `_RUN_RECORDS` records end that start at `position` and have as many fields as the first; 0 when
    no such run starts there."""
    run = _runs()[data[position]].match(data, position)
    return run.end() if run else 0


@cache
def _runs() -> dict[int, re.Pattern[bytes]]:
    """By initial byte of a map. Compiled when first needed: it takes long, and few clients need it."""
    field = rf"(?:bidx\$.{{36}}|dblob{_bytes_below_256()}|oexpected_cursor{_INTEGER}|cdekX,.{{44}})"
    return {
        initial: re.compile(f"(?s)(?>{_byte(initial)}{field}{{{fields}}}){{{_RUN_RECORDS}}}".encode())
        for initial, fields in _RUN_FIELDS.items()
    }


def _bytes_below_256() -> str:
    """A byte string. Lengths are told apart by sixteens first, since alternatives are tried one by one."""
    sixteens = "|".join(
        f"(?=[{_byte(first)}-{_byte(first + 15)}])(?:{_counted(0, range(first, first + 16))})"
        for first in range(0, 256, 16)
    )
    return f"(?:{_counted(BYTES << 5, range(24))}|{_byte(BYTES << 5 | 24)}(?:{sixteens}))"


def _counted(head: int, lengths: range) -> str:
    """A byte that is `head` plus one of `lengths`, and as many bytes as it says."""
    return "|".join(f"{_byte(head + length)}.{{{length}}}" for length in lengths)


def _byte(value: int) -> str:
    return f"\\x{value:02x}"
