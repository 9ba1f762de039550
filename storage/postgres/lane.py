"""One lane: a queue of pushes, a connection of its own and the task that joins the two (docs/storage.md 4.2).

While a statement is in flight, arriving pushes wait; when it returns, all that wait go as the next statement.
So a lonely push is sent at once, and under load one flush to disk serves up to sixteen.

When more waits than fits, authors take turns (docs/storage.md 4.5), by weight: each push gets the turn at
which it would be through if every author of the lane were served at the same pace. Whoever has much waiting
is far behind with his last push, and whoever comes with his first is next. Turns are given out only
when so much waits that its order matters; a few milliseconds' worth goes as it came.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from less_sync.storage.counts import LaneCounts
from less_sync.storage.errors import LOCK_NOT_AVAILABLE, StorageError, Unavailable, translate
from less_sync.storage.postgres.outage import Outage
from less_sync.storage.postgres.push_batch import batch_statement, outcome
from less_sync.storage.postgres.push_entry import STATEMENT_BYTES_MAX, Entry, Line, Result
from less_sync.storage.postgres.push_one import push_one

if TYPE_CHECKING:
    import asyncpg

PUSHES_PER_STATEMENT_MAX: Final = 16
PUSHES_WITHOUT_TURNS_MAX: Final = 64
"""What waits goes as it came up to this many pushes, unless it weighs more than one statement may."""
LIGHT_BYTES_MAX: Final = 128 * 1024
"""Weight of two statements, one in flight and one behind it, that take the database a few milliseconds."""
GATHERING_MAX_S: Final = 0.02
"""A statement that has been in flight for longer may wait for a lock: nobody gathers behind it."""
BACKOFF_MAX_S: Final = 1.0

_LANE_SETTINGS: Final = {"lock_timeout": "200ms"}
_turn_of = attrgetter("turn")


class Connector(Protocol):
    """Opens the connections of lanes."""

    chance: random.Random
    """Spreads the pauses before another attempt."""

    async def open_connection(self, settings: dict[str, str]) -> "asyncpg.Connection[asyncpg.Record]": ...


class Lane:
    """Sends what is queued, one statement at a time.

    Args:
        outage: is told of every attempt to connect.
        finish: called with entries and their results, in order within each space.
        hold: called with a line and all its entries of this lane, because its lock did not come in 200 ms.
        counts: has each statement added to it, with the seconds of `clock` that it took.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        finish: Callable[[Sequence[Entry], Sequence[Result]], None],
        hold: Callable[[Line, Sequence[Entry]], None],
        outage: Outage,
        counts: LaneCounts,
        clock: Callable[[], float],
    ) -> None:
        self._connector = connector
        self._finish = finish
        self._hold = hold
        self._outage = outage
        self._counts = counts
        self._clock = clock
        self._queue: list[Entry] = []
        self._with_turn = 0
        """How many entries of the queue, the first ones, have their turn."""
        self._in_flight: list[Entry] = []
        self._sent_s = 0.0
        """When, by the clock, what is in flight was taken from the queue."""
        self._turn = 0
        """That of the latest push that was sent by its turn. Authors who had nothing here begin with it."""
        self._con: asyncpg.Connection[asyncpg.Record] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._ended = False
        self.load = 0
        """Weight of what is queued or in flight here."""

    def add(self, entry: Entry) -> None:
        """Queue one entry, behind those of its space; a lane that has ended answers it at once."""
        self._queue.append(entry)
        self.load += entry.weight
        if self._ended:
            self.fail_all()
        idle = self._idle
        if idle is not None and not idle.done():
            idle.set_result(None)

    def takes_along(self, weight: int) -> bool:
        """Whether a push would go with the next statement, and soon."""
        return (
            len(self._queue) < PUSHES_PER_STATEMENT_MAX
            and self.load + weight <= LIGHT_BYTES_MAX
            and (not self._in_flight or self._clock() - self._sent_s <= GATHERING_MAX_S)
        )

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._con is not None and not self._con.is_closed()

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
        """Serve until cancelled; whatever is queued or in flight then has an unknown outcome.

        The pump asks for the connection at each round, before it looks at the queue: a lane without pushes
        connects again too, so that the first push after an outage finds it connected. Between the look at
        the queue and the wait nothing is awaited, so no push can arrive unseen; what wakes the pump does not
        say why, as the next round finds out.
        """
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
        """Take what fits in one statement: spaces in id order, pushes of one space in order of arrival.

        Id order keeps two processes that write the same spaces from waiting for each other in a circle.
        """
        # Nothing is in flight here, so the load is that of the queue.
        if self.load > STATEMENT_BYTES_MAX or len(self._queue) > PUSHES_WITHOUT_TURNS_MAX:
            self._sort_by_turns()
        weight = count = 0
        for entry in self._queue[:PUSHES_PER_STATEMENT_MAX]:
            weight += entry.weight
            if weight > STATEMENT_BYTES_MAX:
                break
            count += 1
        batch = self._queue[:count]
        del self._queue[:count]
        if self._with_turn:
            self._with_turn = max(0, self._with_turn - count)
            self._turn = max(self._turn, batch[-1].turn)
        batch.sort(key=_space_of)
        return batch

    def _sort_by_turns(self) -> None:
        """Give turns to those that have none yet, and put all in their order."""
        now = self._turn
        for entry in self._queue[self._with_turn :]:
            turns, line = entry.account.turns, entry.line
            turn = turns[self] = max(now, turns.get(self, 0)) + entry.weight
            # Behind whatever of its space is here, whoever wrote that. The author is not set back by it.
            line.turn = entry.turn = max(turn, line.turn)
        self._queue.sort(key=_turn_of)  # entries of one space stay in order: the sort is stable
        self._with_turn = len(self._queue)

    async def _send(self, con: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._in_flight = batch = self._take()
        self._sent_s = self._clock()
        if len(batch) == 1:
            await self._one_by_one(con)
            return
        try:
            # One transaction for all: each call of the function locks its space's row and sees what the
            # calls before it wrote; all become visible together at the statement's commit.
            statement, arguments = batch_statement([entry.push for entry in batch])
            began_s = self._clock()
            try:
                rows = await con.fetch(statement, *arguments)
            finally:
                self._count(len(batch), began_s)
        except Exception as error:
            failed = translate(error)
            if isinstance(failed, Unavailable):
                self._lose(con, failed)
            else:
                await self._one_by_one(con)
        else:
            self._in_flight = []
            self._leave(batch, [outcome(row) for row in rows])

    async def _one_by_one(self, con: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Send each entry by itself: the server undid the statement they shared, or there is but one."""
        while self._in_flight:
            entry = self._in_flight[0]
            began_s = self._clock()
            try:
                result = await push_one(con, entry.push, self._connector.chance)
            finally:
                self._count(1, began_s)
            if isinstance(result, Unavailable):
                self._lose(con, result)
            elif isinstance(result, StorageError) and result.sqlstate == LOCK_NOT_AVAILABLE:
                self._step_aside(entry.line)
            else:
                del self._in_flight[0]
                self._leave([entry], [result])

    def _count(self, pushes: int, began_s: float) -> None:
        self._counts.pushes.add(pushes)
        self._counts.seconds.add(self._clock() - began_s)

    def _step_aside(self, line: Line) -> None:
        """Hand over everything the space still has here, and let that wait beside the lane."""
        moved = [entry for entry in (*self._in_flight, *self._queue) if entry.line is line]
        self._in_flight = [entry for entry in self._in_flight if entry.line is not line]
        self._queue = [entry for entry in self._queue if entry.line is not line]
        self._with_turn = sum(entry.turn > 0 for entry in self._queue)
        self.load -= sum(entry.weight for entry in moved)
        self._hold(line, moved)

    def _lose(self, con: "asyncpg.Connection[asyncpg.Record]", error: Unavailable) -> None:
        """Answer what was in flight: the connection was lost, or the database is stopping."""
        if error.sqlstate is None:
            con.terminate()  # the server said nothing: this connection is not to be waited for again
        entries, self._in_flight = self._in_flight, []
        self._leave(entries, [error] * len(entries))

    def fail_all(self) -> None:
        """Answer everything queued or in flight as `Unavailable`."""
        entries = [*self._in_flight, *self._queue]
        self._in_flight, self._queue, self._with_turn = [], [], 0
        if entries:
            self._leave(entries, [Unavailable()] * len(entries))

    def _leave(self, entries: Sequence[Entry], results: Sequence[Result]) -> None:
        self.load -= sum([entry.weight for entry in entries])
        self._finish(entries, results)


def _space_of(entry: Entry) -> int:
    return entry.push.space.int
