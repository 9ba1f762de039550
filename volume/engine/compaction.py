"""What a vacuum writes: the live records of a volume, one behind the other, and their rows.

Records are copied byte for byte; only a checksum in the older form becomes a plain one. All of it runs in
threads, a batch at a time, and reads record by record, so that the event loop gets its turn in between.
"""

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from less_sync.volume.engine.errors import DamagedRecord
from less_sync.volume.engine.expiry import is_expired
from less_sync.volume.engine.files import Files, write_all
from less_sync.volume.engine.index_walk import walk_index
from less_sync.volume.engine.rows_file import rows_between
from less_sync.volume.engine.swap import VacuumPaths
from less_sync.volume.engine.walk import WINDOW_BYTES, Window, read_up_to
from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import (
    CHECKSUM_BYTES,
    DATA_LENGTH_BYTES,
    HEAD_BYTES,
    HEADER,
    HEADER_BYTES,
    TAIL_BYTES_MAX,
    Needle,
    decode,
    decode_around,
    record_length,
    trailer_bytes,
    verify,
)
from less_sync.volume.format.rows import ALIGNMENT, OFFSETS_BYTES, ROW_BYTES, Row, encode_row
from less_sync.volume.format.superblock import Superblock

BATCH_BYTES: Final = 4 << 20
BATCH_ROWS: Final = 2_048
_FLUSH_BYTES: Final = 256 << 10
_YIELD_ROWS: Final = 64
_YIELD_S: Final = 0.00005
"""A thread that only ever gives the interpreter away for a read gets it back before the event loop has it."""
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")


class OldRecords:
    """The records of a volume as it is, found by rows. The file may grow meanwhile."""

    def __init__(self, files: Files, fd: int, version: int, width: int) -> None:
        self.version: Final = version
        self.width: Final = width
        self._files: Final = files
        self._fd: Final = fd
        self._window: Final = Window(files, fd)

    def locate(self, row: Row) -> int:
        """Where the record of a row begins; that of a full volume may lie beyond the reach of its offset.

        Raises:
            DamagedRecord: no record of that size is there.
            OSError: the disk failed.
        """
        mismatch = "EOF"
        for offset in (row.offset, row.offset + OFFSETS_BYTES[4]):
            header = read_up_to(self._files, self._fd, HEADER_BYTES, offset)
            if len(header) < HEADER_BYTES:
                break
            _, id_, size = HEADER.unpack(header)
            if size == max(row.size, 0):
                return offset
            mismatch = (
                f"size mismatch: entry not found: offset {offset} found id {id_:x} size {size}, "
                f"expected size {row.size}"
            )
            if self.width != 4:
                break
        raise DamagedRecord(mismatch)

    def verified(self, row: Row, offset: int) -> Needle:
        """The needle of a record, its checksum compared; a large one comes without its data.

        Raises:
            DamagedRecord: a length or the checksum is wrong.
            OSError: the disk failed.
        """
        try:
            if row.size <= WINDOW_BYTES:
                length = record_length(row.size, self.version)
                return decode(read_up_to(self._files, self._fd, length, offset), self.version)
            return self._verified_large(row.size, offset)
        except DamagedNeedleError as error:
            raise DamagedRecord(str(error)) from None

    def data_place(self, row: Row, offset: int) -> tuple[int, int]:
        """Where the data of a record that was found in order lies, and its length."""
        if self.version == 1:
            return offset + HEADER_BYTES, row.size
        if row.size < DATA_LENGTH_BYTES:
            return offset + HEADER_BYTES, 0
        head = read_up_to(self._files, self._fd, DATA_LENGTH_BYTES, offset + HEADER_BYTES)
        return offset + HEAD_BYTES, _U32.unpack(head)[0]

    def _verified_large(self, size: int, offset: int) -> Needle:
        if self.version == 1:
            data, data_bytes = offset + HEADER_BYTES, size
            trailer = bytes(self._window.view(data + size, CHECKSUM_BYTES))
            if len(trailer) < CHECKSUM_BYTES:
                raise DamagedNeedleError("EOF")
            cookie, id_, _ = HEADER.unpack(self._window.view(offset, HEADER_BYTES))
            needle = Needle(id_, cookie, size=size, checksum=_U32.unpack(trailer)[0])
        else:
            head = bytes(self._window.view(offset, HEAD_BYTES))
            (data_bytes,) = _U32.unpack_from(head, HEADER_BYTES)
            data = offset + HEAD_BYTES
            behind = size - DATA_LENGTH_BYTES - data_bytes + trailer_bytes(self.version)
            if not 0 < behind <= TAIL_BYTES_MAX:
                raise DamagedNeedleError("index out of range 1: needle data corrupted")
            needle, _ = decode_around(head, bytes(self._window.view(data + data_bytes, behind)), self.version)
        verify(needle, self._window.checksum(data, data_bytes))
        return needle

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """The bytes of a record, the padding made up where the file ends in it.

        Raises:
            DamagedRecord: the file ends before.
        """
        end = offset + length
        while offset < end:
            piece = read_up_to(self._files, self._fd, min(WINDOW_BYTES, end - offset), offset)
            if not piece and end - offset > ALIGNMENT:
                raise DamagedRecord("EOF")
            yield piece or bytes(end - offset)
            offset += len(piece) or end - offset


