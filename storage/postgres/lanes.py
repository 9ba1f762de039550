"""Pushes that wait together go together (docs/storage.md 4.2). Implements `storage.stores.PushStore`.

The lock of a space's row is held until its commit is flushed, so pushes to one space are serial, a flush
each, and each statement costs about 100 µs of Python. Lanes let what waits share both. A space keeps its lane
while it has work there, which keeps its pushes in order; otherwise the emptier lane takes it.

What would keep a lane busy for long stands beside it, on a connection of the pool, and the later pushes of
its space stand behind it: a space whose row somebody else has locked for longer than 200 ms (up to the pool's
lock time-out), and a push too heavy for a statement that others share.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Self

import structlog

from less_sync.storage.counts import LaneCounts
from less_sync.storage.errors import LOCK_NOT_AVAILABLE, StorageError, Unavailable, translate
from less_sync.storage.postgres.author_bounds import AuthorBounds
from less_sync.storage.postgres.lane import Lane
from less_sync.storage.postgres.outage import Outage
from less_sync.storage.postgres.push_entry import CHANGE_BYTES, STATEMENT_BYTES_MAX, Entry, Line, Result
from less_sync.storage.postgres.push_one import push_one
from less_sync.storage.postgres.turns import Turns
from less_sync.storage.stores import PushDone
from less_sync.storage.types import Push

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import PostgresPool

FEW_PER_LANE: Final = 2
"""Pushes that wait side by side before they gather: one in flight and one behind it."""

_load = attrgetter("load")
_log = structlog.get_logger(__name__)


class PushLanes:
    """A `PushStore` over `lanes` connections beyond the pool.

    The queue has room for `entries_max` pushes and `queue_bytes_max` bytes, which authors share as
    `AuthorBounds` says. Authors that go on nevertheless are refused at four times the bounds.
    `clock` (monotonic seconds) times the statements.
    """

    def __init__(
        self,
        pool: "PostgresPool",
        *,
        lanes: int = 2,
        entries_max: int = 2048,
        queue_bytes_max: int = 32 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self.counts = LaneCounts()
        """Since the start, of all lanes."""
        outage = Outage(asyncio.get_running_loop().time)
        self._lanes = [
            Lane(pool, finish=self._finish, hold=self._hold, outage=outage, counts=self.counts, clock=clock)
            for _ in range(lanes)
        ]
        self._few = FEW_PER_LANE * lanes
        self._lines: dict[int, Line] = {}
        """By the number of the space: a UUID hashes in Python, each time."""
        self._bounds = AuthorBounds(entries_max=entries_max, bytes_max=queue_bytes_max)
        self.congested = self._bounds.congested
        """True while the author has more queued than he may: whoever reads from him should pause.

        The bounds' own method, without a call in between: each push asks.
        """
        self.uncongested = self._bounds.uncongested
        """Return once the author has at most half of that queued."""
        self._empty = asyncio.Event()
        self._empty.set()
        # One author has one place: his huge pushes, or his locked spaces, hold up nobody but him.
        self._beside = Turns(max(1, pool.max_connections // 4), each_max=1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False
        self._closing = False
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Pushes that are not answered yet: queued, in flight, or beside the lanes."""
        return self._bounds.entries

    @property
    def waiting_bytes(self) -> int:
        """What they weigh."""
        return self._bounds.waiting_bytes

    @property
    def connected(self) -> int:
        """How many of the lanes have their connection."""
        return sum(lane.connected for lane in self._lanes)

    @property
    def size(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

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
        weight = push.payload_bytes + CHANGE_BYTES * (len(push.ids) + 1)
        account = self._bounds.admit(push.author, weight) if self._open else None
        if account is None:
            self.counts.refused += 1
            return False
        space = push.space.int
        line = self._lines.get(space)
        if line is None:
            line = self._lines[space] = Line(self._lane_for(weight))
        line.waiting += 1
        entry = Entry(push, done, line, account, weight)
        if line.beside is not None:
            line.beside.append(entry)
        elif weight > STATEMENT_BYTES_MAX:
            line.beside = deque((entry,))
            self._serve_if_next(line)
        else:
            line.lane.add(entry)
        return True

    def _lane_for(self, weight: int) -> Lane:
        if self._bounds.entries > self._few:
            for lane in self._lanes:
                if lane.takes_along(weight):
                    return lane
        return min(self._lanes, key=_load)

    async def aclose(self, timeout_s: float) -> None:
        """Take no more pushes, write what is queued for up to `timeout_s`, fail the rest, disconnect."""
        self._open = False
        try:
            async with asyncio.timeout(timeout_s):
                while self._bounds.entries:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            _log.warning("push lanes closed with pushes unwritten", pushes=self._bounds.entries)
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
            self._fail_beside(line)

    def _finish(self, entries: Sequence[Entry], results: Sequence[Result]) -> None:
        """Account for entries that left the queue and tell their authors, in the order given."""
        self._bounds.release(entries)
        parted: list[Line] = []
        for entry in entries:
            line = entry.line
            line.waiting -= 1
            if not line.waiting:
                del self._lines[entry.push.space.int]
            elif line.beside is not None:
                parted.append(line)
        for entry, result in zip(entries, results, strict=True):
            try:
                entry.done(result)
            except Exception:  # a broken callback must not take the pushes behind it along
                _log.exception("completion of a push raised")
        for line in parted:
            self._serve_if_next(line)
        if not self._bounds.entries:
            self._empty.set()

    def _hold(self, line: Line, moved: Sequence[Entry]) -> None:
        """Take over what a lane had of a space whose lock did not come, ahead of what stands beside it."""
        line.beside = deque((*moved, *(line.beside or ())))
        self._serve_if_next(line)

    def _serve_if_next(self, line: Line) -> None:
        """Serve what stands beside a lane as soon as nothing of the space is in the lane: that goes first."""
        if line.beside is None or line.served or line.waiting > len(line.beside):
            return
        line.served = True
        if self._closing:
            self._fail_beside(line)
        else:
            self._tasks.add(asyncio.create_task(self._serve_line(line), name="push beside the lanes"))

    async def _serve_line(self, line: Line) -> None:
        """Serve what stands beside a lane as a task of its own, which is cancelled on closing."""
        try:
            await self._serve_beside(line)
            self._give_back(line)
        except BaseException:
            self._fail_beside(line)
            raise
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)

    async def _serve_beside(self, line: Line) -> None:
        """Send the first push of a line, and those heavy ones that follow.

        When the lock does not come, everything that stood in line when the wait began fails: nothing of it
        was written.
        """
        beside = line.beside
        assert beside is not None
        first = True
        while beside and (first or beside[0].heavy):
            first = False
            stood = len(beside)
            result = await self._push_beside(beside[0].push)
            locked = isinstance(result, StorageError) and result.sqlstate == LOCK_NOT_AVAILABLE
            done = [beside.popleft() for _ in range(stood if locked else 1)]
            self._finish(done, [result] * len(done))
            first = locked

    async def _push_beside(self, push: Push) -> Result:
        try:
            async with self._beside.place(push.author), self._pool.connection() as con:
                return await push_one(con, push, self._pool.chance)
        except Exception as error:
            return translate(error)

    def _give_back(self, line: Line) -> None:
        """Let the pushes up to the next heavy one go back into the lane."""
        beside = line.beside
        assert beside is not None
        light: list[Entry] = []
        while beside and not beside[0].heavy:
            light.append(beside.popleft())
        line.served = False
        line.beside = beside or None
        for entry in light:
            line.lane.add(entry)

    def _fail_beside(self, line: Line) -> None:
        """Answer everything of a space that stands beside its lane."""
        if line.beside:
            entries = list(line.beside)
            line.beside.clear()
            self._finish(entries, [Unavailable()] * len(entries))
