"""Reading needles. Synchronous, on the event loop; a caller may take large data to a thread (`FileSlice`)."""

import errno
from collections.abc import Iterator
from typing import Final

from less_sync.volume.engine.data_file import FileSlice
from less_sync.volume.engine.errors import DamagedRecord, NeedleDeleted, NeedleNotFound
from less_sync.volume.engine.expiry import is_expired
from less_sync.volume.engine.volume_state import VolumeState
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import (
    CHECKSUM_BYTES,
    HEAD_BYTES,
    HEADER,
    HEADER_BYTES,
    Needle,
    decode,
    decode_around,
    record_length,
)
from less_sync.volume.format.rows import OFFSETS_BYTES
from less_sync.volume.logs import Logger

LARGE_BYTES: Final = 1 << 20
"""Above this a record is better read around its data, which is then sent piece by piece."""
AROUND_BYTES_MAX: Final = 128 << 10
"""What may stand behind the data of a record that is read around it."""
IO_FAULTS_MAX: Final = 3
"""One behind the other; then the volume is quarantined."""
_log: Final = Logger(__name__)


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
        if is_expired(needle, self.clock()):
            raise NeedleNotFound
        return needle

    def read_around(self, id: int, *, deleted: bool = False) -> tuple[Needle, FileSlice]:  # noqa: A002
        """A needle without its data and its checksum not compared, and where the data lies.

        Release the slice. Raises as `read`; a needle of size 0 is damaged here.
        """
        offset, size = self._find(id, deleted=deleted)
        needle, start, length = self._around(offset, size)
        if is_expired(needle, self.clock()):
            raise NeedleNotFound
        return needle, FileSlice(self.data, start, length)

    def read_at(self, offset: int, size: int) -> Needle:
        """The needle whose record of a body of `size` bytes lies at `offset`; its age does not matter.

        Raises:
            DamagedRecord: what lies there is no such record.
            OSError: the disk failed.
        """
        record = self.read_blob(offset, size)
        if len(record) < HEADER_BYTES or HEADER.unpack_from(record)[2] != size:
            record = self.read_blob(self._one_wrap_on(offset, record, size), size)
        try:
            return decode(record, self.version)
        except DamagedNeedleError as error:
            raise DamagedRecord(str(error)) from None

    def read_blob(self, offset: int, size: int) -> bytes:
        """The bytes of a record, unchecked; fewer at the end of the file.

        Raises:
            OSError: the disk failed, or the volume is closed.
        """
        return self._pread(offset, record_length(size, self.superblock.version))

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

    def _one_wrap_on(self, offset: int, head: bytes, size: int) -> int:
        """Where a record lies of which `head` was found at `offset`, and is not its: offsets of 4 bytes wrap.

        Raises:
            DamagedRecord: neither there is a record of that size.
        """
        reach = OFFSETS_BYTES[4]
        if len(head) >= HEADER_BYTES and self.offset_bytes == 4 and offset < reach:
            offset += reach
            head = self._pread(offset, HEADER_BYTES)
        if len(head) < HEADER_BYTES:
            raise DamagedRecord("EOF")
        _, id_, found_size = HEADER.unpack_from(head)
        if found_size != size:
            raise DamagedRecord(
                f"size mismatch: entry not found: offset {offset} found id {id_:x} size {found_size}, "
                f"expected size {size}"
            )
        return offset

    def _around(self, offset: int, size: int) -> tuple[Needle, int, int]:
        """A needle without its data, and offset and length of the data."""
        head = self._pread(offset, HEAD_BYTES)
        if len(head) < HEAD_BYTES or HEADER.unpack_from(head)[2] != size:
            offset = self._one_wrap_on(offset, head, size)
            head = self._pread(offset, HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            raise DamagedRecord("EOF")
        if self.version == 1:
            return self._around_version_1(offset, size, head)
        data_bytes = int.from_bytes(head[HEADER_BYTES:], "big")
        behind = record_length(size, self.version) - HEAD_BYTES - data_bytes
        if not 0 < behind <= AROUND_BYTES_MAX:
            raise DamagedRecord(f"invalid needle meta size {behind}")
        tail = self._pread(offset + HEAD_BYTES + data_bytes, behind)
        try:
            needle, _ = decode_around(head, tail, self.version)
        except DamagedNeedleError as error:
            raise DamagedRecord(str(error)) from None
        return needle, offset + HEAD_BYTES, data_bytes

    def _around_version_1(self, offset: int, size: int, head: bytes) -> tuple[Needle, int, int]:
        """In version 1 the body is the data, with nothing but the checksum behind it."""
        cookie, id_, _ = HEADER.unpack_from(head)
        checksum = self._pread(offset + HEADER_BYTES + size, CHECKSUM_BYTES)
        if len(checksum) < CHECKSUM_BYTES:
            raise DamagedRecord("EOF")
        needle = Needle(id_, cookie, checksum=int.from_bytes(checksum, "big"), size=size)
        return needle, offset + HEADER_BYTES, size

    def _pread(self, offset: int, length: int) -> bytes:
        """Read, and count faults of the disk that come one behind the other."""
        try:
            found = self.data.read(offset, length)
        except OSError as error:
            self.note_fault(error)
            raise
        self.io_faults = 0
        return found

    def note_fault(self, error: OSError) -> None:
        """Count a fault of the disk, also of a read that was done in a thread (`FileSlice`).

        After three of them without a success between, the volume is not reported and takes no writes until
        it is marked writable: the copies on other servers are the better ones.
        """
        if error.errno != errno.EIO:
            self.io_faults = 0
            return
        self.io_faults += 1
        if self.io_faults == IO_FAULTS_MAX:
            self.is_quarantined = True
            self.no_write_or_delete = True
            _log.error("volume quarantined: its disk fails", volume=self.id, fault=error)
