"""Writes that are on the disk when they are answered, many of them with one flush.

Whoever comes while a group is being flushed joins the next one. A group: each record is written; the data
file is flushed; the rows are written; the index is flushed; readers find the needles; everybody is answered.
It holds the turn of the volume throughout, because taking a group back cuts whatever lies behind its start. A
flush that failed is never repeated: the system may have forgotten what it could not write.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from less_sync.volume.engine.errors import VolumeBusy, VolumeError, WriteFailed
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.engine.writing import THREAD_BYTES, WritableVolume, Written
from less_sync.volume.format.needle import Needle, record_length
from less_sync.volume.format.rows import encode_row

GROUP_REQUESTS_MAX: Final = 128
GROUP_BYTES_MAX: Final = 4 << 20
QUEUE_MAX: Final = 128
"""Requests in line for the next groups; more wait for a place."""
WAITERS_MAX: Final = 4_096
"""That wait for a place; the next one is refused."""


@dataclass(slots=True, eq=False)
class _Request:
    needle: Needle
    check_cookie: bool
    answer: "asyncio.Future[Written]"
    record_bytes: int


@dataclass(slots=True)
class _Group:
    """What became of the requests of a group before its flush."""

    data_end: int
    index_end: int
    appended: list[tuple[_Request, int]]
    unchanged: list[tuple[_Request, Written]]


class DurableWrites:
    """The group commit of one volume. Its task lives while there is something to do."""

    def __init__(self, volume: WritableVolume) -> None:
        self._volume: Final = volume
        self._queue: Final = deque[_Request]()
        self._places: Final = asyncio.Semaphore(QUEUE_MAX)
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    async def write(self, needle: Needle, *, check_cookie: bool) -> Written:
        """Write a needle; it is on the disk when this returns. Raises as `Volume.write`."""
        if self._waiting >= WAITERS_MAX:
            raise VolumeBusy(f"{WAITERS_MAX} durable writers wait already")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        length = record_length(len(needle.data), self._volume.version)
        answer = asyncio.get_running_loop().create_future()
        request = _Request(needle, check_cookie, answer, length)
        self._queue.append(request)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if request in self._queue:
                self._queue.remove(request)
                self._places.release()
                answer.cancel()
            else:
                await to_the_end(asyncio.wait((answer,)))  # Its buffer is being written.
                if not answer.cancelled():
                    answer.exception()
            raise

    async def _run(self) -> None:
        try:
            while self._queue:
                async with self._volume.turn:
                    await self._commit(self._take())
        except VolumeBusy as error:
            self._refuse_all(str(error))
        finally:
            self._task = None
            if self._queue:
                self._refuse_all(f"volume {self._volume.id}: durable writes ended")

    def _take(self) -> list[_Request]:
        """The next group, and its places in the queue free for others."""
        group: list[_Request] = []
        group_bytes = 0
        while self._queue and len(group) < GROUP_REQUESTS_MAX:
            if group and group_bytes + self._queue[0].record_bytes > GROUP_BYTES_MAX:
                break
            request = self._queue.popleft()
            self._places.release()
            group.append(request)
            group_bytes += request.record_bytes
        return group

    def _refuse_all(self, text: str) -> None:
        while self._queue:
            self._places.release()
            _fail(self._queue.popleft(), VolumeError(text))

    async def _commit(self, requests: list[_Request]) -> None:
        volume = self._volume
        group = _Group(volume.data.end, volume.index.end, [], [])
        try:
            await self._append_all(requests, group)
            if group.appended or group.unchanged:
                await self._flush(group)
        except BaseException as error:
            volume.take_back(group.data_end, group.index_end)
            for request in requests:
                _fail(request, WriteFailed(f"durable write to volume {volume.id}: {error}"))
            if not isinstance(error, OSError):
                raise
            return
        for request, offset in group.appended:
            request.answer.set_result(volume.show(request.needle, offset))
        for request, written in group.unchanged:
            request.answer.set_result(written)

    async def _append_all(self, requests: list[_Request], group: _Group) -> None:
        """Write every record; a request that is refused is answered here and is no more part of the group."""
        volume = self._volume
        pending: dict[int, tuple[int, int]] = {}
        pending_bytes = 0
        for request in requests:
            needle = request.needle
            try:
                volume.require_room(pending_bytes + request.record_bytes)
                is_unchanged = await volume.compare_large(needle, pending)
                known = volume.prepare(
                    needle, check_cookie=request.check_cookie, pending=pending, is_unchanged=is_unchanged
                )
                if known is not None:
                    group.unchanged.append((request, known))
                    continue
                if len(needle.data) > THREAD_BYTES:
                    offset = await asyncio.to_thread(volume.append_needle, needle)
                else:
                    offset = volume.append_needle(needle)
            except VolumeError as error:
                _fail(request, error)
                continue
            pending[needle.id] = (offset, needle.size)
            pending_bytes += request.record_bytes
            group.appended.append((request, offset))

    async def _flush(self, group: _Group) -> None:
        """Data, then rows. What was there already may not be on the disk yet either, nor its row."""
        volume = self._volume
        await asyncio.to_thread(volume.data.sync)
        rows = [
            encode_row(request.needle.id, offset, request.needle.size, volume.offset_bytes)
            for request, offset in group.appended
        ]
        volume.index.append((b"".join(rows),))
        try:
            await asyncio.to_thread(volume.index.sync)
        except OSError:
            # Rows of earlier writes may be lost as well; what is readable now must not be added to.
            volume.no_write_or_delete = True
            raise
        volume.is_dirty = False


def _fail(request: _Request, error: VolumeError) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)
