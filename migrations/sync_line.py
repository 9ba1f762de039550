"""The line of the sync server: taken over from the existing servers and continued.

Its bookkeeping and adoption are in `history.py`, the tables it expects in `schema.py`.
"""

from typing import Final

from less_sync.migrations import history, schema
from less_sync.migrations.catalog import OWN_FIRST, SCRIPTS, Catalog, Migration, load
from less_sync.migrations.connection import Connection
from less_sync.migrations.half_restored import refuse_half_restored
from less_sync.migrations.line import History, Line


class SyncLine(Line):
    """Versions 1-12 as the existing servers record them, and this project's own from 101."""

    folder = SCRIPTS
    first = OWN_FIRST

    def load(self) -> Catalog:
        """The scripts beside this file."""
        return load()

    async def refuse_busy(self, connection: Connection) -> None:
        """Wait for no restore: it may take hours."""
        await refuse_half_restored(connection)

    async def read(self, connection: Connection, catalog: Catalog) -> History:
        """Checks 1 to 4 of docs/storage.md 11.1."""
        return await history.read(connection, catalog)

    async def check(self, connection: Connection, past: History) -> None:
        """Check 5 of docs/storage.md 11.1."""
        await schema.check(connection, past.shared_last)

    async def prepare(self, connection: Connection, catalog: Catalog, past: History) -> None:
        """Adopt a database of an existing server."""
        await history.prepare(connection, catalog, past)

    async def record(self, connection: Connection, migration: Migration, *, elapsed_ns: int) -> None:
        """In the table of the existing server, or in our own."""
        await history.record(connection, migration, elapsed_ns=elapsed_ns)

    async def forget(self, connection: Connection, migration: Migration) -> None:
        """From that table, and from the Go server's."""
        await history.forget(connection, migration)


SYNC: Final = SyncLine()
"""The line that is meant where none is named."""
