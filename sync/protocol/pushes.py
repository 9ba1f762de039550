"""Large pushes of the usual form, read without a map for each record.

Nearly every large frame is a push of many records, whose fields stand in the order of docs/protocol.md 7.4.
To count its items, decode it, and make typed params of maps is three walks over all records. `read_push` does
it in one. It knows that one form alone; whatever else there is, it leaves to the decoder, which then says
what is wrong, too.
"""

import re
from typing import Final

from less_sync.sync.protocol.items import CONTAINER_ITEMS
from less_sync.sync.protocol.messages import PushChange, PushParams

LARGE_BYTES: Final = 32 * 1024
"""Shorter frames are decoded in less time than it takes to look at their form."""
RECORD_BYTES_MIN: Final = 256
"""Mean size of a record from which on this pays: what comes to nothing is bounded by it, too."""
DEPTH_MIN: Final = 8
"""A push is nested less deep; whoever allows less than this is served by the decoder."""
RECORD_ITEMS: Final = CONTAINER_ITEMS + 8
_FRAME_ITEMS: Final = 64
"""More than what stands around the records counts for."""

_START: Final = b"\xa4dtype\x00bid"
_METHOD: Final = b"fmethoddpushfparams"
_FIELDS: Final = {0xA2: False, 0xA3: True}
"""By initial byte of the params: whether a UCAN is among them."""

_HEAD: Final = r"([\xa3\xa4])bidx\$(.{36})dblob(?:Y(..)|X(.)|Z(....)|([\x40-\x57]))"
"""A record up to its blob: how many fields, the id, the length of the blob in 2, 1, 4 or no bytes more."""
_TAIL: Final = (
    r"oexpected_cursor([\x00-\x17\x20-\x37]|[\x18\x38].|[\x19\x39].{2}|[\x1a\x3a].{4})(?:cdekX,(.{44}))?"
)
"""What stands behind a blob: the expected cursor and, mostly, a DEK of 44 bytes."""
_FIRST: Final = re.compile(f"(?s){_HEAD}".encode("latin-1"))
_BETWEEN: Final = re.compile(f"(?s){_TAIL}(?:{_HEAD})?".encode("latin-1"))
_USUAL: Final = re.compile(rb"(?s)oexpected_cursor([\x00-\x17])cdekX,(.{44})\xa4bidx\$(.{36})dblobY(..)")
"""Between most blobs of 256 bytes and more. Four groups are found in half the time of eight."""


class _UnusualError(Exception):
    """The frame is of another form."""


def read_push(data: bytes, *, items_max: int, depth_max: int) -> tuple[str, PushParams] | None:
    """Id and params of a request `push`; None when the frame is something else, or of another form.

    Args:
        items_max: how many items, as `items.count_items` counts them, a frame may have.
        depth_max: how deep it may be nested.
    """
    if depth_max < DEPTH_MIN or not data.startswith(_START):
        return None
    try:
        request_id, at = _text(data, len(_START))
        at = _after(data, at, _METHOD)
        has_ucan = _FIELDS.get(data[at])
        if has_ucan is None:
            return None
        space, at = _text(data, _after(data, at + 1, b"espace"))
        ucan = ""
        if has_ucan:
            ucan, at = _text(data, _after(data, at, b"ducan"))
        count, at = _array(data, _after(data, at, b"gchanges"))
        if count * RECORD_BYTES_MIN > len(data) or count * RECORD_ITEMS + _FRAME_ITEMS > items_max:
            return None
        changes = _changes(data, at, count)
    except (_UnusualError, IndexError, UnicodeDecodeError):
        return None
    return request_id, PushParams(space=space, ucan=ucan, changes=changes)


def _after(data: bytes, at: int, expected: bytes) -> int:
    """Where `expected` ends, which must stand here."""
    if not data.startswith(expected, at):
        raise _UnusualError
    return at + len(expected)


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A text string, and where it ends."""
    size, at = _length(data, at, 0x60)
    return data[at : at + size].decode(), at + size


def _array(data: bytes, at: int) -> tuple[int, int]:
    """How many items an array has, and where the first begins."""
    return _length(data, at, 0x80)


def _length(data: bytes, at: int, kind: int) -> tuple[int, int]:
    """The length in a head of this major type, and where the head ends."""
    low = data[at] - kind
    if 0 <= low < 24:
        return low, at + 1
    if not 24 <= low <= 26:
        raise _UnusualError
    end = at + 1 + (1 << low - 24)
    return int.from_bytes(data[at + 1 : end]), end


def _changes(data: bytes, at: int, count: int) -> list[PushChange]:
    """So many records, which end where the frame does."""
    changes: list[PushChange] = []
    found = _FIRST.match(data, at)
    if found is None:
        raise _UnusualError
    fields, record, two, one, four, none = found.groups()
    for _ in range(count):
        if fields is None:
            raise _UnusualError
        start = found.end()
        if two:
            end = start + (two[0] << 8 | two[1])
            usual = _USUAL.match(data, end)
            if usual and fields == b"\xa4":
                expected, dek, following, two = usual.groups()
                changes.append(
                    PushChange(id=record.decode(), blob=data[start:end], expected_cursor=expected[0], dek=dek)
                )
                found, record = usual, following
                continue
        else:
            end = start + (none[0] - 0x40 if none else int.from_bytes(one or four))
        found = _BETWEEN.match(data, end)
        if found is None:
            raise _UnusualError
        blob = data[start:end]
        expected, dek, more, following, two, one, four, none = found.groups()
        if (fields == b"\xa4") is (dek is None):
            raise _UnusualError
        changes.append(PushChange(id=record.decode(), blob=blob, expected_cursor=_integer(expected), dek=dek))
        fields, record = more, following
    if fields is not None or found.end() != len(data):
        raise _UnusualError
    return changes


def _integer(encoded: bytes) -> int:
    """An integer of at most 32 bits."""
    initial = encoded[0]
    value = initial & 0x1F if len(encoded) == 1 else int.from_bytes(encoded[1:])
    return -1 - value if initial & 0x20 else value
