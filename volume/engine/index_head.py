"""Mends an index whose first rows an old defect of existing servers wrote over.

They wrote deletions without a record (offset 0, size -1) to the beginning of the file instead of its end, so
that the rows of the first records are gone. The records tell what they were.
"""

import os
from collections.abc import Iterator
from itertools import takewhile
from typing import Final

from less_sync.volume.engine.files import Files, write_all
from less_sync.volume.engine.recovery import VolumePaths, remove_derived
from less_sync.volume.engine.rows_file import row_windows, rows_between
from less_sync.volume.engine.walk import read_up_to
from less_sync.volume.format.needle import HEADER, HEADER_BYTES, record_length
from less_sync.volume.format.rows import TOMBSTONE_SIZE, Row, encode_row
from less_sync.volume.logs import Logger

_log: Final = Logger(__name__)


def repair_index_head(files: Files, paths: VolumePaths, *, version: int, width: int, start: int) -> int:
    """Put the lost rows in front of the others, which stay as they are. Safe to repeat, and against crashes.

    Args:
        start: where the first record begins.

    Returns:
        How many rows were put there.

    Raises:
        OSError: the disk failed; the index is as it was.
    """
    rows = missing_head_rows(files, paths, version=version, width=width, start=start)
    if rows:
        _put_in_front(files, paths, b"".join(encode_row(*row, width) for row in rows), width)
        _log.warning("rows at the head of an index put back", volume=paths.data.stem, rows=len(rows))
    return len(rows)


def missing_head_rows(files: Files, paths: VolumePaths, *, version: int, width: int, start: int) -> list[Row]:
    """The rows that were written over, as far as their needles are live and no other row knows them."""
    index = files.open(paths.index, os.O_RDONLY)
    try:
        end = files.size(index)
        written_over = sum(1 for _ in takewhile(_is_stray, rows_between(files, index, end, width)))
        if not written_over:
            return []
        live = dict[int, Row]()
        for row in _first_records(files, paths, written_over, version, start):
            if row.size > 0:
                live[row.id] = row
            else:
                live.pop(row.id, None)
        for row in rows_between(files, index, end, width):
            live.pop(row.id, None)
        return list(live.values())
    finally:
        files.close(index)


def _is_stray(row: Row) -> bool:
    return row.offset == 0 and row.size == TOMBSTONE_SIZE


def _first_records(files: Files, paths: VolumePaths, count: int, version: int, start: int) -> Iterator[Row]:
    data = files.open(paths.data, os.O_RDONLY)
    try:
        for _ in range(count):
            head = read_up_to(files, data, HEADER_BYTES, start)
            if len(head) < HEADER_BYTES:
                return
            _, id_, size = HEADER.unpack(head)
            yield Row(id_, start, size)
            start += record_length(size, version)
    finally:
        files.close(data)


def _put_in_front(files: Files, paths: VolumePaths, rows: bytes, width: int) -> None:
    temporary = paths.index.with_suffix(".idx.tmp")
    old = files.open(paths.index, os.O_RDONLY)
    try:
        mode = paths.index.stat().st_mode & 0o777
        new = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            at = write_all(files, new, (rows,), 0)
            for piece in row_windows(files, old, files.size(old), width):
                at = write_all(files, new, (piece,), at)
            files.sync(new)
        finally:
            files.close(new)
    finally:
        files.close(old)
    files.rename(temporary, paths.index)
    remove_derived(files, paths.index)
    files.sync_directory(paths.index.parent)
