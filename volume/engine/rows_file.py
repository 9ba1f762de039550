"""Reads an index from its file, in pieces, because ten million rows are 160 MB."""

from collections.abc import Iterator
from typing import Final

from less_sync.volume.engine.files import Files
from less_sync.volume.engine.index_walk import NUMPY_ROWS_MIN
from less_sync.volume.engine.walk import read_up_to
from less_sync.volume.format.needle import HEADER_BYTES, trailer_bytes
from less_sync.volume.format.rows import ALIGNMENT, ROW_BYTES, Row, decode_rows

WINDOW_ROWS: Final = 65_536


def row_windows(files: Files, fd: int, end: int, width: int, start: int = 0) -> Iterator[bytes]:
    """The whole rows between `start` and `end` in bytes, up to `WINDOW_ROWS` at a time."""
    window_bytes = WINDOW_ROWS * ROW_BYTES[width]
    while start < end:
        rows = read_up_to(files, fd, min(window_bytes, end - start), start)
        if len(rows) < ROW_BYTES[width]:
            return
        yield rows
        start += window_bytes


def rows_between(files: Files, fd: int, end: int, width: int, start: int = 0) -> Iterator[Row]:
    """The same, row by row."""
    for rows in row_windows(files, fd, end, width, start):
        yield from decode_rows(rows, width)


def unpadded_end_max(files: Files, fd: int, end: int, width: int, version: int) -> int:
    """Where the last record ends that a row before `end` points at, without its padding; 0 without any."""
    furthest = 0
    for rows in row_windows(files, fd, end, width):
        if end < NUMPY_ROWS_MIN * ROW_BYTES[width]:
            found = max(
                (row.offset + max(row.size, 0) for row in decode_rows(rows, width) if row.offset), default=0
            )
        else:
            found = _body_end_max(rows, width)
        furthest = max(furthest, found)
    return furthest + HEADER_BYTES + trailer_bytes(version) if furthest else 0


def _body_end_max(rows: bytes, width: int) -> int:
    """The largest sum of offset and size, by numpy."""
    import numpy as np

    columns = [("id", ">u8"), ("units", ">u4"), *([("high", "u1")] if width == 5 else []), ("size", ">i4")]
    table = np.frombuffer(rows, np.dtype(columns), len(rows) // ROW_BYTES[width])
    units = table["units"].astype(np.int64)
    if width == 5:
        units += table["high"].astype(np.int64) << 32
    ends = units * ALIGNMENT + np.maximum(table["size"].astype(np.int64), 0)
    return int(np.max(ends[units > 0], initial=0))
