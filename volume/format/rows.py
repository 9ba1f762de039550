"""Rows of an index (`.idx`, `.cpx`, `.ecx`): the id of a needle, where its record lies, and its size.

Layout, big-endian: id u64, offset / 8 as u32, in 17-byte rows bits 32 to 39 of it as a fifth byte *behind*,
size i32. With 4 bytes an offset counts modulo 32 GiB. A row with offset 0 or a negative size is a deletion.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from less_sync.volume.format.checksums import Bytes

ALIGNMENT: Final = 8
"""Every record begins at a multiple of this; offsets in rows count in it."""
TOMBSTONE_SIZE: Final = -1
ROW_BYTES: Final = {4: 16, 5: 17}
"""Length of a row by the width of its offset in bytes."""
OFFSETS_BYTES: Final = {4: ALIGNMENT << 32, 5: ALIGNMENT << 40}
"""How far offsets of that width reach: 32 GiB and 8 TiB; also the largest volume."""
_ROW_4: Final = struct.Struct(">QIi")
_ROW_5: Final = struct.Struct(">QIBi")


class Row(NamedTuple):
    """One entry of an index. `offset` in bytes from the start of the data file, as far as the width tells."""

    id: int
    offset: int
    size: int

    @property
    def is_deletion(self) -> bool:
        """Whether the needle is gone from here on."""
        return self.offset == 0 or self.size < 0


def encode_row(id: int, offset: int, size: int, width: int) -> bytes:  # noqa: A002
    """The bytes of a row; an offset beyond the reach of 4 bytes wraps."""
    units = offset // ALIGNMENT
    if width == 4:
        return _ROW_4.pack(id, units & 0xFFFFFFFF, size)
    return _ROW_5.pack(id, units & 0xFFFFFFFF, units >> 32 & 0xFF, size)


def decode_rows(rows: Bytes, width: int) -> Iterator[Row]:
    """All whole rows, in order; what is left over at the end is passed over."""
    whole = memoryview(rows)[: len(rows) // ROW_BYTES[width] * ROW_BYTES[width]]
    if width == 4:
        for id_, units, size in _ROW_4.iter_unpack(whole):
            yield Row(id_, units * ALIGNMENT, size)
    else:
        for id_, low, high, size in _ROW_5.iter_unpack(whole):
            yield Row(id_, (high << 32 | low) * ALIGNMENT, size)
