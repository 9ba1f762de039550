"""Pushes that wait together go together (docs/storage.md 4.2). Implements `storage.stores.PushStore`.

The lock of a space's row is held until its commit is flushed, so pushes to one space are serial, a flush
each, and each statement costs about 100 µs of Python. Lanes let what waits share both. A space keeps its lane
while it has work there, which keeps its pushes in order; otherwise the emptier lane takes it.

A space whose row somebody else has locked for longer than 200 ms steps aside: its oldest push waits on a pool
connection, up to the pool's lock time-out, its later ones stand behind it, and the lane goes on.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self
from uuid import UUID

import structlog

from less_sync.storage.errors import LOCK_NOT_AVAILABLE, StorageError, Unavailable, translate
from less_sync.storage.postgres.lane import Entry, Lane, Line, Result
from less_sync.storage.postgres.outage import Outage
from less_sync.storage.postgres.push_one import push_one
from less_sync.storage.stores import PushDone
from less_sync.storage.types import Push

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import PostgresPool

_ENTRY_BYTES: Final = 1024
"""What a queued push and each of its changes weigh beside their payload."""
_REFUSE_FACTOR: Final = 4
_log = structlog.get_logger(__name__)


class PushLanes:
    """A `PushStore` over `lanes` connections beyond the pool.

    The queue is over its bounds above `entries_max` pushes or `queue_bytes_max` bytes, and within them again
    below half. Readers that go on nevertheless are refused with `Unavailable` at four times the bounds.
    """

    def __init__(
        self,
        pool: "PostgresPool",
        *,
        lanes: int = 2,
        entries_max: int = 2048,
        queue_bytes_max: int = 32 * 1024 * 1024,
    ) -> None:
        self._pool = pool
        outage = Outage(asyncio.get_running_loop().time)
        self._lanes = [Lane(pool, finish=self._finish, hold=self._hold, outage=outage) for _ in range(lanes)]
        self._lines: dict[UUID, Line] = {}
        self._entries_max = entries_max
        self._queue_bytes_max = queue_bytes_max
        self._entries = 0
        self._queue_bytes = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._held_slots = asyncio.Semaphore(max(1, pool.max_connections // 4))
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False
        self._closing = False
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()

    @classmethod
    async def start(cls, pool: "PostgresPool", *, lanes: int = 2) -> Self:
        """Connect every lane and begin to serve.

        Raises:
            Unavailable: the database did not let a lane in.
            StorageError: it refused.
        """
        started = cls(pool, lanes=lanes)
        await started.open()
        return started

    async def open(self) -> None:
        """Connect every lane and begin to serve. Raises as `start` does; no connection is then left open."""
        try:
            attempts = await asyncio.gather(*(lane.connect() for lane in self._lanes), return_exceptions=True)
            for failed in attempts:
                if failed is not None:
                    raise failed
        except BaseException:
            for lane in self._lanes:
                lane.disconnect()
            raise
        self._open = True
        for number, lane in enumerate(self._lanes, 1):
            self._tasks.add(asyncio.create_task(self._run(lane), name=f"push lane {number}"))
        await asyncio.sleep(0)  # they all begin: a task cancelled before its first step would end unnoticed

    async def watch(self) -> None:
        """Return once the lanes are closed.

        Raises:
            StorageError: a lane ended unexpectedly; the cause is chained. Nothing is taken any more, and what
                that lane had was answered as `Unavailable`.
        """
        await self._ended.wait()
        if self._failure is not None:
            raise StorageError("a push lane ended unexpectedly") from self._failure

    async def _run(self, lane: Lane) -> None:
        """Serve one lane. If it ends before it was asked to, no push is taken any more.

        A lane that is gone would swallow the pushes of its spaces, so the server must hear of it (`watch`).
        """
        failure: BaseException = RuntimeError("the lane returned")
        try:
            await lane.run()
        except Exception as error:
            failure = error
        except BaseException as error:
            failure = error
            raise
        finally:
            if not self._closing and self._failure is None:
                self._open = False
                self._failure = failure
                _log.error("a push lane ended unexpectedly", exc_info=failure)
                self._ended.set()

    def submit(self, push: Push, done: PushDone) -> bool:
        """Queue one push; False when it is refused at once, and `done` is then not called.

        A push once queued is written even if its author is gone.
        """
        if not self._open or self._over(_REFUSE_FACTOR):
            return False
        line = self._lines.get(push.space)
        if line is None:
            line = self._lines[push.space] = Line(min(self._lanes, key=_load))
        weight = push.payload_bytes + _ENTRY_BYTES * (len(push.ids) + 1)
        line.waiting += 1
        line.lane.load += weight
        self._entries += 1
        self._queue_bytes += weight
        if self._over(1):
            self._calm.clear()
        entry = (push, done, line, weight)
        if line.held is None:
            line.lane.add(entry)
        else:
            line.held.append(entry)
        return True

    def congested(self, author: str) -> bool:
        """True while the queue is over its bounds: readers should pause."""
        return not self._calm.is_set()

    async def uncongested(self, author: str) -> None:
        """Return once the queue is back within its bounds."""
        await self._calm.wait()

    async def aclose(self, timeout_s: float) -> None:
        """Take no more pushes, write what is queued for up to `timeout_s`, fail the rest, disconnect."""
        self._open = False
        try:
            async with asyncio.timeout(timeout_s):
                while self._entries:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            _log.warning("push lanes closed with pushes unwritten", pushes=self._entries)
        finally:
            self._closing = True
            await self._end_tasks()
            self._ended.set()

    async def _end_tasks(self) -> None:
        """Cancel what runs and answer what it left: a task cancelled before its first step answers nobody."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes:
            lane.end()
        for line in list(self._lines.values()):
            self._fail_held(line)

    def _over(self, factor: int) -> bool:
        return (
            self._entries > self._entries_max * factor or self._queue_bytes > self._queue_bytes_max * factor
        )

    def _relieved(self) -> bool:
        return self._entries * 2 <= self._entries_max and self._queue_bytes * 2 <= self._queue_bytes_max

    def _finish(self, entries: Sequence[Entry], results: Sequence[Result]) -> None:
        """Account for entries that left the queue and tell their authors, in the order given."""
        for (push, done, line, weight), result in zip(entries, results, strict=True):
            line.waiting -= 1
            line.lane.load -= weight
            self._queue_bytes -= weight
            if not line.waiting:
                del self._lines[push.space]
            try:
                done(result)
            except Exception:  # a broken callback must not take the pushes behind it along
                _log.exception("completion of a push raised")
        self._entries -= len(entries)
        if not self._calm.is_set() and self._relieved():
            self._calm.set()
        if not self._entries:
            self._empty.set()

    def _hold(self, line: Line) -> None:
        self._tasks.add(asyncio.create_task(self._wait_held(line), name="push lock wait"))

    async def _wait_held(self, line: Line) -> None:
        """Serve a held line as a task of its own, which is cancelled when the lanes are closed."""
        try:
            await self._serve_held(line)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)

    async def _serve_held(self, line: Line) -> None:
        """Wait for the lock of one space; then give its pushes back to their lane.

        When the lock does not come, everything that stood in line when the wait began fails: nothing of it
        was written.
        """
        held = line.held
        assert held is not None
        try:
            while held:
                stood = len(held)
                result = await self._push_held(held[0][0])
                locked = isinstance(result, StorageError) and result.sqlstate == LOCK_NOT_AVAILABLE
                if not locked:
                    self._finish([held.popleft()], [result])
                    break
                failed = [held.popleft() for _ in range(stood)]
                self._finish(failed, [result] * stood)
        except BaseException:
            self._fail_held(line)
            raise
        line.held = None
        line.lane.extend(held)

    def _fail_held(self, line: Line) -> None:
        """Answer everything of a space that waits beside its lane."""
        if line.held:
            entries = list(line.held)
            line.held.clear()
            self._finish(entries, [Unavailable()] * len(entries))

    async def _push_held(self, push: Push) -> Result:
        try:
            async with self._held_slots, self._pool.connection() as con:
                return await push_one(con, push, self._pool.chance)
        except Exception as error:
            return translate(error)


def _load(lane: Lane) -> int:
    return lane.load