class NewFiles:
    """The two files that a vacuum writes. Only one thread at a time uses them."""

    def __init__(self, files: Files, paths: VacuumPaths, width: int, *, create: bool) -> None:
        """Open them, or begin them anew.

        Raises:
            FileNotFoundError: one is not there, and `create` is off.
            OSError: the disk refused.
        """
        self._files: Final = files
        self._width: Final = width
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0)
        self.data: Final = files.open(paths.new_data, flags)
        try:
            self.index: Final = files.open(paths.new_index, flags)
        except BaseException:
            files.close(self.data)
            raise
        self._data_end = files.size(self.data)
        self._index_end = files.size(self.index)
        self._records: list[Bytes] = []
        self._records_bytes = 0
        self._rows = bytearray()
        self._since_yield = 0

    @property
    def data_end(self) -> int:
        """Where the next record will begin."""
        return self._data_end + self._records_bytes

    @property
    def index_end(self) -> int:
        """Where the next row will."""
        return self._index_end + len(self._rows)

    def write(self, piece: Bytes) -> None:
        """Append to the data."""
        self._records.append(piece)
        self._records_bytes += len(piece)
        if self._records_bytes >= _FLUSH_BYTES:
            self.flush()

    def row(self, id: int, offset: int, size: int) -> None:  # noqa: A002
        """Append to the index."""
        self._rows += encode_row(id, offset, size, self._width)
        self._since_yield += 1
        if self._since_yield == _YIELD_ROWS:
            self._since_yield = 0
            time.sleep(_YIELD_S)

    def flush(self) -> None:
        """Hand over to the system what was appended.

        Raises:
            OSError: it refused.
        """
        self._data_end = write_all(self._files, self.data, (b"".join(self._records),), self._data_end)
        self._index_end = write_all(self._files, self.index, (self._rows,), self._index_end)
        self._records.clear()
        self._records_bytes = 0
        self._rows = bytearray()

    def sync(self) -> None:
        """The same, and onto the disk.

        Raises:
            OSError: it is not certain what is there.
        """
        self.flush()
        self._files.sync(self.data)
        self._files.sync(self.index)

    def close(self) -> None:
        """Close both; what was not flushed is gone."""
        self._files.close(self.data)
        self._files.close(self.index)


@dataclass(slots=True)
class Compacted:
    """What a compaction has seen: rows up to `index_bytes`, at that `revision`."""

    index_bytes: int
    revision: int
    rows: int
    """In the new index, before anything is caught up with."""
    deletions: int = 0
    """Rows of deletions caught up with."""


