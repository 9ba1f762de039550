"""A volume: many needles in one data file, found by one index.

Writing. The order is record, row, map, answer (docs/volume.md section 7). A small write is synchronous on the
event loop, while nobody holds the turn of the volume, so nothing can come between its steps; a large one, and
a group of durable ones, holds the turn while a thread writes. What cannot be written whole is cut off again.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

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
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.needle import HAS_TTL, HEADER, HEADER_BYTES, Needle, record_length
from less_sync.volume.format.rows import OFFSETS_BYTES, TOMBSTONE_SIZE, encode_row

THREAD_BYTES: Final = 256 << 10
"""Data above this is written in a thread."""


class Written(NamedTuple):
    """Where a needle lies, the size of its record's body, and whether it lay there already."""

    offset: int
    size: int
    unchanged: bool


class Volume(ReadableVolume):
    """A volume that can be read and written."""

    def try_write(self, needle: Needle, *, check_cookie: bool = True) -> Written | None:
        """Write at once if nobody holds the turn and the data is small; None: use `write`.

        Raises as `write`.
        """
        if self.turn.held or len(needle.data) > THREAD_BYTES:
            return None
        known = self._prepare(needle, check_cookie=check_cookie)
        if known is not None:
            return known
        pieces = record_pieces(needle, self.version, THREAD_BYTES)
        offset = self._append(needle.id, pieces, len(needle.data))
        return self._publish(needle, offset)

    async def write(self, needle: Needle, *, durable: bool = False, check_cookie: bool = True) -> Written:
        """Write when it is this writer's turn; `durable`: answer when it is on the disk.

        The caller has set the checksum of the data. Sets the needle's `size`, `append_at_ns`, and the TTL of
        the volume if it has none of its own.

        Raises:
            ReadOnlyVolume, VolumeClosed, CookieMismatch, VolumeSizeExceeded: as they say.
            VolumeBusy: too many wait.
            WriteFailed: the disk refused; nothing is stored.
        """
        async with self.turn:
            return await to_the_end(self._write_in_thread(needle, check_cookie, durable))

    def try_delete(self, id: int, cookie: int, *, checksum: int = 0) -> int | None:  # noqa: A002
        """Delete at once if nobody holds the turn; None: use `delete`. Raises as `delete`."""
        return None if self.turn.held else self._delete(id, cookie, checksum)

    async def delete(self, id: int, cookie: int, *, checksum: int = 0) -> int:  # noqa: A002
        """Write that a needle is gone; the cookie is not compared. `checksum` is what its last record said.

        Returns:
            The size it had; 0 when there was none.

        Raises:
            ReadOnlyVolume: the volume takes no deletions.
            WriteFailed: the disk refused.
        """
        async with self.turn:
            return self._delete(id, cookie, checksum)

    async def _write_in_thread(self, needle: Needle, check_cookie: bool, durable: bool) -> Written:
        known = self._prepare(needle, check_cookie=check_cookie)
        if known is None:
            pieces = record_pieces(needle, self.version, THREAD_BYTES)
            offset = await asyncio.to_thread(self._append, needle.id, pieces, len(needle.data))
            known = self._publish(needle, offset)
        if durable:
            await asyncio.to_thread(self.data.sync)
            await asyncio.to_thread(self.index.sync)
        return known

    def _prepare(self, needle: Needle, *, check_cookie: bool) -> Written | None:
        """Everything that is decided before a byte is written; what is there if nothing is to be written."""
        if self.is_closed:
            raise VolumeClosed(f"volume {self.id} is closed")
        if self.read_only:
            raise ReadOnlyVolume(f"volume {self.id} is read only")
        if self.ttl and not needle.flags & HAS_TTL:
            needle.ttl = self.ttl
            needle.flags |= HAS_TTL
        entry = self.needles.get(needle.id)
        if entry is not None:
            if not self.ttl and entry[1] > 0 and self._is_unchanged(needle, *entry):
                return Written(*entry, unchanged=True)
            self._compare_cookie(needle, entry[0], check_cookie=check_cookie)
        if self.data.end >= OFFSETS_BYTES[self.offset_bytes] and len(needle.data):
            raise VolumeSizeExceeded(
                f"append to volume {self.id} size 0 actualSize 0: "
                f"Volume Size {self.data.end} Exceeded {OFFSETS_BYTES[self.offset_bytes]}"
            )
        needle.append_at_ns = self._next_append_ns()
        return None

    def _is_unchanged(self, needle: Needle, offset: int, size: int) -> bool:
        try:
            old = self.read_at(offset, size)
        except (DamagedRecord, OSError):
            return False
        return old.cookie == needle.cookie and old.checksum == needle.checksum and old.data == needle.data

    def _compare_cookie(self, needle: Needle, offset: int, *, check_cookie: bool) -> None:
        try:
            header = self.data.read(offset, HEADER_BYTES)
        except OSError as error:
            raise VolumeError(f"reading existing needle: {error}") from error
        if len(header) < HEADER_BYTES:
            raise VolumeError("reading existing needle: EOF")
        old = HEADER.unpack(header)[0]
        if not needle.cookie and not check_cookie:
            needle.cookie = old
        elif needle.cookie != old:
            raise CookieMismatch(f"mismatching cookie {needle.cookie:x}")

    def _next_append_ns(self) -> int:
        return max(self.clock(), self.last_append_ns + 1)

    def _append(self, id: int, pieces: Sequence[Bytes], data_bytes: int) -> int:  # noqa: A002
        """Write a record at the end of the data file. May run in a thread, under the turn."""
        try:
            return self.data.append(pieces)
        except OSError as error:
            raise WriteFailed(
                f"append to volume {self.id} size {data_bytes} actualSize {sum(map(len, pieces))}: {error}"
            ) from error
        finally:
            self.no_write_or_delete |= self.data.is_torn

    def _publish(self, needle: Needle, offset: int) -> Written:
        """Write the row of a record that lies at `offset`, and let readers find it."""
        row = encode_row(needle.id, offset, needle.size, self.offset_bytes)
        try:
            self.index.append((row,))
        except OSError as error:
            # Nothing points at the record: a load would otherwise take it for one that was acknowledged.
            self.data.cut(offset)
            self.no_write_or_delete |= self.data.is_torn or self.index.is_torn
            raise WriteFailed(
                f"index needle {needle.id} of volume {self.id} at offset {offset}: {error}"
            ) from error
        self.needles.put(needle.id, offset, needle.size)
        self.last_append_ns = needle.append_at_ns
        self.last_modified = max(self.last_modified, needle.last_modified)
        self.is_dirty = True
        return Written(offset, needle.size, unchanged=False)

    def _delete(self, id: int, cookie: int, checksum: int) -> int:  # noqa: A002
        if self.is_closed:
            return 0
        if self.no_write_or_delete:
            raise ReadOnlyVolume(f"volume {self.id} is read only")
        entry = self.needles.get(id)
        if entry is None or not entry[0] or entry[1] < 0:
            return 0
        offset = 0
        tombstone = Needle(id, cookie, checksum=checksum, append_at_ns=self._next_append_ns())
        if not self.is_remote:
            offset = self._append(id, record_pieces(tombstone, self.version, THREAD_BYTES), 0)
        try:
            self.index.append((encode_row(id, offset, TOMBSTONE_SIZE, self.offset_bytes),))
        except OSError as error:
            if not self.is_remote:
                self.data.cut(offset)
            self.no_write_or_delete |= self.data.is_torn or self.index.is_torn
            raise WriteFailed(f"delete needle {id} of volume {self.id}: {error}") from error
        self.last_append_ns = tombstone.append_at_ns
        self.is_dirty = True
        return self.needles.delete(id)

    async def write_blob(self, id: int, size: int, blob: Bytes) -> Written:  # noqa: A002
        """Append a record as another server has it, with a new append time.

        Raises:
            VolumeError: it is no record of that size, or the volume takes no writes or no more data.
            WriteFailed: the disk refused.
        """
        async with self.turn:
            return self._write_blob(id, size, blob)

    def _write_blob(self, id: int, size: int, blob: Bytes) -> Written:  # noqa: A002
        if len(blob) != record_length(size, self.version):
            raise VolumeError(f"needle {id} blob of {len(blob)} bytes is no record of size {size}")
        needle = Needle(id, 0, size=size, append_at_ns=self._next_append_ns())
        return self._publish(needle, self._append(id, (blob,), size))
