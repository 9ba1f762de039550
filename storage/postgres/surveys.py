"""What operators ask of a whole database: how much there is, and of whom (docs/operations.md 15.2).

A table may have any size, and the server is at work meanwhile. So of a table at most `EXACT_BYTES_MAX` of
rows are read unless all is asked for: of a larger one a sample of its pages, from which is estimated. Each
question is one read-only transaction, with an end to its patience.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from less_sync.storage.errors import translate
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.queries import sql

if TYPE_CHECKING:
    import asyncpg

    from less_sync.storage.postgres.pool import PooledConnection

EXACT_BYTES_MAX: Final = 128 * 1024 * 1024
"""Of the rows of one table, values kept elsewhere not counted: read in a second or two."""
QUESTION_S: Final = 60.0
"""For a statement. The driver waits twice as long: for a database that does not answer at all."""
DATABASE_ID_DIGITS: Final = 16
COUNTED: Final = ("files", "invitations", "members", "records", "revocations", "spaces")
ALL_IDS: Final = (UUID(int=0), UUID(int=2**128 - 1))

_BEGIN: Final = """
SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_sort = on;
SET LOCAL enable_incremental_sort = on"""


class IdRange(NamedTuple):
    """Ids of spaces, both ends included."""

    first: UUID
    last: UUID


class Order(StrEnum):
    """By what spaces are listed, the most first."""

    BYTES = "bytes"
    RECORDS = "records"
    CURSOR = "cursor"
    CREATED = "created"


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table, and what was done to its rows since the database began to count."""

    row_bytes: int
    index_bytes: int
    total_bytes: int
    """With indexes, and large values, which are kept beside the rows."""
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Weight:
    """What a space weighs; estimated where its table is read in part."""

    space: UUID
    records: int
    """Tombstones included."""
    bytes: int
    """Of blobs, DEKs and contents of files."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is. Values of a table that was read in part are estimates."""

    percent: Mapping[str, float]
    """Table to the share of its pages that was read."""
    values: Mapping[str, int]
    """Names of columns of the queries `survey_...` to what they say."""
    own: Mapping[str, int]
    """Table to its rows of the server's own spaces, which the values leave out; not named: none."""
    tables: Mapping[str, TableSize]
    by_bytes: Sequence[Weight]
    by_records: Sequence[Weight]


@dataclass(frozen=True, slots=True)
class SpaceFigures:
    """One space, counted."""

    space: UUID
    shared: bool
    home: str | None
    """The server where it lives; None: here."""
    cursor: int
    created_at: datetime
    records: int
    tombstones: int
    record_bytes: int
    """Of blobs and DEKs."""
    files: int
    file_bytes: int
    members: int
    """Entries of its membership log."""
    revocations: int

    @property
    def bytes(self) -> int:
        """All that it holds."""
        return self.record_bytes + self.file_bytes


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the database's catalogue says of it, roughly. None: it was not analyzed yet."""

    spaces: int | None
    """This and the two below: rows."""
    records: int | None
    files: int | None
    storage_bytes: int
    """Of tables and indexes."""
    file_bytes: int | None
    """Of contents of files."""
    database_id: str | None
    """16 hexadecimal digits, the same for all who use this database; None: we may not know it."""


