"""Finds out whether the offsets in an index have 4 or 5 bytes, where nothing trustworthy says so."""

import os
from dataclasses import dataclass

from less_sync.volume.engine.errors import VolumeNotLoaded
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.recovery import VolumePaths
from less_sync.volume.engine.rows_file import rows_between
from less_sync.volume.engine.walk import read_up_to
from less_sync.volume.format.needle import HEADER, HEADER_BYTES, record_length
from less_sync.volume.format.rows import OFFSETS_BYTES, ROW_BYTES, Row


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two files of a volume, open."""

    files: Files
    data: int
    index: int
    version: int


def choose_width(files: Files, paths: VolumePaths, *, version: int, stated: int, configured: int) -> int:
    """The width of offsets in a volume's index, in bytes: 4 or 5.

    Args:
        stated: what the volume info says; 0 when it says nothing.
        configured: the width of new volumes, tried first when nothing is stated.

    Raises:
        VolumeNotLoaded: it states one width, and the rows have the other one; or it states a third.
        OSError: the disk failed.
    """
    if stated not in {0, *ROW_BYTES}:
        raise VolumeNotLoaded(f"offsets of {stated} bytes in the volume info: only 4 and 5 are known")
    first = stated or configured
    other = 9 - first
    try:
        index = files.open(paths.index, os.O_RDONLY)
    except FileNotFoundError:
        return first
    try:
        data = files.open(paths.data, os.O_RDONLY)
        try:
            pair = _Pair(files, data, index, version)
            if files.size(index) == 0 or _fits(pair, first):
                return first
            if not _fits(pair, other):
                # Damaged at its end, perhaps. The first row was written long ago.
                return other if not stated and not _begins(pair, first) and _begins(pair, other) else first
        finally:
            files.close(data)
    finally:
        files.close(index)
    if stated:
        raise VolumeNotLoaded(
            f"the volume info says that offsets have {stated} bytes, but in the index they have {other}"
        )
    return other


def _fits(pair: _Pair, width: int) -> bool:
    """Whether the index has whole rows and the last record is the one that its row says."""
    index_bytes = pair.files.size(pair.index)
    if index_bytes % ROW_BYTES[width]:
        return False
    row = last_in_data(pair.files, pair.index, index_bytes, width, pair.version, pair.files.size(pair.data))
    return row is None or _is_there(pair, row, width)


def _begins(pair: _Pair, width: int) -> bool:
    """Whether the first row is that of a record, its size included: in both widths it begins with the id."""
    rows = rows_between(pair.files, pair.index, ROW_BYTES[width], width)
    return any(row.offset and _is_there(pair, row, width, same_size=True) for row in rows)


def last_in_data(files: Files, index: int, end: int, width: int, version: int, data_bytes: int) -> Row | None:
    """The row whose record lies last: the last one if that ends the file, else that of the highest offset.

    None if no row points anywhere.
    """
    last = max(0, end - ROW_BYTES[width])
    for row in rows_between(files, index, end, width, last):
        # What was deleted from a full volume lies beyond the reach of its row.
        ends = {
            row.offset + beyond + record_length(row.size, version) for beyond in (0, OFFSETS_BYTES[width])
        }
        if row.offset and data_bytes in ends:
            return row
    highest = max(rows_between(files, index, end, width), key=lambda row: row.offset, default=None)
    return highest if highest is not None and highest.offset else None


def _is_there(pair: _Pair, row: Row, width: int, *, same_size: bool = False) -> bool:
    """Whether the record at the row's offset has its id; in a full volume it may lie one wrap further."""
    for offset in (row.offset, row.offset + OFFSETS_BYTES[width]):
        head = read_up_to(pair.files, pair.data, HEADER_BYTES, offset)
        if len(head) < HEADER_BYTES:
            continue
        _, id_, size = HEADER.unpack(head)
        if id_ == row.id and (not same_size or size == max(row.size, 0)):
            return True
    return False