@dataclass(slots=True)
class Batch:
    """What a step of a compaction did."""

    offset: int = 0
    """Of the last record in the old file."""
    copied_bytes: int = 0
    body_bytes: int = 0
    """Sum of the sizes of all live rows, whatever became of their records."""
    dropped: int = 0
    expired: int = 0
    is_last: bool = False


class Compaction:
    """Copies what is live, by ascending id."""

    def __init__(self, old: OldRecords, new: NewFiles, rows: bytes, superblock: Superblock) -> None:
        """`rows` are the index, of which the newest of each id counts."""
        self._old: Final = old
        self._new: Final = new
        self._live: Final = live_rows(rows, old.version, old.width)
        new.write(superblock.encode())

    def step(self, now_ns: int) -> Batch:
        """Copy the next up to `BATCH_ROWS` records, or `BATCH_BYTES`. Damaged and expired ones stay behind.

        Raises:
            OSError: the disk failed.
        """
        batch = Batch()
        for _ in range(BATCH_ROWS):
            row = next(self._live, None)
            if row is None:
                self._new.flush()
                batch.is_last = True
                break
            batch.offset = row.offset
            batch.body_bytes += row.size
            self._copy(row, batch, now_ns)
            if batch.copied_bytes >= BATCH_BYTES:
                break
        return batch

    def _copy(self, row: Row, batch: Batch, now_ns: int) -> None:
        try:
            offset = self._old.locate(row)
            needle = self._old.verified(row, offset)
        except DamagedRecord:
            batch.dropped += 1
            return
        if is_expired(needle, now_ns):
            batch.expired += 1
            return
        start = self._new.data_end
        copy_record(self._old, self._new, row, offset, needle.checksum)
        self._new.row(row.id, start, row.size)
        batch.copied_bytes += self._new.data_end - start


def live_rows(rows: bytes, version: int, width: int) -> Iterator[Row]:
    """The newest row of each id that is not deleted, by ascending id."""
    settled = walk_index(rows, width, version, backward=False).settled
    for at, id_ in enumerate(settled.ids):
        value = settled.values[at]
        size = value & 0xFFFFFFFF
        if size < 1 << 31:
            high = settled.high[at] << 32 if settled.high else 0
            yield Row(id_, (high | value >> 32) * ALIGNMENT, size)


def copy_record(old: OldRecords, new: NewFiles, row: Row, offset: int, checksum: int | None = None) -> None:
    """Append a record to the new data as it is, or with another checksum.

    Raises:
        DamagedRecord: the old file ends before the record does.
        OSError: the disk failed.
    """
    at = HEADER_BYTES + max(row.size, 0)
    length = record_length(row.size, old.version)
    if checksum is None:
        for piece in old.pieces(offset, length):
            new.write(piece)
        return
    for piece in old.pieces(offset, at):
        new.write(piece)
    new.write(_U32.pack(checksum))
    for piece in old.pieces(offset + at + CHECKSUM_BYTES, length - at - CHECKSUM_BYTES):
        new.write(piece)


def catch_up(files: Files, index: int, old: OldRecords, new: NewFiles, start: int, end: int) -> int:
    """Append what was written meanwhile: the newest of the rows from `start` to `end`, with their records.

    In the order in which they were written, so that append times go on ascending. Tombstones keep cookie and
    time; an id that was written and deleted keeps its tombstone, which is what a tail has to tell others.

    Returns:
        How many of the rows are deletions.

    Raises:
        DamagedRecord, OSError: a record cannot be read or written; the new files are of no use then.
    """
    newest = dict[int, Row]()
    for row in rows_between(files, index, end, old.width, start):
        newest.pop(row.id, None)
        newest[row.id] = row
    deletions = 0
    for row in newest.values():
        deletions += row.is_deletion
        at = 0
        if row.offset:
            offset, at = old.locate(row), new.data_end
            copy_record(old, new, row, offset)
        new.row(row.id, at, row.size)
    new.flush()
    return deletions


def row_count(index_bytes: int, width: int) -> int:
    """Whole rows in an index of that length."""
    return index_bytes // ROW_BYTES[width]
