"""The steps of writing, each synchronous: decide, write the record, write the row, let readers find it.

The order is record, row, map, answer (docs/volume.md section 7). Two rules make it safe. Nothing else
changes the files meanwhile: these steps run on the event loop one right behind the other, or under the turn.
And what cannot be written whole is cut off again, so that only a crash between the two leaves a record
without a row, which the next load finds.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from less_sync.volume.engine.data_file import DataFile
from less_sync.volume.engine.errors import (
    CookieMismatch,
    DamagedRecord,
    ReadOnlyVolume,
    VolumeClosed,
    VolumeError,
    VolumeSizeExceeded,
    WriteFailed,
)
from less_sync.volume.engine.reading import ReadableVolume
from less_sync.volume.engine.records import record_pieces
from less_sync.volume.format.checksums import Bytes, masked
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import (
    CHECKSUM_BYTES,
    DATA_LENGTH_BYTES,
    HAS_TTL,
    HEADER,
    HEADER_BYTES,
    TAIL_BYTES_MAX,
    TIMESTAMP_BYTES,
    Needle,
    decode,
    record_length,
)
from less_sync.volume.format.rows import OFFSETS_BYTES, TOMBSTONE_SIZE, encode_row

THREAD_BYTES: Final = 1 << 20
"""Data above this is written in a thread. 1 MiB takes the event loop 0.2 ms, the way to a thread 0.4."""
JOINED_BYTES_MAX: Final = 256 << 10
"""Up to here a record is one piece; a longer one whose data lies in no room is written in several."""
COMPARED_BYTES: Final = 1 << 20
"""At once, of what is written anew and what is there already."""
DATA_BYTES_MAX: Final = (1 << 31) - 1 - TAIL_BYTES_MAX
"""The size in a row is signed, and the fields behind the data count in it."""
_NOTHING: Final[Mapping[int, tuple[int, int]]] = {}
_SECOND_NS: Final = 1_000_000_000


class Written(NamedTuple):
    """Where a needle lies, the size of its record's body, and whether it lay there already."""

    offset: int
    size: int
    unchanged: bool


