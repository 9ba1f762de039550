"""Finds where in a data file a tail or an incremental copy has to begin."""

from typing import Final

from less_sync.volume.engine.errors import DamagedRecord, VolumeError
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.needle import HEADER, HEADER_BYTES
from less_sync.volume.format.rows import Row, decode_rows


def position_after(volume: Volume, since_ns: int) -> int | None:
    """Offset of the first record that was appended after `since_ns`, or None: there is none.

    Searches by halves over the rows in the order of the index, as existing servers do. After a vacuum the
    first rows are in the order of ids, and the answer may come too late: whoever asks compares the revision
    of the volume before. Records of versions 1 and 2 have no time: there is never anything after.

    Blocking: reads one record for each halving. A row without a record (the deletion of a needle whose data
    was in a remote store) is passed over to both sides.

    Raises:
        VolumeError: a record on the way cannot be read, or the index ends in half a row.
        OSError: the disk failed.
    """
    search = _Search(volume)
    low, high = 0, search.count
    while low < high:
        middle = (low + high) // 2
        if search.row(middle).offset:
            if search.time_ns(middle) <= since_ns:
                low = middle + 1
            else:
                high = middle
            continue
        left, right = search.with_record(middle, -1), search.with_record(middle, 1)
        if right == search.count:
            return None
        if search.time_ns(right) <= since_ns:
            low = right
        elif left >= 0 and since_ns < search.time_ns(left):
            high = left + 1
        else:
            return search.row(right).offset
    first = search.with_record(low, 1)
    return search.row(first).offset if first < search.count else None


class _Search:
    """The rows of an index by their number, and the append times of their records."""

    def __init__(self, volume: Volume) -> None:
        self._volume: Final = volume
        self.count, rest = divmod(volume.index_bytes, volume.row_bytes)
        if rest:
            raise VolumeError(f"unexpected file {volume.index_path.name} size: {volume.index_bytes}")

    def row(self, number: int) -> Row:
        row_bytes = self._volume.row_bytes
        found = self._volume.index.read(number * row_bytes, row_bytes)
        for row in decode_rows(found, self._volume.offset_bytes):
            return row
        raise VolumeError(f"read entry {number}: EOF")

    def with_record(self, number: int, step: int) -> int:
        """The number of the next row, itself included, that points at a record; -1 or `count` without one."""
        while 0 <= number < self.count and not self.row(number).offset:
            number += step
        return number

    def time_ns(self, number: int) -> int:
        offset = self.row(number).offset
        try:
            header = self._volume.data.read(offset, HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                raise DamagedRecord("EOF")
            return self._volume.read_at(offset, HEADER.unpack(header)[2]).append_at_ns
        except DamagedRecord as error:
            raise VolumeError(f"read entry {number} offset {offset}: {error}") from None