class PostgresSurveys:
    """The questions. Each raises `Unavailable`, with SQLSTATE 57014 when it took too long, or `StorageError`.

    Args:
        left_out: a range of ids whose spaces are the server's own.
        question_s: how long one statement may take.
        read_bytes_max: of the rows of a table, unless all is asked for.
    """

    def __init__(
        self,
        pool: PostgresPool,
        *,
        left_out: IdRange,
        question_s: float = QUESTION_S,
        read_bytes_max: int = EXACT_BYTES_MAX,
    ) -> None:
        self._pool = pool
        self._left_out = left_out
        self._question_s = question_s
        self._read_bytes_max = read_bytes_max

    @asynccontextmanager
    async def _looking(self) -> "AsyncIterator[PooledConnection]":
        """A snapshot in which nothing is written. Plans are the database's choice: what asks reads all."""
        try:
            async with (
                self._pool.connection() as con,
                con.transaction(isolation="repeatable_read", readonly=True),
            ):
                await con.execute(_BEGIN)
                await con.execute(f"SET LOCAL statement_timeout = {int(self._question_s * 1000)}")
                yield con
        except Exception as error:
            raise translate(error) from error

    async def _ask(self, con: "PooledConnection", name: str, *args: object) -> "list[asyncpg.Record]":
        return await con.fetch(sql(name), *args, timeout=2 * self._question_s)

    async def sizes(self) -> Mapping[str, TableSize]:
        """The tables that are counted: cheap, and as of now."""
        async with self._looking() as con:
            return await self._sizes(con)

    async def _sizes(self, con: "PooledConnection") -> Mapping[str, TableSize]:
        return {row[0]: TableSize(*row[1:]) for row in await self._ask(con, "table_sizes", list(COUNTED))}

    async def catalogue(self) -> Catalogue:
        """Estimates that take no look at any row."""
        async with self._looking() as con:
            [row] = await self._ask(con, "catalogue")
        database_id = None
        if row["system"] is not None:
            name = "\n".join((row["system"], row["database"], row["schema"]))
            database_id = sha256(name.encode()).hexdigest()[:DATABASE_ID_DIGITS]
        return Catalogue(
            spaces=row["spaces"],
            records=row["records"],
            files=row["files"],
            storage_bytes=row["storage_bytes"],
            file_bytes=row["file_bytes"],
            database_id=database_id,
        )

    def _percent(self, tables: Mapping[str, TableSize], *, exact: bool) -> Mapping[str, float]:
        """How much of each table is read."""
        limit = self._read_bytes_max
        return {
            name: 100.0 if exact or size.row_bytes <= limit else 100.0 * limit / size.row_bytes
            for name, size in tables.items()
        }

    async def survey(self, *, top: int, exact: bool) -> Survey:
        """Count everything, of large tables by a sample unless `exact`, and name the heaviest spaces.

        Args:
            top: how many of them.
        """
        async with self._looking() as con:
            tables = await self._sizes(con)
            percent = self._percent(tables, exact=exact)
            values: dict[str, int] = {}
            for name, part in percent.items():
                more = () if name == "invitations" else self._left_out
                [row] = await self._ask(con, f"survey_{name}", part, *more)
                values |= {column: round(value * 100 / part) for column, value in row.items()}
            [own] = await self._ask(con, "survey_own", *self._left_out)
            by_bytes, by_records = [
                await self._heaviest(con, percent, order, ids=IdRange(*ALL_IDS), limit=top, offset=0)
                for order in (Order.BYTES, Order.RECORDS)
            ]
            return Survey(percent, values, dict(own), tables, by_bytes, by_records)

    async def heaviest(self, *, top: int) -> Sequence[Weight]:
        """The spaces with most bytes; by a sample where a table is large."""
        async with self._looking() as con:
            percent = self._percent(await self._sizes(con), exact=False)
            return await self._heaviest(con, percent, Order.BYTES, ids=IdRange(*ALL_IDS), limit=top, offset=0)

    async def _heaviest(
        self,
        con: "PooledConnection",
        percent: Mapping[str, float],
        order: Order,
        *,
        ids: IdRange,
        limit: int,
        offset: int,
    ) -> Sequence[Weight]:
        rows = await self._ask(
            con,
            "spaces_by_weight",
            percent["records"],
            *self._left_out,
            order is Order.RECORDS,
            percent["files"],
            *ids,
            limit,
            offset,
        )
        return [Weight(row[0], round(row[1]), round(row[2])) for row in rows]

    async def page(
        self, order: Order, *, ids: IdRange, limit: int, offset: int, exact: bool
    ) -> tuple[Sequence[SpaceFigures], bool]:
        """A page of the spaces within `ids`, each of them counted; and whether their order is certain.

        By bytes and by records a large database is put in order by a sample unless `exact`.
        """
        async with self._looking() as con:
            if order in (Order.BYTES, Order.RECORDS):
                tables = await self._sizes(con)
                percent = self._percent(tables, exact=exact)
                found = [
                    one.space
                    for one in await self._heaviest(con, percent, order, ids=ids, limit=limit, offset=offset)
                ]
                certain = percent["records"] == percent["files"] == 100.0
            else:
                name = "spaces_by_cursor" if order is Order.CURSOR else "spaces_by_age"
                found = [row[0] for row in await self._ask(con, name, *self._left_out, *ids, limit, offset)]
                certain = True
            return await self._figures(con, found), certain

    async def describe(self, space: UUID) -> SpaceFigures | None:
        """One space, counted; None when there is none."""
        async with self._looking() as con:
            found = await self._figures(con, [space])
            return found[0] if found else None

    async def _figures(self, con: "PooledConnection", spaces: Sequence[UUID]) -> Sequence[SpaceFigures]:
        return [SpaceFigures(*row) for row in await self._ask(con, "describe_spaces", spaces)]
