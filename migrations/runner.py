"""Up, down and the questions about them, on a line of migrations and one dedicated connection.

What makes it safe: the migration lock of the existing server is held throughout, so one migrator works on a
database at a time; a script and its bookkeeping row commit in one transaction, so a process that dies in the
middle leaves neither.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from less_sync.migrations.catalog import NO_TRANSACTION, Catalog, Migration
from less_sync.migrations.connection import LOCK_WAIT_S, Connection
from less_sync.migrations.errors import NeedsConfirmation, NothingToRollBack, failed
from less_sync.migrations.line import History, Line
from less_sync.migrations.session import reading, session, verified
from less_sync.migrations.sync_line import SYNC


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that was just run, up or down, and how long its script took."""

    version: int
    name: str
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class State:
    """One line of `status`. `applied_at` is UTC, and None too where the Go server did not say."""

    version: int
    name: str
    applied: bool
    applied_at: datetime | None


async def migrate_up(
    url: str,
    *,
    line: Line = SYNC,
    on_applied: Callable[[Applied], None] | None = None,
    catalog: Catalog | None = None,
    lock_wait_s: float = LOCK_WAIT_S,
) -> list[Applied]:
    """Apply everything pending, ascending; adopt a database of an existing server first if it is one.

    Each migration commits with its bookkeeping row. What was committed before a failure stays.

    Args:
        on_applied: called after each commit.
        catalog: other migrations than the line's, for tests.

    Raises:
        MigrationError: nothing of the failed migration is left behind.
        DatabaseUnreachable: not even connected.
    """
    known = line.load() if catalog is None else catalog
    done: list[Applied] = []
    async with session(url, line, lock_wait_s=lock_wait_s) as connection:
        past = await verified(connection, line, known)
        await line.prepare(connection, known, past)
        for migration in _pending(known, past):
            applied = await _apply(connection, line, migration)
            done.append(applied)
            if on_applied is not None:
                on_applied(applied)
    return done


async def migrate_down(
    url: str,
    *,
    line: Line = SYNC,
    confirmed: bool = False,
    catalog: Catalog | None = None,
    lock_wait_s: float = LOCK_WAIT_S,
) -> Applied:
    """Revert the one highest applied migration, our own first.

    Args:
        confirmed: go on although data is lost.

    Raises:
        NothingToRollBack: none is applied.
        NeedsConfirmation: data would be lost; nothing was changed.
        MigrationError: the script failed; nothing was changed.
    """
    known = line.load() if catalog is None else catalog
    async with session(url, line, lock_wait_s=lock_wait_s) as connection:
        past = await verified(connection, line, known)
        if not past.applied:
            raise NothingToRollBack
        await line.prepare(connection, known, past)
        return await _revert(connection, line, known[max(past.applied)], confirmed=confirmed)


async def bring_to(
    connection: Connection,
    versions: Collection[int],
    *,
    line: Line = SYNC,
    on_step: Callable[[str, Applied], None] | None = None,
    catalog: Catalog | None = None,
) -> None:
    """Revert and apply until exactly `versions` are applied, under a lock that is held already.

    Whatever reverting loses is lost. It begins at the highest version, so what is wanted above one that is
    not comes anew.

    Args:
        on_step: called after each commit with `applied` or `reverted`, and which one.

    Raises:
        MigrationError: the history or the tables cannot be trusted, or a script failed; the steps before it
            stay.
    """
    known = line.load() if catalog is None else catalog
    tell = on_step or _tell_nobody
    past = await verified(connection, line, known)
    await line.prepare(connection, known, past)
    applied, wanted = set(past.applied), set(versions)
    while applied - wanted:
        highest = max(applied)
        tell("reverted", await _revert(connection, line, known[highest], confirmed=True))
        applied.remove(highest)
    for version in sorted(wanted - applied):
        tell("applied", await _apply(connection, line, known[version]))