class WritableVolume(ReadableVolume):
    """A volume with the steps of writing. Whoever calls them holds the turn, or knows that nobody does."""

    def prepare(
        self,
        needle: Needle,
        *,
        check_cookie: bool,
        pending: Mapping[int, tuple[int, int]] = _NOTHING,
        is_unchanged: bool | None = None,
    ) -> Written | None:
        """Everything that is decided before a byte is written.

        Args:
            pending: offset and size of records that are in the file but not yet in the map.
            is_unchanged: what `compare_large` has found; None: the data is small and is compared here.

        Returns:
            Where the same content lies already, or None: it is to be written.

        Raises:
            VolumeClosed, ReadOnlyVolume, CookieMismatch, VolumeSizeExceeded: as they say.
            VolumeError: the cookie of what is there cannot be read.
        """
        self.require_writable()
        ttl, needles = self.superblock.ttl, self.needles
        if ttl and not needle.flags & HAS_TTL:
            needle.ttl = ttl
            needle.flags |= HAS_TTL
        entry = pending.get(needle.id) or needles.get(needle.id)
        if entry is not None:
            if is_unchanged is None and not ttl:
                is_unchanged = self._is_unchanged(needle, *entry)
            if is_unchanged and not ttl:
                return Written(*entry, unchanged=True)
            self._compare_cookie(needle, entry[0], check_cookie=check_cookie)
        if len(needle.data) > DATA_BYTES_MAX:
            raise VolumeError(f"needle {needle.id} of {len(needle.data)} bytes is too large for a record")
        if len(needle.data):
            self._require_reach()
        needle.append_at_ns = self.next_append_ns()
        return None

    async def compare_large(
        self, needle: Needle, pending: Mapping[int, tuple[int, int]] = _NOTHING
    ) -> bool | None:
        """Whether a large needle lies there already; None of a small one. In a thread, under the turn."""
        if len(needle.data) <= THREAD_BYTES:
            return None
        entry = pending.get(needle.id) or self.needles.get(needle.id)
        if entry is None:
            return False
        start = self._candidate(needle, *entry)
        return start is not None and await asyncio.to_thread(_same_data, self.data, start, needle.data)

    def require_writable(self) -> None:
        """Refuse if nothing may be written.

        Raises:
            VolumeClosed, ReadOnlyVolume: as they say.
        """
        self.require_open()
        if self.read_only:
            raise ReadOnlyVolume(f"volume {self.id} is read only")

    def next_append_ns(self) -> int:
        """A time for the next record: later than that of every other, whatever the clock does."""
        now_ns = self.clock()
        if now_ns <= self.last_append_ns:
            now_ns = self.last_append_ns + 1
        self.last_append_ns = now_ns
        return now_ns

    def append_needle(self, needle: Needle) -> int:
        """Write the record of a needle at the end of the data file. In a thread only under the turn.

        Returns:
            Where it begins.

        Raises:
            WriteFailed: the disk refused; the file ends where it did.
        """
        return self._append(
            record_pieces(needle, self.superblock.version, JOINED_BYTES_MAX), len(needle.data)
        )

    def publish(self, needle: Needle, offset: int) -> Written:
        """Write the row of a record that lies at `offset`, and let readers find it.

        Raises:
            WriteFailed: the disk refused; the record is cut off as well.
        """
        row = encode_row(needle.id, offset, needle.size, self.needles.width)
        try:
            self.index.append((row,))
        except OSError as error:
            # Nothing points at the record, but the next load would take it for an acknowledged one.
            self.take_back(offset, self.index.end)
            raise WriteFailed(
                f"index needle {needle.id} of volume {self.id} at offset {offset}: {error}"
            ) from error
        self.is_dirty = True
        return self.show(needle, offset)

    def show(self, needle: Needle, offset: int) -> Written:
        """Let readers find a needle whose record and row are written."""
        size = needle.size
        self.needles.put(needle.id, offset, size)
        if needle.last_modified > self.last_modified:
            self.last_modified = needle.last_modified
        self.modified_at_s = needle.append_at_ns // _SECOND_NS
        return Written(offset, size, unchanged=False)

    def take_back(self, data_end: int, index_end: int) -> None:
        """Cut both files back. If the disk refuses even that, the volume takes no more writes."""
        if data_end < self.data.end:
            self.data.cut(data_end)
        if index_end < self.index.end:
            self.index.cut(index_end)
        self.notice_torn_files()

    def notice_torn_files(self) -> None:
        """Take no more writes if what lies behind the end of a file is unknown."""
        if self.data.is_torn or self.index.is_torn:
            self.no_write_or_delete = True

    def delete_needle(self, id: int, cookie: int, checksum: int) -> int:  # noqa: A002
        """Write a tombstone and its row. The size of what is gone; 0 if nothing was there.

        Raises:
            VolumeClosed, ReadOnlyVolume, WriteFailed: as they say.
        """
        self.require_open()
        if self.no_write_or_delete:
            raise ReadOnlyVolume(f"volume {self.id} is read only")
        entry = self.needles.get(id)
        if entry is None or not entry[0] or entry[1] < 0:
            return 0
        tombstone = Needle(id, cookie, checksum=checksum, append_at_ns=self.next_append_ns())
        # Data in a remote store cannot be appended to: the row alone tells, and points nowhere.
        offset = 0 if self.is_remote else self.append_needle(tombstone)
        try:
            self.index.append((encode_row(id, offset, TOMBSTONE_SIZE, self.offset_bytes),))
        except OSError as error:
            self.take_back(self.data.end if self.is_remote else offset, self.index.end)
            raise WriteFailed(f"delete needle {id} of volume {self.id}: {error}") from error
        self.modified_at_s = tombstone.append_at_ns // _SECOND_NS
        self.is_dirty = True
        return self.needles.delete(id)

    async def compare_large_blob(self, id: int, blob: Bytes) -> bool | None:  # noqa: A002
        """For `prepare_blob`, as `compare_large`."""
        needle = self._of_blob(id, blob) if len(blob) > THREAD_BYTES else None
        return None if needle is None else await self.compare_large(needle)

    def prepare_blob(
        self,
        id: int,  # noqa: A002
        size: int,
        blob: Bytes,
        is_unchanged: bool | None,
    ) -> tuple[Needle, Sequence[Bytes]] | Written:
        """The record to write for one that another server has: the same with a new append time.

        Args:
            is_unchanged: what `compare_large_blob` has found.

        Returns:
            A needle to publish and the pieces of the record, or where the same content lies already.

        Raises:
            ReadOnlyVolume, VolumeClosed: as they say.
            VolumeError: it is no record of that size, or too much is stored already.
        """
        self.require_writable()
        if len(blob) < HEADER_BYTES:
            raise VolumeError(f"needle {id} blob of {len(blob)} bytes is shorter than a needle header")
        cookie, _, found_size = HEADER.unpack_from(blob)
        if found_size != size or size < 0:
            raise VolumeError(f"needle {id} size {size} does not match its blob header size {found_size}")
        self.require_room(len(blob))
        if size:
            self._require_reach()
        entry = self.needles.get(id)
        if entry is not None and entry[1] == size:
            known = self._of_blob(id, blob) if is_unchanged is None else None
            if is_unchanged or (known is not None and self._is_unchanged(known, *entry)):
                return Written(*entry, unchanged=True)
        length = record_length(size, self.version)
        if len(blob) < length:
            raise VolumeError(f"needle blob buffer too small: need {length} bytes, have {len(blob)}")
        if len(blob) > length:
            # Behind it no record would begin at a multiple of 8, or a scan would find what is none.
            raise VolumeError(f"needle {id} blob of {len(blob)} bytes is longer than its record of {length}")
        needle = Needle(id, cookie, size=size, append_at_ns=self.next_append_ns())
        if self.version != 3:
            return needle, (blob,)
        view, at = memoryview(blob), HEADER_BYTES + size + CHECKSUM_BYTES
        time = needle.append_at_ns.to_bytes(TIMESTAMP_BYTES, "big")
        pieces = (view[:at], time, view[at + TIMESTAMP_BYTES :])
        return needle, pieces if length > JOINED_BYTES_MAX else (b"".join(pieces),)

    def append_record(self, pieces: Sequence[Bytes]) -> int:
        """Write a whole record at the end of the data file; as `append_needle`."""
        return self._append(pieces, sum(map(len, pieces)))

    def require_room(self, record_bytes: int) -> None:
        """Refuse what would bring the content above what an index can point at.

        Raises:
            VolumeSizeExceeded: it would.
        """
        reach = OFFSETS_BYTES[self.offset_bytes]
        if self.content_bytes + record_bytes > reach:
            raise VolumeSizeExceeded(
                f"volume size limit {reach} exceeded! current size is {self.content_bytes}"
            )

    def require_open(self) -> None:
        """Refuse if it was closed meanwhile.

        Raises:
            VolumeClosed: it was.
        """
        if self.is_closed:
            raise VolumeClosed(f"volume {self.id} is closed")

    def _require_reach(self) -> None:
        """Refuse data behind what a row can point at; what begins before it may end there."""
        reach = self.needles.reach
        if self.data.end >= reach:
            raise VolumeSizeExceeded(
                f"append to volume {self.id} size 0 actualSize 0: "
                f"Volume Size {self.data.end} Exceeded {reach}"
            )

    def _append(self, pieces: Sequence[Bytes], data_bytes: int) -> int:
        try:
            return self.data.append(pieces)
        except OSError as error:
            record_bytes = sum(map(len, pieces))
            raise WriteFailed(
                f"append to volume {self.id} size {data_bytes} actualSize {record_bytes}: {error}"
            ) from error
        finally:
            self.notice_torn_files()

    def _is_unchanged(self, needle: Needle, offset: int, size: int) -> bool:
        """Whether the same content lies there, intact; for small data."""
        start = self._candidate(needle, offset, size)
        return start is not None and _same_data(self.data, start, needle.data)

    def _candidate(self, needle: Needle, offset: int, size: int) -> int | None:
        """Where the data of an entry lies, if cookie, length and checksum are those of the needle."""
        # Most of what is overwritten has another length, and nothing of it needs to be read.
        fields_max = size - DATA_LENGTH_BYTES - len(needle.data)
        if size <= 0 or not len(needle.data) or not -DATA_LENGTH_BYTES <= fields_max <= TAIL_BYTES_MAX:
            return None
        try:
            old, start, length = self._around(offset, size)
        except (DamagedRecord, OSError):
            return None
        same_sum = needle.checksum == old.checksum or masked(needle.checksum) == old.checksum
        is_same = same_sum and old.cookie == needle.cookie and length == len(needle.data)
        return start if is_same else None

    def _of_blob(self, id: int, blob: Bytes) -> Needle | None:  # noqa: A002
        """The needle of a record from elsewhere, unchecked; None if it is damaged."""
        try:
            needle = decode(blob, self.version, check=False)
        except DamagedNeedleError:
            return None
        needle.id = id
        return needle

    def _compare_cookie(self, needle: Needle, offset: int, *, check_cookie: bool) -> None:
        try:
            header = self.data.read(offset, HEADER_BYTES)
        except OSError as error:
            raise VolumeError(f"reading existing needle: {error}") from error
        if len(header) < HEADER_BYTES:
            raise VolumeError("reading existing needle: EOF")
        old, id_, _ = HEADER.unpack(header)
        if id_ != needle.id and self.offset_bytes == 4:
            # The last record of a full volume lies one wrap further on than its row says.
            beyond = self.data.read(offset + OFFSETS_BYTES[4], HEADER_BYTES)
            if len(beyond) == HEADER_BYTES and HEADER.unpack(beyond)[1] == needle.id:
                old = HEADER.unpack(beyond)[0]
        if not needle.cookie and not check_cookie:
            needle.cookie = old
        elif needle.cookie != old:
            raise CookieMismatch(f"mismatching cookie {needle.cookie:x}")


def _same_data(file: DataFile, start: int, data: Bytes) -> bool:
    """Whether `data` stands there. Compared as bytes: views are compared thirty times as slowly."""
    view = memoryview(data)
    try:
        return all(
            file.read(start + at, len(piece)) == bytes(piece)
            for at in range(0, len(view), COMPARED_BYTES)
            if (piece := view[at : at + COMPARED_BYTES])
        )
    except OSError:
        return False
