"""A volume: many needles in one data file, found by one index."""

import asyncio
from typing import Final

from less_sync.volume.engine.data_file import DataFile
from less_sync.volume.engine.durable import DurableWrites
from less_sync.volume.engine.errors import VolumeNotEmpty
from less_sync.volume.engine.memory import return_memory
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.writing import THREAD_BYTES, WritableVolume, Written
from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.needle import Needle
from less_sync.volume.logs import Logger

_log: Final = Logger(__name__)


class Volume(WritableVolume):
    """A volume that can be read and written.

    What is small is written at once by the methods that begin with `try_`, if nobody holds the turn; they
    return None otherwise, and for large data, and their asynchronous twins wait.
    """

    _durable: DurableWrites | None = None
    _merging: "asyncio.Task[None] | None" = None

    def try_write(self, needle: Needle, *, check_cookie: bool = True) -> Written | None:
        """Write at once if nobody holds the turn and the data is small; None: use `write`. Raises as it."""
        if self.turn.held or len(needle.data) > THREAD_BYTES:
            return None
        written = self.prepare(needle, check_cookie=check_cookie)
        if written is None:
            written = self.publish(needle, self.append_needle(needle))
            if self.needles.wants_merge:
                self._merge_soon()
        return written

    async def write(self, needle: Needle, *, durable: bool = False, check_cookie: bool = True) -> Written:
        """Write when it is this writer's turn; `durable`: answer when it is on the disk.

        The caller has set the checksum of the data. Sets the needle's `size`, `append_at_ns`, and the TTL of
        the volume if it has none of its own. A cancellation is raised when the needle's buffer is free.

        Raises:
            ReadOnlyVolume, VolumeClosed, CookieMismatch, VolumeSizeExceeded: as they say.
            VolumeBusy: too many wait.
            VolumeError: the cookie of what is there cannot be read.
            WriteFailed: the disk refused; nothing is stored.
        """
        if durable:
            if self._durable is None:
                self._durable = DurableWrites(self)
            written = await self._durable.write(needle, check_cookie=check_cookie)
        else:
            async with self.turn:
                written = await to_the_end(self._write(needle, check_cookie))
        if self.needles.wants_merge:
            self._merge_soon()
        return written

    def try_delete(self, id: int, cookie: int, *, checksum: int = 0) -> int | None:  # noqa: A002
        """Delete at once if nobody holds the turn; None: use `delete`. Raises as it."""
        return None if self.turn.held else self.delete_needle(id, cookie, checksum)

    async def delete(self, id: int, cookie: int, *, checksum: int = 0) -> int:  # noqa: A002
        """Write that a needle is gone; the cookie is not compared. `checksum` is what its last record said.

        Returns:
            The size it had; 0 when there was none.

        Raises:
            ReadOnlyVolume, VolumeClosed: the volume takes no deletions.
            VolumeBusy: too many wait.
            WriteFailed: the disk refused; nothing is deleted.
        """
        async with self.turn:
            return self.delete_needle(id, cookie, checksum)

    async def write_blob(self, id: int, size: int, blob: Bytes) -> Written:  # noqa: A002
        """Append a record as another server has it, with a new append time.

        Raises:
            VolumeError: it is no record of that size, or the volume takes no writes or no more data.
            WriteFailed: the disk refused; nothing is stored.
        """
        async with self.turn:
            return await to_the_end(self._write_blob(id, size, blob))

    async def sync(self) -> None:
        """Flush what was written since the last flush, data before rows. Writes go on meanwhile.

        Raises:
            OSError: it is not certain what is on the disk.
        """
        if not self.is_dirty or self.is_closed:
            return
        self.is_dirty = False
        data, index = self.data.retain(), self.index.retain()
        try:
            await to_the_end(asyncio.ensure_future(asyncio.to_thread(_sync_both, data, index)))
        finally:
            data.release()
            index.release()

    async def close(self, *, only_empty: bool = False) -> None:
        """Flush and close, when it is this caller's turn. Who still holds the volume finds it closed.

        Raises:
            VolumeNotEmpty: something is stored, and `only_empty` is set.
            OSError: it is closed, but not certain what is on the disk.
        """
        self.closers += 1
        try:
            async with self.turn:
                if only_empty and not self.is_empty:
                    raise VolumeNotEmpty
                await to_the_end(self._close())
        finally:
            self.closers -= 1

    async def _close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if self._merging is not None:
            await asyncio.wait((self._merging,))
        try:
            await asyncio.to_thread(_sync_both, self.data, self.index)
        finally:
            self.data.close()
            self.index.close()

    async def _write(self, needle: Needle, check_cookie: bool) -> Written:
        is_unchanged = await self.compare_large(needle)
        written = self.prepare(needle, check_cookie=check_cookie, is_unchanged=is_unchanged)
        if written is None:
            if len(needle.data) > THREAD_BYTES:
                offset = await asyncio.to_thread(self.append_needle, needle)
            else:
                offset = self.append_needle(needle)
            written = self.publish(needle, offset)
        return written

    async def _write_blob(self, id: int, size: int, blob: Bytes) -> Written:  # noqa: A002
        prepared = self.prepare_blob(id, size, blob, await self.compare_large_blob(id, blob))
        if isinstance(prepared, Written):
            return prepared
        needle, record = prepared
        if len(blob) > THREAD_BYTES:
            offset = await asyncio.to_thread(self.append_record, record)
        else:
            offset = self.append_record(record)
        return self.publish(needle, offset)

    def _merge_soon(self) -> None:
        if self._merging is None:
            self._merging = asyncio.get_running_loop().create_task(self._merge())

    async def _merge(self) -> None:
        """Bring what was written into the sorted arrays, so that a needle costs 16 bytes and not 140."""
        needles = self.needles
        try:
            merge = needles.start_merge()
            needles.finish_merge(await asyncio.to_thread(merge.run))
            del merge
            await asyncio.to_thread(return_memory)
        except BaseException as error:
            needles.abandon_merge()
            if not isinstance(error, MemoryError):
                raise
            _log.warning("no memory to sort the needles of a volume", volume=self.id)
        finally:
            self._merging = None


def _sync_both(data: DataFile, index: DataFile) -> None:
    """Data first: rows that point at nothing are worse than records that nobody points at."""
    data.sync()
    index.sync()
