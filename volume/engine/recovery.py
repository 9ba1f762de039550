"""Brings data file and index of a volume back in step after a crash (docs/volume.md 7.4).

A process that is killed between two writes leaves a record without a row; a power loss leaves rows without
records, records without rows, or a file that ends in zeros. Nothing here loses a record that is whole: rows
whose record is not there are taken off the end of the index, whole records that no row knows get one, and
only what cannot be a record is cut, after a copy of it was put aside.

`plan_repair` reads and decides, `apply_repair` does it. Applied twice, or killed halfway and applied again,
the result is the same: every step leaves files of which the same plan follows.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from less_sync.volume.engine.files import Files, write_all
from less_sync.volume.engine.rows_file import rows_between, unpadded_end_max
from less_sync.volume.engine.walk import WINDOW_BYTES, Window, read_up_to, walk
from less_sync.volume.format.needle import HEADER, HEADER_BYTES, unpadded_length
from less_sync.volume.format.rows import ALIGNMENT, OFFSETS_BYTES, ROW_BYTES, TOMBSTONE_SIZE, encode_row
from less_sync.volume.logs import Logger

DERIVED: Final = (".sdx", ".ldb", ".rdb")
"""What existing servers derive from an index, and take for current by its time alone."""
_CUT_NAMES_MAX: Final = 1_000
_LOOKED_AT_ROWS: Final = 256
"""At once from the end of an index backwards; usually the first one is in order."""
_log: Final = Logger(__name__)


@dataclass(frozen=True, slots=True)
class VolumePaths:
    """Where the two files of a volume lie; they may be in different directories."""

    data: Path
    index: Path


@dataclass(frozen=True, slots=True)
class Repair:
    """What is wrong between the files of a volume, and what would bring them back in step."""

    width: int
    index_bytes: int
    """Length of the index as it is; -1 when it is missing."""
    index_end: int
    """How much of it stays."""
    rows_dropped: int
    """At its end, because their records are not there."""
    rows_added: bytes
    """For whole records behind the last one that a row knows."""
    needles_found: int
    deletions_found: int
    data_bytes: int
    data_end: int
    """What the length of the data file should be: less cuts it, more gives the last record its padding."""
    doubt: str
    """Empty, or why the data file is not touched and the volume should take no writes."""

    @property
    def half_row_bytes(self) -> int:
        """Of a row that was not written whole."""
        return max(0, self.index_bytes) % ROW_BYTES[self.width]

    @property
    def changes_index(self) -> bool:
        """Whether the index is to be written."""
        return self.index_bytes != self.index_end or bool(self.rows_added)

    @property
    def changes_anything(self) -> bool:
        """Whether there is anything to repair."""
        return self.changes_index or self.data_end != self.data_bytes

    @property
    def cut_bytes(self) -> int:
        """What would be cut from the data file."""
        return max(0, self.data_bytes - self.data_end)


def plan_repair(files: Files, paths: VolumePaths, *, version: int, width: int, start: int) -> Repair:
    """Compare data file and index, and decide. Changes nothing.

    Args:
        version: of the records.
        width: of offsets in the index, 4 or 5 bytes.
        start: where the first record begins.

    Raises:
        OSError: the data file is missing, or the disk failed.
    """
    data = files.open(paths.data, os.O_RDONLY)
    try:
        index = _open_if_there(files, paths.index)
        try:
            return _plan(files, data, index, version=version, width=width, start=start)
        finally:
            if index is not None:
                files.close(index)
    finally:
        files.close(data)


def apply_repair(files: Files, paths: VolumePaths, repair: Repair, *, now_s: int) -> Path | None:
    """Do what the plan says. Nobody else may have the files open for writing.

    Everything is on the disk when this returns. What is cut from the data file, unless it is all zeros, is
    in a file of its own before.

    Returns:
        Where the cut bytes are, if any were kept.

    Raises:
        OSError: the disk refused; the same plan follows again from what is there then.
    """
    kept = None
    if repair.changes_anything:
        data = files.open(paths.data, os.O_RDWR)
        try:
            kept = _keep_cut_bytes(files, data, paths.data, repair, now_s)
            if repair.changes_index:
                _write_index(files, paths.index, repair)
            if repair.data_end != repair.data_bytes:
                files.truncate(data, repair.data_end)
                files.sync(data)
        finally:
            files.close(data)
        remove_derived(files, paths.index)
        for directory in {paths.data.parent, paths.index.parent}:
            files.sync_directory(directory)
    return kept


def recover(files: Files, paths: VolumePaths, *, version: int, width: int, start: int, now_s: int) -> Repair:
    """Plan, repair, and say in the log what was done; as `plan_repair` and `apply_repair`.

    Not for volumes that are marked read-only, whose data lies elsewhere, or that may not be written.
    """
    repair = plan_repair(files, paths, version=version, width=width, start=start)
    kept = apply_repair(files, paths, repair, now_s=now_s)
    if repair.changes_anything or repair.doubt:
        _log.warning(
            "volume repaired" if not repair.doubt else "volume damaged, it takes no writes",
            volume=paths.data.stem,
            rows_dropped=repair.rows_dropped,
            half_row_bytes=repair.half_row_bytes,
            needles_found=repair.needles_found,
            deletions_found=repair.deletions_found,
            data_bytes_cut=repair.cut_bytes,
            cut_bytes_kept_in=kept.name if kept else "",
            doubt=repair.doubt,
        )
    return repair


def remove_derived(files: Files, index: Path) -> None:
    """Remove what others derived from an index that is rewritten now."""
    for extension in DERIVED:
        files.remove_tree(index.with_suffix(extension))


def _plan(files: Files, data: int, index: int | None, *, version: int, width: int, start: int) -> Repair:
    # The index first: beside a server that writes, what its rows point at is in the data file by then.
    index_bytes = -1 if index is None else files.size(index)
    data_bytes = files.size(data)
    whole_rows = max(0, index_bytes) // ROW_BYTES[width]
    kept_rows, furthest = whole_rows, 0
    if index is not None:
        kept_rows -= _rows_without_record(files, index, whole_rows, width, version, data_bytes)
        furthest = unpadded_end_max(files, index, kept_rows * ROW_BYTES[width], width, version)
    if furthest > data_bytes:
        # A row in the middle points beyond the end of the file: no crash does that.
        doubt = f"a row points at a record up to {furthest}, but the data ends at {data_bytes}"
        whole_end = whole_rows * ROW_BYTES[width]
        return Repair(width, index_bytes, whole_end, 0, b"", 0, 0, data_bytes, data_bytes, doubt)
    known_end = max(start, _padded(furthest))
    index_end = kept_rows * ROW_BYTES[width]
    wrapped = _wrapped_rows(files, index, index_end, width, data_bytes)
    added, deletions, end = bytearray(), 0, known_end
    for record in walk(files, data, version, known_end, data_bytes):
        end = record.end
        if (record.id, record.offset % OFFSETS_BYTES[width]) not in wrapped:
            deletions += record.size == 0
            added += encode_row(record.id, record.offset, record.size or TOMBSTONE_SIZE, width)
    data_end, doubt = _end_of_data(files, data, end, data_bytes, version)
    return Repair(
        width=width,
        index_bytes=index_bytes,
        index_end=index_end,
        rows_dropped=whole_rows - kept_rows,
        rows_added=bytes(added),
        needles_found=len(added) // ROW_BYTES[width] - deletions,
        deletions_found=deletions,
        data_bytes=data_bytes,
        data_end=data_end,
        doubt=doubt,
    )


def _rows_without_record(
    files: Files, index: int, rows: int, width: int, version: int, data_bytes: int
) -> int:
    """How many rows at the end of an index point at records that are not wholly in the data file."""
    dropped = 0
    while dropped < rows:
        end = (rows - dropped) * ROW_BYTES[width]
        start = max(0, end - _LOOKED_AT_ROWS * ROW_BYTES[width])
        for row in reversed(list(rows_between(files, index, end, width, start))):
            if not row.offset or row.offset + unpadded_length(row.size, version) <= data_bytes:
                return dropped
            dropped += 1
    return dropped


def _wrapped_rows(
    files: Files, index: int | None, index_end: int, width: int, data_bytes: int
) -> set[tuple[int, int]]:
    """Ids and offsets of rows that may mean a record beyond the reach of their offsets.

    Only a tombstone, or the last record of a full volume, can lie there. Without this each start would add
    rows for the records there, because their offsets look like those of the first ones.
    """
    beyond = data_bytes - OFFSETS_BYTES[width]
    if index is None or beyond <= 0:
        return set()
    rows = rows_between(files, index, index_end, width)
    return {(row.id, row.offset) for row in rows if 0 < row.offset < beyond}


def _padded(unpadded_end: int) -> int:
    """Where a record ends with its padding; 0 stays 0."""
    return (unpadded_end // ALIGNMENT + 1) * ALIGNMENT if unpadded_end else 0


def _end_of_data(files: Files, data: int, end: int, data_bytes: int, version: int) -> tuple[int, str]:
    """How long the data file should be whose last whole record ends at `end`, and what speaks against it."""
    rest = data_bytes - end
    if rest < HEADER_BYTES or _is_zero(files, data, end, data_bytes):
        return end, ""
    _, _, size = HEADER.unpack(read_up_to(files, data, HEADER_BYTES, end))
    if size >= 0 and unpadded_length(size, version) > rest:
        return end, ""
    return data_bytes, f"{rest} bytes at {end} are neither a whole record nor the beginning of one"


def _is_zero(files: Files, fd: int, start: int, end: int) -> bool:
    window = Window(files, fd)
    return all(
        not any(window.view(at, min(WINDOW_BYTES, end - at))) for at in range(start, end, WINDOW_BYTES)
    )


def _open_if_there(files: Files, path: Path) -> int | None:
    try:
        return files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None


def _keep_cut_bytes(files: Files, data: int, path: Path, repair: Repair, now_s: int) -> Path | None:
    start, end = repair.data_end, repair.data_bytes
    if start >= end or _is_zero(files, data, start, end):
        return None
    for second in range(now_s, now_s + _CUT_NAMES_MAX):
        kept = path.with_suffix(f".cut-{second}")
        try:
            target = files.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            continue
        try:
            for at in range(start, end, WINDOW_BYTES):
                piece = read_up_to(files, data, min(WINDOW_BYTES, end - at), at)
                write_all(files, target, (piece,), at - start)
            files.sync(target)
        finally:
            files.close(target)
        files.sync_directory(path.parent)
        return kept
    raise FileExistsError(f"{_CUT_NAMES_MAX} files named {path.stem}.cut-*")


def _write_index(files: Files, path: Path, repair: Repair) -> None:
    index = files.open(path, os.O_RDWR | os.O_CREAT)
    try:
        if repair.index_bytes > repair.index_end:
            files.truncate(index, repair.index_end)
        write_all(files, index, (repair.rows_added,), repair.index_end)
        files.sync(index)
    finally:
        files.close(index)
