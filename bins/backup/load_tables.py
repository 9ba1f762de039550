"""Rows of a backup, loaded into the tables of a database in one transaction, and proven to be the same."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Final

from less_sync.bins.backup.manifest import Manifest, TableEntry
from less_sync.bins.backup.reading import Tally, compare, pieces
from less_sync.bins.backup.watching import Doing, Progress
from less_sync.bins.errors import CommandError
from less_sync.migrations import Connection, RestoredDatabase, copy_query, quoted
from less_sync.sync.canary import CANARY_FIRST, CANARY_LAST

COUNTED_MAX: Final = 100_000
"""Rows of a table, counted to tell what is there."""

_SPACE_COLUMN: Final = {"spaces": "id", **dict.fromkeys(("records", "files", "members"), "space_id")}


async def rows_there(database: RestoredDatabase) -> Mapping[str, int]:
    """How many rows each table has, where it has any; at most `COUNTED_MAX` are counted of one.

    The space of the delivery watchdog is no content: it comes by itself while a server runs.
    """
    found = {}
    for name in await database.tables():
        query = (
            f"SELECT count(*) FROM (SELECT 1 FROM {quoted(name)}{_but_canaries(name)} LIMIT {COUNTED_MAX}) t"
        )
        count = int(await database.connection.fetchval(query))
        if count:
            found[name] = count
    return found


def _but_canaries(table: str) -> str:
    column = _SPACE_COLUMN.get(table)
    return "" if column is None else f" WHERE {column} NOT BETWEEN '{CANARY_FIRST}' AND '{CANARY_LAST}'"


async def holds(database: RestoredDatabase, manifest: Manifest, progress: Progress) -> bool:
    """Whether the tables, at the backup's versions, hold exactly the backup's rows."""
    if await database.versions() != [*manifest.schema.shared, *manifest.schema.own]:
        return False
    async with database.connection.transaction(isolation="repeatable_read", readonly=True):
        for table in manifest.tables:
            query = f"SELECT count(*) FROM {quoted(table.name)}"
            if await database.connection.fetchval(query) != table.rows:
                return False
        progress.begin(Doing.PROVING, sum(table.rows for table in manifest.tables))
        for table in manifest.tables:
            if (await _copied_out(database.connection, table, progress)).sha256 != table.sha256:
                return False
    return True


async def empty(database: RestoredDatabase) -> None:
    """Remove all rows, in one transaction."""
    names = await database.tables()
    if names:
        await database.connection.execute(f"TRUNCATE {', '.join(map(quoted, names))}")


async def load(database: RestoredDatabase, folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Replace all rows by those of the backup and take the mark away, in one transaction.

    Before it commits, every table is read back in the order of its key and compared with the manifest.

    Raises:
        BackupError: a file of the backup changed since it was checked.
        CommandError: the database gives back something else than was loaded.
    """
    tables = {table.name: table for table in manifest.tables}
    connection = database.connection
    async with connection.transaction():
        await empty(database)
        progress.begin(Doing.LOADING, sum(table.rows for table in manifest.tables))
        for name in await database.tables():  # whatever is referred to comes first
            await _copy_in(connection, folder, tables[name], progress)
            await _move_sequences(connection, tables[name])
        progress.begin(Doing.PROVING, sum(table.rows for table in manifest.tables))
        for table in manifest.tables:
            if (await _copied_out(connection, table, progress)).sha256 != table.sha256:
                raise CommandError(
                    f"the database gives back other rows of {table.name} than were loaded; nothing was kept"
                )
        await database.unmark()


async def _copy_in(connection: Connection, folder: Path, table: TableEntry, progress: Progress) -> None:
    path, tally = folder / table.path, Tally()

    async def text() -> AsyncIterator[bytes]:
        lines = 0
        async for piece in pieces(path, tally, packed=True):
            yield piece
            progress.advance(tally.lines - lines)
            lines = tally.lines
        compare(path, table, tally)

    copying = connection.copy_to_table(table.name, source=text(), columns=table.columns, format="text")
    await _unless_lost(connection, copying)


async def _unless_lost(connection: Connection, work: Coroutine[object, object, object]) -> None:
    """Do what writes to a database, and end it with the connection.

    asyncpg goes on to wait until it may write when the database dies while its side of the way is full.

    Raises:
        ConnectionError: the connection was lost. Or as `work`.
    """
    lost = asyncio.Event()

    def tell(_: object) -> None:
        lost.set()

    connection.add_termination_listener(tell)
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(lost.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ConnectionError
        tasks[0].result()
    finally:
        connection.remove_termination_listener(tell)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _move_sequences(connection: Connection, table: TableEntry) -> None:
    """Let what is numbered go on behind the rows that were loaded."""
    for column in table.columns:
        sequence = await connection.fetchval(
            "SELECT pg_get_serial_sequence(quote_ident($1), $2)", table.name, column
        )
        if sequence is not None:
            highest = f"SELECT max({quoted(column)}) FROM {quoted(table.name)}"
            await connection.execute(
                f"SELECT setval('{sequence}', coalesce(m, 1), m IS NOT NULL) FROM ({highest}) t(m)"
            )


async def _copied_out(connection: Connection, table: TableEntry, progress: Progress) -> Tally:
    tally = Tally()

    async def add(piece: bytes) -> None:
        lines = tally.lines
        tally.add(piece)
        progress.advance(tally.lines - lines)

    await connection.copy_from_query(copy_query(table.name, table.columns), output=add, format="text")
    return tally


async def analyze(database: RestoredDatabase) -> None:
    """Let the planner know what the tables hold now."""
    names = await database.tables()
    await database.connection.execute(f"ANALYZE {', '.join(map(quoted, names))}")