def _tell_nobody(_verb: str, _done: Applied) -> None:
    """For callers to whom the end is enough."""


async def pending(url: str, *, line: Line = SYNC, catalog: Catalog | None = None) -> list[State]:
    """What `migrate_up` would apply, after all its checks; changes nothing and takes no lock."""
    known = line.load() if catalog is None else catalog
    async with reading(url, line) as connection:
        await line.refuse_busy(connection)
        past = await verified(connection, line, known)
        return [State(m.version, m.name, False, None) for m in _pending(known, past)]


async def revertible(
    url: str, *, line: Line = SYNC, confirmed: bool = False, catalog: Catalog | None = None
) -> State:
    """What `migrate_down` would revert, after all its checks; changes nothing and takes no lock."""
    known = line.load() if catalog is None else catalog
    async with reading(url, line) as connection:
        await line.refuse_busy(connection)
        past = await verified(connection, line, known)
        if not past.applied:
            raise NothingToRollBack
        migration = known[max(past.applied)]
        await _guard(connection, line, migration, confirmed=confirmed)
        return State(migration.version, migration.name, True, past.applied[migration.version])


async def status(url: str, *, line: Line = SYNC, catalog: Catalog | None = None) -> list[State]:
    """Every known migration, ascending, and whether it is applied. Creates nothing."""
    known = line.load() if catalog is None else catalog
    async with reading(url, line) as connection:
        past = await line.read(connection, known)
    return [State(v, m.name, v in past.applied, past.applied.get(v)) for v, m in known.items()]


async def version(url: str, *, line: Line = SYNC, catalog: Catalog | None = None) -> int:
    """The highest applied version, 0 if none. Creates nothing."""
    async with reading(url, line) as connection:
        past = await line.read(connection, line.load() if catalog is None else catalog)
    return max(past.applied, default=0)


def _pending(known: Catalog, past: History) -> list[Migration]:
    return [migration for version, migration in known.items() if version not in past.applied]


async def _apply(connection: Connection, line: Line, migration: Migration) -> Applied:
    begun_ns = time.monotonic_ns()
    try:
        if migration.up.startswith(NO_TRANSACTION):
            await connection.execute(migration.up)
            elapsed_ns = time.monotonic_ns() - begun_ns
            await line.record(connection, migration, elapsed_ns=elapsed_ns)
        else:
            async with connection.transaction():
                await connection.execute(migration.up)
                elapsed_ns = time.monotonic_ns() - begun_ns
                await line.record(connection, migration, elapsed_ns=elapsed_ns)
    except asyncpg.PostgresError as error:
        raise failed(migration.version, error) from error
    return Applied(migration.version, migration.name, elapsed_ns // 1_000_000)


async def _revert(connection: Connection, line: Line, migration: Migration, *, confirmed: bool) -> Applied:
    begun_ns = time.monotonic_ns()
    try:
        if migration.down.startswith(NO_TRANSACTION):
            await connection.execute(migration.down)
            await line.forget(connection, migration)
        else:
            async with connection.transaction():
                await _guard(connection, line, migration, confirmed=confirmed, lock=True)
                await connection.execute(migration.down)
                await line.forget(connection, migration)
    except asyncpg.PostgresError as error:
        raise failed(migration.version, error) from error
    return Applied(migration.version, migration.name, (time.monotonic_ns() - begun_ns) // 1_000_000)


async def _guard(
    connection: Connection, line: Line, migration: Migration, *, confirmed: bool, lock: bool = False
) -> None:
    """Refuse an unconfirmed loss. With `lock`, no row that matters can appear between check and script."""
    loss = None if confirmed else line.losses().get(migration.version)
    if loss is None or not loss.asks:
        return
    if loss.query is not None:
        if lock:
            await connection.execute(f"LOCK TABLE {loss.table} IN ACCESS EXCLUSIVE MODE")
        if not await connection.fetchval(loss.query):
            return
    raise NeedsConfirmation(migration.label, loss.text)
