"""A lane dies of a status that this release does not know, and swallows every later push of its spaces."""

import asyncio
from typing import TYPE_CHECKING, Final

from tests.simulation.parts import Parts
from tests.simulation.system import (
    LOCK_NOT_AVAILABLE,
    Entry,
    Lane,
    Outage,
    PostgresPool,
    Push,
    PushLanes,
    PushOutcome,
    PushStatus,
    StorageError,
    Unavailable,
    batch_statement,
    single_statement,
    translate,
)

if TYPE_CHECKING:
    import asyncpg

    from tests.simulation.system import Connection

_STATUS: Final = tuple(PushStatus)


def outcome(row: "asyncpg.Record") -> PushOutcome:
    """Read one result row of either query. An unknown status is an IndexError."""
    status, cursor, key_generation, rewrap_epoch, file_ids, file_records = row
    return PushOutcome(
        _STATUS[status],
        cursor,
        key_generation or 0,
        rewrap_epoch,
        tuple(zip(file_ids, file_records, strict=True)) if file_ids else (),
    )


async def push_one(con: "Connection", push: Push) -> PushOutcome | StorageError:
    """Send one push as its own statement; what it answers is read outside the `try`."""
    try:
        statement, arguments = single_statement(push)
        rows = await con.fetch(statement, *arguments)
    except Exception as error:
        return translate(error)
    return outcome(rows[0])


class MortalLane(Lane):
    """Answers what it has when it dies; what comes later waits for ever."""

    async def run(self) -> None:
        try:
            while True:
                con = await self._connection()
                if self._queue:
                    await self._send(con)
                else:
                    await self._sleep(con)
        finally:
            self.fail_all()
            self.disconnect()

    async def _send(self, con: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._in_flight = batch = self._take()
        if len(batch) == 1:
            await self._one_by_one(con)
            return
        try:
            statement, arguments = batch_statement([one.push for one in batch])
            rows = await con.fetch(statement, *arguments)
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
        while self._in_flight:
            entry: Entry = self._in_flight[0]
            result = await push_one(con, entry.push)
            if isinstance(result, Unavailable):
                self._lose(con, result)
            elif isinstance(result, StorageError) and result.sqlstate == LOCK_NOT_AVAILABLE:
                self._step_aside(entry.line)
            else:
                del self._in_flight[0]
                self._leave([entry], [result])


class UnwatchedLanes(PushLanes):
    """Nobody notices that a lane has ended."""

    def __init__(self, pool: PostgresPool, *, lanes: int = 2, entries_max: int = 2048) -> None:
        super().__init__(pool, lanes=lanes, entries_max=entries_max)
        clock = asyncio.get_running_loop().time
        outage = Outage(clock)
        self._lanes = [
            MortalLane(
                pool, finish=self._finish, hold=self._hold, outage=outage, counts=self.counts, clock=clock
            )
            for _ in range(lanes)
        ]

    async def _run(self, lane: Lane) -> None:
        await lane.run()


PARTS: Final = Parts(lanes=UnwatchedLanes)
