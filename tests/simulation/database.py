"""The database as it is seen from outside: latencies, locks of other servers, and all the ways to fail.

A statement is executed at one moment and its answer arrives at a later one. Between the two anything may
happen: a cancelled statement may have been committed or not, a lost connection likewise.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg

from tests.simulation.connection import ModelConnection, Result, Statement
from tests.simulation.queries import (
    IN_TRANSACTION,
    MODELLED,
    NAMES,
    PUSHES,
    PUSHES_TOGETHER,
    WRITING,
    answer,
    file_row,
    locked,
)
from tests.simulation.system import Caller
from tests.simulation.tables import Row, Tables

Schedule = Callable[[float, str, Callable[[], None]], None]

UNKNOWN_STATUS: Final = 99
"""One that a later release of the functions may answer."""


@dataclass(slots=True)
class Weather:
    """How likely what goes wrong is, for each statement; and how long an answer takes, each way."""

    latency_s: float = 0.001
    slow: float = 0.0
    slow_s: float = 1.0
    lost_before: float = 0.0
    lost_after: float = 0.0
    refused: float = 0.0
    hangs: float = 0.0
    unknown_status: float = 0.0
    cancel_wins: float = 0.5
    store_fails: float = 0.0
    """How likely each way to the file storage, or back, is to fail."""

    @property
    def faultless(self) -> bool:
        """Every statement is answered, sooner or later."""
        database = self.slow or self.lost_before or self.lost_after or self.refused or self.hangs
        return not (database or self.store_fails)


class Database:
    """Executes statements of its connections over `tables`."""

    def __init__(
        self, tables: Tables, weather: Weather, *, chance: random.Random, schedule: Schedule
    ) -> None:
        self.tables = tables
        self.weather = weather
        self._chance = chance
        self._draw = chance.random
        self._schedule = schedule
        self._connections: dict[ModelConnection, None] = {}
        self._down = False
        self._locked: dict[UUID, int] = {}
        self._held: dict[ModelConnection, UUID] = {}
        """The space whose row a transaction under way has locked."""
        self._file_locks: dict[int, ModelConnection] = {}
        """Advisory locks, by number."""
        self._keep_backups_out: dict[ModelConnection, None] = {}
        """Transactions that share the lock of backups."""
        self._backup: Callable[[], None] | None = None
        """What a backup does once it has its lock, as long as it wants or has it."""
        self._committing: dict[ModelConnection, Statement] = {}
        self._waiting: list[Statement] = []

    async def connect(
        self,
        dsn: str,
        *,
        server_settings: dict[str, str],
        command_timeout: float,
        loop: asyncio.AbstractEventLoop | None = None,
        **options: Any,  # of the driver, which are of no meaning here
    ) -> ModelConnection:
        """In place of `asyncpg.connect`.

        Raises:
            ConnectionRefusedError: there is an outage.
        """
        await self.travel("connect")
        if self._down:
            raise ConnectionRefusedError
        con = ModelConnection(self, asyncio.get_running_loop(), server_settings, command_timeout)
        self._connections[con] = None
        return con

    async def travel(self, label: str) -> None:
        """Wait for as long as it takes to get here."""
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            if not arrived.done():
                arrived.set_result(None)

        self._schedule(self._latency(), label, arrive)
        await arrived

    # What connections ask.

    def send(self, statement: Statement) -> None:
        """Take a statement on its way, to one of its fates."""
        if statement.text == "COMMIT":
            self._committing[statement.con] = statement
        weather, fate = self.weather, self._draw()
        delay_s = self._latency()
        for likelihood, end in (
            (weather.slow, self._slowly),
            (weather.lost_before, self._lose),
            (weather.lost_after, self._execute_and_lose),
            (weather.refused, self._refuse),
            (weather.hangs, self._hang),
        ):
            if fate < likelihood:
                self._schedule(delay_s, "fault", lambda end=end: end(statement))  # type: ignore[misc]  # mypy cannot type its default
                return
            fate -= likelihood
        self._schedule(delay_s, "statement", lambda: self._execute(statement))

    def cancel(self, statement: Statement) -> None:
        """Stop it if it has not been executed, and if the seed says so."""

        def arrive() -> None:
            cancelled = asyncpg.QueryCanceledError("canceling statement due to user request")
            if statement.executed:
                if statement.silent:
                    self._answer(statement, cancelled)
            elif statement.silent or self._draw() < self.weather.cancel_wins:
                statement.executed = True
                self._forget(statement)
                self._answer(statement, cancelled)

        self._schedule(self._latency(), "cancel", arrive)

    def closed(self, con: ModelConnection) -> None:
        """Forget a connection, whose transaction is over. Chance says whether a commit on its way arrived."""
        self._connections.pop(con, None)
        committing = self._committing.get(con)
        if committing is not None and not committing.executed:
            committing.executed = True
            if con.commit is not None and self._draw() < 0.5:
                con.commit()
        self._end_transaction(con)

    # Fates.

    def _slowly(self, statement: Statement) -> None:
        self._schedule(self._draw() * self.weather.slow_s, "slow", lambda: self._execute(statement))

    def _lose(self, statement: Statement) -> None:
        statement.executed = True
        statement.con.lost()

    def _execute_and_lose(self, statement: Statement) -> None:
        self._execute(statement, answer=False)
        statement.con.lost()

    def _refuse(self, statement: Statement) -> None:
        if not statement.executed:
            statement.executed = True
            self._answer(
                statement, asyncpg.QueryCanceledError("canceling statement due to statement timeout")
            )

    def _hang(self, statement: Statement) -> None:
        """Executed or not, no answer comes: the driver gives up in the end, and cancels."""
        if statement.cancelled:
            self._execute(statement)
            return
        statement.silent = True
        if self._draw() < 0.5:
            self._execute(statement, answer=False)

    # Executing.

    def _execute(self, statement: Statement, *, answer: bool = True) -> None:
        if statement.executed:
            return
        name = NAMES.get(statement.text, "")
        spaces = locked(name, statement.args)
        if any(space in self._locked for space in spaces) or self._waits_for_a_file(statement, name):
            self._wait(statement)
            return
        alive = statement.con.is_connected()
        if not alive and (name not in WRITING or self._draw() < 0.5):
            return
        statement.executed = True
        result = self._result(statement, name)
        if answer and not statement.silent:
            self._answer(statement, result)

    def _result(self, statement: Statement, name: str) -> Result:
        con, text = statement.con, statement.text
        if text.startswith("BEGIN"):
            con.in_transaction, con.repeatable = True, text != "BEGIN"
            return []
        if text in ("ROLLBACK", "COMMIT"):
            if text == "COMMIT" and con.commit is not None:
                con.commit()
            self._end_transaction(con)
            return []
        if text == "FETCH":
            return []
        if name in IN_TRANSACTION:
            return self._in_transaction(statement, name)
        if name not in MODELLED:
            return ValueError(f"the model does not know: {text}")
        tables = self.tables
        if con.in_transaction and con.repeatable:
            con.snapshot = tables = con.snapshot or tables.snapshot()
        if name in PUSHES and self._draw() < self.weather.unknown_status:
            return self._from_a_later_release(name, statement)
        return answer(name, tables, statement.args)

    # Transactions that write: of one file.

    def _waits_for_a_file(self, statement: Statement, name: str) -> bool:
        """Whether somebody else has the file's lock."""
        return name == "lock_file" and self._file_locks.get(statement.args[0]) not in (None, statement.con)

    def _in_transaction(self, statement: Statement, name: str) -> Result:
        """What is written shows at the commit; until then the space's row is locked."""
        con, args = statement.con, statement.args
        if name == "lock_file":
            number, space, file = args
            self._file_locks[number] = con
            held = self._backup is not None
            if not held:
                self._keep_backups_out[con] = None
            return [(*file_row(self.tables, space, file), held)]
        if name == "forget_file":
            rows, con.commit = self.tables.forget_file(*args)
            return rows
        space, file, record, size, dek, overwrite, client, cids, local_only = args
        caller = Caller(client, cids, local_only=local_only)
        row, con.commit = self.tables.record_file(space, file, record, size, dek, overwrite, caller)
        self._held[con] = space
        self.hold(space)
        return [row]

    def _end_transaction(self, con: ModelConnection) -> None:
        con.in_transaction, con.snapshot, con.commit = False, None, None
        self._committing.pop(con, None)
        for number in [number for number, holder in self._file_locks.items() if holder is con]:
            del self._file_locks[number]
        self._leave_to_backup(con)
        space = self._held.pop(con, None)
        if space is not None:
            self.release(space)
        else:
            self._go_on()

    def _from_a_later_release(self, name: str, statement: Statement) -> list[Row]:
        """Write nothing, and say so in a way that this release does not know."""
        count = len(statement.args[1]) if name in PUSHES_TOGETHER else 1
        return [(UNKNOWN_STATUS, 0, None, None, None, None)] * count

    def _answer(self, statement: Statement, result: Result) -> None:
        label = f"answer {NAMES.get(statement.text, '')}"
        self._schedule(self._latency(), label, lambda: statement.con.answered(statement, result))

    def _latency(self) -> float:
        return self._draw() * self.weather.latency_s

    # A backup's lock.

    def begin_backup(self, snapshot: Callable[[], None]) -> None:
        """Want the lock of backups; `snapshot` is called when nobody shares it any more."""
        self._backup = snapshot
        if not self._keep_backups_out:
            snapshot()

    def end_backup(self) -> None:
        """Let go of it, or want it no longer."""
        self._backup = None

    def _leave_to_backup(self, con: ModelConnection) -> None:
        if con in self._keep_backups_out:
            del self._keep_backups_out[con]
            if self._backup is not None and not self._keep_backups_out:
                self._backup()

    # Other servers' locks.

    def lock(self, space: UUID, seconds: float) -> None:
        """Let another server hold the lock of a space's row for a while."""
        self.hold(space)
        self._schedule(seconds, "unlock", lambda: self.release(space))

    def hold(self, space: UUID) -> None:
        """Let another server hold the lock of a space's row until `release`."""
        self._locked[space] = self._locked.get(space, 0) + 1

    def is_locked(self, space: UUID) -> bool:
        """Whether somebody holds the lock of a space's row just now."""
        return space in self._locked

    def release(self, space: UUID) -> None:
        """Let go of a lock that another server held, and run what has waited for it."""
        self._locked[space] -= 1
        if not self._locked[space]:
            del self._locked[space]
        self._go_on()

    def _go_on(self) -> None:
        """Run what has waited, as far as it need not wait any more."""
        waiting, self._waiting = self._waiting, []
        for statement in waiting:
            self._execute(statement)

    def _wait(self, statement: Statement) -> None:
        if statement in self._waiting:
            return
        self._waiting.append(statement)

        def give_up() -> None:
            if not statement.executed:
                statement.executed = True
                self._forget(statement)
                self._answer(
                    statement, asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
                )

        self._schedule(statement.con.lock_timeout_s, "lock timeout", give_up)

    def _forget(self, statement: Statement) -> None:
        if statement in self._waiting:
            self._waiting.remove(statement)

    # Outages.

    def lose(self, count: int) -> None:
        """Cut some connections, chosen by the seed."""
        open_now = list(self._connections)
        for con in self._chance.sample(open_now, min(count, len(open_now))):
            con.lost()

    def outage(self, seconds: float) -> None:
        """Cut every connection and refuse new ones for a while."""
        self._down = True
        self.lose(len(self._connections))

        def over() -> None:
            self._down = False

        self._schedule(seconds, "outage over", over)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def lock_waits(self) -> int:
        """How many statements wait for a lock."""
        return len(self._waiting)

    @property
    def idle_in_transaction(self) -> int:
        """How many connections are in a transaction and have nothing to do."""
        return sum(con.in_transaction and not con.is_busy() for con in self._connections)
