"""Reading needles. Synchronous, on the event loop; a caller may take large data to a thread (`FileSlice`)."""

import errno
from collections.abc import Iterator
from typing import Final

from less_sync.volume.engine.data_file import FileSlice
from less_sync.volume.engine.errors import DamagedRecord, NeedleDeleted, NeedleNotFound
from less_sync.volume.engine.volume_state import VolumeState
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import (
    HAS_LAST_MODIFIED,
    HAS_TTL,
    HEAD_BYTES,
    HEADER,
    HEADER_BYTES,
    Needle,
    decode,
    decode_around,
    record_length,
)
from less_sync.volume.format.rows import OFFSETS_BYTES
from less_sync.volume.format.ttl import ttl_minutes

LARGE_BYTES: Final = 1 << 20
"""Above this a record is better read around its data, which is then sent piece by piece."""
AROUND_BYTES_MAX: Final = 128 << 10
"""What may stand behind the data of a record that is read around it."""
IO_FAULTS_MAX: Final = 3
"""One behind the other; then the volume is quarantined."""
_MINUTE_NS: Final = 60 * 1_000_000_000


class ReadableVolume(VolumeState):
    """A volume of which needles can be read."""

    def record_size(self, id: int, *, deleted: bool = False) -> int:  # noqa: A002
        """Size of the body of a needle's record, 0 of an empty one.

        Raises:
            NeedleNotFound: there is none.
            NeedleDeleted: it is deleted, and not both `deleted` is set and its record known.
        """
        return self._find(id, deleted=deleted)[1]

    def read(self, id: int, *, deleted: bool = False) -> Needle:  # noqa: A002
        """The whole needle, its checksum compared. One of size 0 has nothing but its id.

        Raises:
            NeedleNotFound: there is none, or its time is over.
            NeedleDeleted: it is deleted, and not both `deleted` is set and its record known.
            DamagedRecord: what lies there is no such record.
            OSError: the disk failed.
        """
        offset, size = self._find(id, deleted=deleted)
        if not size:
            return Needle(id, 0)
        needle = self.read_at(offset, size)
        self._refuse_expired(needle)
        return needle

    def read_around(self, id: int, *, deleted: bool = False) -> tuple[Needle, FileSlice]:  # noqa: A002
        """A needle without its data and its checksum not compared, and where the data lies.

        Release the slice. Raises as `read`; a needle of size 0 is damaged here.
        """
        offset, size = self._find(id, deleted=deleted)
        needle, start, length = self._around(offset, size)
        self._refuse_expired(needle)
        return needle, FileSlice(self.data, start, length)

    def read_at(self, offset: int, size: int) -> Needle:
        """The needle whose record of a body of `size` bytes lies at `offset`; its age does not matter.

        Raises:
            DamagedRecord: what lies there is no such record.
            OSError: the disk failed.
        """
        record = self.read_blob(offset, size)
        found = HEADER.unpack_from(record) if len(record) >= HEADER_BYTES else None
        if found is not None and found[2] != size:
            record = self._beyond(offset, size)
        try:
            return decode(record, self.version)
        except DamagedNeedleError as error:
            raise DamagedRecord(str(error)) from None

    def read_blob(self, offset: int, size: int) -> bytes:
        """The bytes of a record, unchecked; fewer at the end of the file.

        Raises:
            OSError: the disk failed, or the volume is closed.
        """
        return self._pread(offset, record_length(size, self.version))

    def scan(self, offset: int | None = None) -> Iterator[tuple[int, Needle]]:
        """Offset and needle of every record in the order of the file; checksums as stored, not compared.

        Ends before the first record that is not whole. Reads each record from the disk at once.
        """
        at = self.superblock.end if offset is None else offset
        while True:
            header = self._pread(at, HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                return
            _, _, size = HEADER.unpack(header)
            try:
                needle = decode(self.read_blob(at, size), self.version, check=False)
            except DamagedNeedleError:
                return
            yield at, needle
            at += record_length(size, self.version)

    def _find(self, id: int, *, deleted: bool) -> tuple[int, int]:  # noqa: A002
        entry = None if self.is_closed else self.needles.get(id)
        if entry is None or not entry[0]:
            raise NeedleNotFound
        offset, size = entry
        if size >= 0:
            return entry
        if deleted and size < -1:
            return offset, -size
        raise NeedleDeleted

    def _refuse_expired(self, needle: Needle) -> None:
        """A TTL counts from the append, and only for a needle that says when it was modified."""
        if needle.flags & HAS_TTL and needle.flags & HAS_LAST_MODIFIED:
            minutes = ttl_minutes(needle.ttl)
            if minutes and self.clock() >= needle.append_at_ns + minutes * _MINUTE_NS:
                raise NeedleNotFound

    def _beyond(self, offset: int, size: int) -> bytes:
        """The record 32 GiB further on: offsets of 4 bytes wrap there.

        Raises:
            DamagedRecord: neither there is a record of that size.
        """
        reach = OFFSETS_BYTES[4]
        record = self.read_blob(offset, size)
        if self.offset_bytes == 4 and offset < reach:
            offset += reach
            record = self.read_blob(offset, size)
        if len(record) < HEADER_BYTES:
            raise DamagedRecord("EOF")
        _, id_, found_size = HEADER.unpack_from(record)
        if found_size != size:
            raise DamagedRecord(
                f"size mismatch: entry not found: offset {offset} found id {id_:x} size {found_size}, "
                f"expected size {size}"
            )
        return record

    def _around(self, offset: int, size: int) -> tuple[Needle, int, int]:
        head = self._pread(offset, HEAD_BYTES)
        if len(head) >= HEADER_BYTES and HEADER.unpack_from(head)[2] != size:
            self._beyond(offset, size)
            offset += OFFSETS_BYTES[4]
            head = self._pread(offset, HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            raise DamagedRecord("EOF")
        length = record_length(size, self.version)
        if self.version == 1:
            needle = decode(
                head[:12] + bytes(4) + self._pread(offset + HEADER_BYTES + size, 12), 1, check=False
            )
            needle.size = size
            return needle, offset + HEADER_BYTES, size
        data_bytes = int.from_bytes(head[HEADER_BYTES:], "big")
        behind = length - HEAD_BYTES - data_bytes
        if not 0 < behind <= AROUND_BYTES_MAX:
            raise DamagedRecord(f"invalid needle meta size {behind}")
        tail = self._pread(offset + HEAD_BYTES + data_bytes, behind)
        try:
            needle, _ = decode_around(head, tail, self.version)
        except DamagedNeedleError as error:
            raise DamagedRecord(str(error)) from None
        return needle, offset + HEAD_BYTES, data_bytes

    def _pread(self, offset: int, length: int) -> bytes:
        """Read, and count faults of the disk that come one behind the other."""
        try:
            found = self.data.read(offset, length)
        except OSError as error:
            if error.errno == errno.EIO:
                self.io_faults += 1
                if self.io_faults >= IO_FAULTS_MAX:
                    self.is_quarantined = True
                    self.no_write_or_delete = True
            else:
                self.io_faults = 0
            raise
        self.io_faults = 0
        return found
