"""Reads an index from its file, in pieces, because ten million rows are 160 MB."""

from collections.abc import Iterator

from less_sync.volume.engine.columns import Columns, ascend, furthest_end
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.index_walk import NUMPY_ROWS_MIN, WINDOW_ROWS
from less_sync.volume.engine.walk import read_up_to
from less_sync.volume.format.needle import HEADER_BYTES, trailer_bytes
from less_sync.volume.format.rows import ALIGNMENT, ROW_BYTES, Row, decode_rows


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
        furthest = max(
            furthest, _body_end_max(rows, width, is_large=end >= NUMPY_ROWS_MIN * ROW_BYTES[width])
        )
    return furthest + HEADER_BYTES + trailer_bytes(version) if furthest else 0


def _body_end_max(rows: bytes, width: int, *, is_large: bool) -> int:
    """The largest sum of offset and size, of a large index with deletions by numpy."""
    whole = Columns(rows[: len(rows) // ROW_BYTES[width] * ROW_BYTES[width]], width)
    units, sizes = whole.units(), whole.sizes()
    if units[0] and min(sizes) >= 0 and ascend(units):
        return furthest_end(units, sizes)
    if not is_large:
        found = (row.offset + max(row.size, 0) for row in decode_rows(rows, width) if row.offset)
        return max(found, default=0)
    import numpy as np

    places = np.frombuffer(units, np.uint64).astype(np.int64)
    ends = places * ALIGNMENT + np.maximum(np.frombuffer(sizes, np.int32), 0)
    return int(np.max(ends[places > 0], initial=0))
