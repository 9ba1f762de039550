"""One lane: a queue of pushes, a connection of its own and the task that joins the two (docs/storage.md 4.2).

While a statement is in flight, arriving pushes wait; when it returns, all that wait go as the next statement.
So a lonely push is sent at once, and under load one flush to disk serves up to sixteen.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from less_sync.storage.errors import LOCK_NOT_AVAILABLE, StorageError, Unavailable, translate
from less_sync.storage.postgres.outage import Outage
from less_sync.storage.postgres.push_batch import batch_arguments, outcome
from less_sync.storage.postgres.push_one import push_one
from less_sync.storage.queries import sql
from less_sync.storage.stores import PushDone
from less_sync.storage.types import Push, PushOutcome

if TYPE_CHECKING:
    import asyncpg

PUSHES_PER_STATEMENT_MAX: Final = 16
STATEMENT_BYTES_MAX: Final = 4 * 1024 * 1024
BACKOFF_MAX_S: Final = 1.0

_LANE_SETTINGS: Final = {"lock_timeout": "200ms"}


@dataclass(slots=True, eq=False)
class Line:
    """The pushes of one space that are queued or in flight, and where they stand."""

    lane: "Lane"
    waiting: int = 0
    held: "deque[Entry] | None" = None
    """Set while the space waits for its lock beside the lane: all its pushes are here, in order."""


Entry = tuple[Push, PushDone, Line, int]
"""A queued push, its callback, its space's line, and its weight in bytes."""

Result = PushOutcome | StorageError


class Connector(Protocol):
    """Opens the connections of lanes."""

    chance: random.Random
    """Spreads the pauses before another attempt."""

    async def open_connection(self, settings: dict[str, str]) -> "asyncpg.Connection[asyncpg.Record]": ...


class Lane:
    """Sends what is queued, one statement at a time.

    Args:
        finish: called with entries and their results, in order within each space.
        outage: is told of every attempt to connect.
        hold: called with a line whose `held` was just filled, because its lock did not come in 200 ms.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        finish: "Callable[[Sequence[Entry], Sequence[Result]], None]",
        hold: Callable[[Line], None],
        outage: Outage,
    ) -> None:
        self._connector = connector
        self._finish = finish
        self._hold = hold
        self._outage = outage
        self._queue: deque[Entry] = deque()
        self._in_flight: list[Entry] = []
        self._con: asyncpg.Connection[asyncpg.Record] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._ended = False
        self.load = 0
        """Weight of everything that keeps its space on this lane."""

    def add(self, entry: Entry) -> None:
        """Queue one entry."""
        self.extend((entry,))

    def extend(self, entries: Sequence[Entry]) -> None:
        """Queue entries of one space, in order; a lane that has ended answers them at once."""
        self._queue.extend(entries)
        if self._ended:
            self.fail_all()
        self._wake()

    def _wake(self, *_: object) -> None:
        idle = self._idle
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def connect(self) -> None:
        """Open the connection now rather than at the first push.

        Raises:
            Unavailable: the database did not let us in.
            StorageError: it refused.
        """
        self._con = await self._connector.open_connection(_LANE_SETTINGS)
        self._con.add_termination_listener(self._wake)

    def end(self) -> None:
        """Answer everything queued or in flight as `Unavailable`, and whatever is added from now on."""
        self._ended = True
        self.fail_all()
        self.disconnect()

    def disconnect(self) -> None:
        """Drop the connection, if there is one; a statement in flight has an unknown outcome."""
        if self._con is not None:
            self._con.terminate()

    async def run(self) -> None:
        """Serve until cancelled; whatever is queued or in flight then has an unknown outcome."""
        try:
            while True:
                con = await self._connection()
                if self._queue:
                    await self._send(con)
                else:
                    await self._sleep(con)
        finally:
            self.end()

    async def _connection(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Return an open connection. Each failed attempt fails what waits, so that nobody waits long."""
        pause_s = 0.05
        while self._con is None or self._con.is_closed():
            try:
                await self.connect()
            except StorageError as error:
                self._outage.failed(self, error)
                self.fail_all()
                await asyncio.sleep(pause_s * self._connector.chance.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, BACKOFF_MAX_S)
            else:
                self._outage.connected(self)
        return self._con

    async def _sleep(self, con: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Wait for a push, or for the connection to be lost."""
        self._idle = asyncio.get_running_loop().create_future()
        try:
            if not con.is_closed():
                await self._idle
        finally:
            self._idle = None

    def _take(self) -> list[Entry]:
        """Take what fits in one statement: spaces in id order, arrival order within a space.

        Id order keeps two processes that write the same spaces from waiting for each other in a circle.
        """
        queue = self._queue
        batch = [queue.popleft()]
        room = STATEMENT_BYTES_MAX - batch[0][0].payload_bytes
        while queue and len(batch) < PUSHES_PER_STATEMENT_MAX:
            room -= queue[0][0].payload_bytes
            if room < 0:
                break
            batch.append(queue.popleft())
        batch.sort(key=_space_of)
        return batch

    async def _send(self, con: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._in_flight = batch = self._take()
        if len(batch) == 1:
            await self._one_by_one(con)
            return
        try:
            # One transaction for all: each call of the function locks its space's row and sees what the
            # calls before it wrote; all become visible together at the statement's commit.
            rows = await con.fetch(sql("push_batch"), *batch_arguments([entry[0] for entry in batch]))
        except Exception as error:
            failed = translate(error)
            if isinstance(failed, Unavailable):
                self._lose(con, failed)
            else:
                await self._one_by_one(con)
        else:
            self._in_flight = []
            self._finish(batch, [outcome(row) for row in rows])

    async def _one_by_one(self, con: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Send each entry by itself: the server undid the statement they shared, or there is but one."""
        while self._in_flight:
            entry = self._in_flight[0]
            result = await push_one(con, entry[0], self._connector.chance)
            if isinstance(result, Unavailable):
                self._lose(con, result)
            elif isinstance(result, StorageError) and result.sqlstate == LOCK_NOT_AVAILABLE:
                self._step_aside(entry[2])
            else:
                del self._in_flight[0]
                self._finish([entry], [result])

    def _step_aside(self, line: Line) -> None:
        """Move everything the space still has here to its line, and let that wait beside the lane."""
        line.held = deque(entry for entry in (*self._in_flight, *self._queue) if entry[2] is line)
        self._in_flight = [entry for entry in self._in_flight if entry[2] is not line]
        self._queue = deque(entry for entry in self._queue if entry[2] is not line)
        self._hold(line)

    def _lose(self, con: "asyncpg.Connection[asyncpg.Record]", error: Unavailable) -> None:
        """Answer what was in flight: the connection was lost, or the database is stopping."""
        if error.sqlstate is None:
            con.terminate()  # the server said nothing: this connection is not to be waited for again
        entries, self._in_flight = self._in_flight, []
        self._finish(entries, [error] * len(entries))

    def fail_all(self) -> None:
        """Answer everything queued or in flight as `Unavailable`."""
        entries = [*self._in_flight, *self._queue]
        self._in_flight = []
        self._queue.clear()
        if entries:
            self._finish(entries, [Unavailable()] * len(entries))


def _space_of(entry: Entry) -> int:
    return entry[0].space.int
