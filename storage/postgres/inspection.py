"""A look at a database by somebody who doubts it (docs/operations.md 15.1): reads only, over one connection.

The connection has the settings of the pool's, so that plans are those that the server gets. It is not warmed,
which fails where nothing is migrated.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from less_sync.storage.errors import translate
from less_sync.storage.postgres.place import place_of, reason_of
from less_sync.storage.postgres.pool import SESSION_SETTINGS, session_settings
from less_sync.storage.postgres.pull_values import INLINE_BYTES_MAX, ROWS_FIRST
from less_sync.storage.queries import sql
from less_sync.storage.types import ActiveKey

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import Connection

CONNECT_S: Final = 5.0
ANSWER_S: Final = 10.0
CLOSE_S: Final = 1.0
PULLED_TABLES: Final = ("files", "members", "records")
"""What a pull reads by cursor."""
TABLES: Final = (
    *PULLED_TABLES,
    "federation_signing_keys",
    "invitations",
    "rate_limit_actions",
    "revocations",
    "spaces",
)

_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_NIL: Final = UUID(int=0)


class NotReached(Exception):
    """The database let nobody in; the text says where it is and why not, and holds nothing private."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Which server answered."""

    version: int
    """As `server_version_num`: 180001."""
    named: str
    now_s: float
    """By its clock, seconds since 1970."""
    standby: bool
    """It only follows another server, and takes no writes."""
    address: str | None
    """None: reached by a Unix socket."""
    tls: str | None
    """The version of TLS; None: the way to it is not encrypted."""


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """How many connections there may be."""

    most: int
    kept: int
    """For superusers and whom they name."""
    used: int
    ours: int
    """Of servers and commands of this project, this one not counted."""
    bound: int | None
    """Of this role, or in this database."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What the database keeps of the state of a table."""

    name: str
    live: int
    dead: int
    changed: int
    """Rows, since the table was analysed."""
    analysed: datetime | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the database would run a query."""

    query: str
    root: Mapping[str, Any]
    """The top node, as `EXPLAIN (FORMAT JSON)` has it."""


@asynccontextmanager
async def inspecting(url: str) -> "AsyncIterator[Inspection]":
    """Connect.

    Raises:
        NotReached: within 5 s nobody let us in.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            con = await asyncpg.connect(
                url,
                timeout=CONNECT_S,
                command_timeout=ANSWER_S,
                server_settings=session_settings(url),
            )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise NotReached(f"cannot connect to {place_of(url)}: {reason_of(error)}") from error
    try:
        yield Inspection(con)
    finally:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await con.close(timeout=CLOSE_S)


class Inspection:
    """The questions, one at a time. Each raises a `StorageError`."""

    def __init__(self, con: "Connection") -> None:
        self._con = con

    async def _ask(self, text: str, *args: object) -> "list[asyncpg.Record]":
        try:
            return await self._con.fetch(text, *args)
        except Exception as error:
            raise translate(error) from error

    async def server(self) -> ServerFacts:
        """Which server it is."""
        [row] = await self._ask(sql("inspect_server"))
        return ServerFacts(*row)

    async def connections(self) -> ConnectionFacts:
        """How many connections there are and may be."""
        [row] = await self._ask(sql("inspect_connections"), SESSION_SETTINGS["application_name"])
        return ConnectionFacts(*row)

    async def missing_rights(self) -> Sequence[str]:
        """What the role needs and may not do: `records: DELETE`."""
        rows = await self._ask(sql("inspect_rights"), TABLES, _PRIVILEGES)
        return [row[0] for row in rows]

    async def tables(self) -> Sequence[TableFacts]:
        """The state of the tables that pulls read."""
        rows = await self._ask(sql("inspect_tables"), PULLED_TABLES)
        return [TableFacts(*row) for row in rows]

    async def broken_indexes(self) -> Sequence[str]:
        """Names of indexes that are not used."""
        return [row[0] for row in await self._ask(sql("inspect_broken_indexes"), TABLES)]

    async def has_table(self, name: str) -> bool:
        """Whether there is such a table."""
        [row] = await self._ask(sql("inspect_table_there"), name)
        return bool(row[0])

    async def active_keys(self) -> Sequence[ActiveKey]:
        """This server's own keys, as `FederationKeyStore.active`."""
        return [ActiveKey(*row) for row in await self._ask(sql("active_federation_keys"))]

    async def any_home_elsewhere(self) -> bool:
        """Whether the home of any space is another server."""
        [row] = await self._ask(sql("any_remote_home"))
        return bool(row[0])

    async def pull_plans(self) -> Sequence[Plan]:
        """How pulls would be run: of a space that is not there, and of the one with the most records."""
        spaces = [_NIL, *(row[0] for row in await self._ask(sql("inspect_commonest_space")))]
        return [
            Plan(name, await self._plan(name, space, *values))
            for space in spaces
            for name, values in (
                ("pull_first", (0, ROWS_FIRST, INLINE_BYTES_MAX)),
                ("pull_first", (5, ROWS_FIRST, INLINE_BYTES_MAX)),
                ("pull_all", (5, 5, INLINE_BYTES_MAX)),
                ("pull_page", (5, 5, INLINE_BYTES_MAX, _NIL, 10**9, ROWS_FIRST)),
            )
        ]

    async def _plan(self, name: str, *values: object) -> Mapping[str, Any]:
        [row] = await self._ask(f"EXPLAIN (FORMAT JSON) {sql(name)}", *values)
        [explained] = json.loads(row[0])
        root: Mapping[str, Any] = explained["Plan"]
        return root
