"""Rows of files, and the lock of one file (docs/files.md 3). Implements `storage.stores.FileStore`.

Two locks keep uploads, repairs and removals of one file apart. In this process a task waits for its turn
without holding anything; between processes an advisory lock does, which lasts as long as the transaction that
took it. Contents travel to their store while that transaction is idle, so few of them may be open at a time.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

from less_sync.storage.errors import read_status, translate
from less_sync.storage.postgres.ending import roll_back
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.postgres.turns import Turns
from less_sync.storage.queries import sql
from less_sync.storage.stores import NOBODY
from less_sync.storage.types import Caller, FileLook, FileRow, RecordFileOutcome, RecordFileStatus, Space

if TYPE_CHECKING:
    import asyncpg

    from less_sync.storage.postgres.pool import PooledConnection

LOCKS_AT_ONCE_MAX: Final = 4
"""Transactions that hold a file's lock, of one process: uploads must leave connections for the rest."""

_SPACE_COLUMNS: Final = 9


def lock_number(space: UUID, file: UUID) -> int:
    """The number of a file's advisory lock, 64 bits signed: the same in every process of every release."""
    digest = hashlib.sha256(b"less-sync:file:" + space.bytes + file.bytes).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class PostgresFileStore:
    """Every operation but `lock` is one round trip, and raises as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._places = Turns(max(1, min(LOCKS_AT_ONCE_MAX, pool.max_connections // 2)))
        self._turns: dict[tuple[UUID, UUID], _Turn] = {}

    async def look(
        self, space: UUID, file: UUID, *, cids: Sequence[str] = (), record: UUID | None = None
    ) -> FileLook:
        """Read all that a request about a file asks, as one query sees it."""
        [row] = await self._pool.fetch("look_at_file", space, file, cids, record)
        columns, (revoked, live), found = row[:_SPACE_COLUMNS], row[9:11], row[11:]
        return FileLook(
            space=None if columns[0] is None else Space(*columns),
            revoked=frozenset((space, cid) for cid in revoked),
            row=_file_row(found),
            record_is_live=live,
        )

    async def known(self, files: Sequence[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
        """Say which of these pairs of space and file have a row; no query for none."""
        if not files:
            return set()
        spaces, ids = zip(*files, strict=True)
        rows = await self._pool.fetch("known_files", spaces, ids)
        return {(row[0], row[1]) for row in rows}

    @asynccontextmanager
    async def lock(self, space: UUID, file: UUID, *, user: str) -> AsyncIterator["PostgresFileLock"]:
        """Hold a file's lock.

        The file's turn comes before the place: who waits for one file must not hold a place that others
        could use. What the block raises is not translated.
        """
        async with self._turn(space, file), self._places.place(user), self._pool.connection() as con:
            held = PostgresFileLock(con, space, file)
            try:
                await held.begin()
                yield held
            finally:
                await held.end()

    @asynccontextmanager
    async def _turn(self, space: UUID, file: UUID) -> AsyncIterator[None]:
        key = (space, file)
        turn = self._turns.setdefault(key, _Turn())
        turn.wanted_by += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.wanted_by -= 1
            if not turn.wanted_by:
                del self._turns[key]


class _Turn:
    """The lock of one file within this process, kept while anybody wants it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted_by = 0


class PostgresFileLock:
    """An open transaction that holds a file's advisory lock. Implements `storage.stores.FileLock`."""

    def __init__(self, con: "PooledConnection", space: UUID, file: UUID) -> None:
        self._con = con
        self._space = space
        self._file = file
        self._open = False
        self._row: FileRow | None = None
        self._held_by_backup = False

    @property
    def row(self) -> FileRow | None:
        """What is recorded of the file, as of when the lock was obtained."""
        return self._row

    @property
    def held_by_backup(self) -> bool:
        """Whether a backup is under way; while this is False none begins before the transaction ends."""
        return self._held_by_backup

    async def begin(self) -> None:
        """Open the transaction and take the lock; waits up to the session's `lock_timeout`.

        Raises:
            Unavailable, StorageError: the lock was not obtained.
        """
        try:
            self._open = True
            await self._con.execute("BEGIN")
            number = lock_number(self._space, self._file)
            row = await self._con.fetchrow(sql("lock_file"), number, self._space, self._file)
        except Exception as error:
            raise translate(error) from error
        assert row is not None, "a function with OUT parameters returns one row"
        self._row, self._held_by_backup = _file_row(row[:4]), row[4]

    async def check(self) -> None:
        """Ask the database whether the lock still holds.

        Raises:
            Unavailable: the connection was lost, and the lock with it.
        """
        try:
            await self._con.fetch(sql("still_there"))
        except Exception as error:
            raise translate(error) from error

    async def record(
        self, record: UUID, size_bytes: int, wrapped_dek: bytes, *, replace: bool, caller: Caller = NOBODY
    ) -> RecordFileOutcome:
        """Write the row and commit.

        Safe under concurrency: `lsync_record_file_v1` takes the lock of the space's row and looks at the
        record under it, so no tombstone slips in between; the file's own lock is held all along.
        """
        try:
            row = await self._con.fetchrow(
                sql("record_file"),
                self._space,
                self._file,
                record,
                size_bytes,
                wrapped_dek,
                replace,
                caller.client,
                caller.cids,
                caller.local_only,
            )
            assert row is not None, "a function with OUT parameters returns one row"
            status, cursor, replaced = row
            outcome = RecordFileOutcome(read_status(RecordFileStatus, status), cursor, replaced)
            if outcome.status is RecordFileStatus.RECORDED:
                await self._commit()
        except Exception as error:
            raise translate(error) from error
        return outcome

    async def forget(self) -> None:
        """Delete the row that was read and commit. The file's lock keeps others from writing it meanwhile."""
        assert self._row is not None, "there is a row to forget"
        try:
            await self._con.fetch(sql("forget_file"), self._space, self._file, self._row.cursor)
            await self._commit()
        except Exception as error:
            raise translate(error) from error

    async def _commit(self) -> None:
        await self._con.execute("COMMIT")
        self._open = False

    async def end(self) -> None:
        """Roll back what was not committed."""
        if self._open:
            self._open = False
            await roll_back(self._con)


def _file_row(columns: "Sequence[object] | asyncpg.Record") -> FileRow | None:
    record, size_bytes, wrapped_dek, cursor = columns
    if record is None:
        return None
    return FileRow(record, size_bytes, wrapped_dek, cursor)  # type: ignore[arg-type]  # of these types in the schema
