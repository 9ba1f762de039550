"""`asyncpg.Connection` over the model: what the stores call, with the driver's ways of ending.

One statement at a time. A cancelled one is cancelled at the server too, which may come too late; the
connection takes no other before that is settled. A lost one fails what was under way and tells its listeners.
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg
from asyncpg.connection import Connection

from tests.simulation.queries import Args
from tests.simulation.tables import Row, Tables

if TYPE_CHECKING:
    Base = Connection[asyncpg.Record]
else:
    Base = Connection

Result = list[Row] | Exception


class Statement:
    """One statement on its way to the database and back."""

    __slots__ = ("args", "cancelled", "con", "executed", "silent", "text", "waiter")

    def __init__(
        self, con: "ModelConnection", text: str, args: Args, waiter: "asyncio.Future[list[Row]]"
    ) -> None:
        self.con = con
        self.text = text
        self.args = args
        self.waiter = waiter
        self.executed = False
        self.cancelled = False
        self.silent = False
        """It hangs: only a cancellation is answered."""


class Server(Protocol):
    """What a connection asks of the database."""

    def send(self, statement: Statement) -> None:
        """Take a statement on its way; `answered` of its connection is called, or `lost`, or neither."""

    def cancel(self, statement: Statement) -> None:
        """Try to stop it; `answered` is called all the same."""

    def closed(self, con: "ModelConnection") -> None:
        """A connection is no more."""


class ModelConnection(Base):
    """A session of the modelled database.

    Args:
        settings: of the session; `lock_timeout` is heeded.
        command_timeout_s: after which the driver gives a statement up.
    """

    __slots__ = (
        "_cancelling",
        "_command_timeout_s",
        "_connected",
        "_server",
        "_statement",
        "commit",
        "in_transaction",
        "lock_timeout_s",
        "portal",
        "repeatable",
        "snapshot",
    )

    def __init__(
        self,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        settings: dict[str, str],
        command_timeout_s: float,
    ) -> None:
        # Not the base class's: it reads the settings of a real session.
        self._loop: asyncio.AbstractEventLoop = loop
        self._protocol: Any = self  # the driver's pool asks it about cancellations
        self._transport: Any = None
        self._aborted = False
        self._top_xact: Any = None
        self._pool_release_ctr = 0
        self._listeners: dict[str, Any] = {}
        self._log_listeners: set[Any] = set()
        self._query_loggers: set[Any] = set()
        self._cancellations: set[Any] = set()
        self._termination_listeners: set[Any] = set()
        self._proxy: Any = None
        self._pool_holder: Any = None
        self._server = server
        self._command_timeout_s = command_timeout_s
        self._connected = True
        self._statement: Statement | None = None
        self._cancelling: asyncio.Future[None] | None = None
        self.lock_timeout_s = seconds(settings["lock_timeout"])
        self.in_transaction = False
        self.repeatable = False
        self.snapshot: Tables | None = None
        self.commit: Callable[[], None] | None = None
        """What the commit of the transaction under way does."""
        self.portal: list[Row] = []

    def __del__(self) -> None:
        """The base class would warn."""

    # What the stores call.

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        return await self._run(query, args)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        rows = await self._run(query, args)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        rows = await self._run(query, args)
        return rows[0][0] if rows else None

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        await self._run(query, args)
        return ""

    def cursor(self, query: str, *args: Any, **options: Any) -> Any:
        return Portal(self, query, args)

    async def _run(self, text: str, args: Sequence[Any]) -> list[Row]:
        await self._wait_for_cancellation(None)
        if self.is_closed():
            raise asyncpg.InterfaceError("connection is closed")
        if self._statement is not None:
            raise asyncpg.InterfaceError("another operation is in progress")
        waiter: asyncio.Future[list[Row]] = self._loop.create_future()
        statement = self._statement = Statement(self, text, args, waiter)
        timer = self._loop.call_later(self._command_timeout_s, self._timed_out, statement)
        self._server.send(statement)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._cancel_statement(statement)
            raise
        finally:
            timer.cancel()

    def _timed_out(self, statement: Statement) -> None:
        if not statement.waiter.done():
            self._cancel_statement(statement)
            statement.waiter.set_exception(TimeoutError())

    def _cancel_statement(self, statement: Statement) -> None:
        if self._statement is statement and self._connected and not statement.cancelled:
            statement.cancelled = True
            settled = self._cancelling = self._loop.create_future()
            self._server.cancel(statement)
            timer = self._loop.call_later(self._command_timeout_s, self.terminate)
            settled.add_done_callback(lambda _: timer.cancel())

    # What the database reports.

    def answered(self, statement: Statement, result: Result) -> None:
        """The answer arrives, of a cancelled statement too."""
        if self._statement is not statement or not self._connected:
            return
        self._statement = None
        if not statement.waiter.done():
            if isinstance(result, Exception):
                statement.waiter.set_exception(result)
            else:
                statement.waiter.set_result(result)
        self._settle_cancellation()

    def lost(self) -> None:
        """The network or the server ended it."""
        if self._connected:
            self.abort()
            self.terminate()

    # What the driver's pool calls, and its base class.

    queries_count = 0

    def is_connected(self) -> bool:
        return self._connected

    def is_closed(self) -> bool:
        return self._aborted or not self._connected

    def is_in_transaction(self) -> bool:
        return self.in_transaction

    def is_busy(self) -> bool:
        """Whether a statement is under way."""
        return self._statement is not None

    def _is_cancelling(self) -> bool:
        return self._cancelling is not None

    async def _wait_for_cancellation(self, timeout: float | None) -> float | None:
        while self._cancelling is not None:
            await asyncio.shield(self._cancelling)
        return timeout

    def _settle_cancellation(self) -> None:
        if self._cancelling is not None:
            self._cancelling.set_result(None)
            self._cancelling = None

    def abort(self) -> None:
        """As the driver's protocol: whoever waits for an answer is told."""
        if not self._connected:
            return
        self._connected = False
        statement, self._statement = self._statement, None
        self.in_transaction = False
        self.snapshot = None
        if statement is not None and not statement.waiter.done():
            gone = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
            statement.waiter.set_exception(gone)
        self._settle_cancellation()
        self._server.closed(self)

    async def close(self, *, timeout: float | None = None) -> None:
        try:
            await self._wait_for_cancellation(None)
        finally:
            self.abort()
            self.terminate()

    def _mark_stmts_as_closed(self) -> None:
        """There are no prepared statements."""


class Portal:
    """What `Connection.cursor` returns: awaited, it is open."""

    def __init__(self, con: ModelConnection, query: str, args: Sequence[Any]) -> None:
        self._con = con
        self._query = query
        self._args = args
        self._rows: list[Row] = []

    def __await__(self) -> Generator[Any, None, "Portal"]:
        return self._open().__await__()

    async def _open(self) -> "Portal":
        if not self._con.in_transaction:
            raise asyncpg.NoActiveSQLTransactionError("cursor cannot be created outside of a transaction")
        self._rows = await self._con._run(self._query, self._args)
        return self

    async def fetch(self, count: int) -> list[Row]:
        await self._con._run("FETCH", ())
        rows, self._rows = self._rows[:count], self._rows[count:]
        return rows


def seconds(text: str) -> float:
    """A duration as the session settings have it."""
    return float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
