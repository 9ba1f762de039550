"""Give member entries and files from before the unified cursor a place in their space's timeline.

Rows written before migration 10 kept cursor 0, and a pull delivers what is above the cursor it was given: no
client ever sees them. Nobody can say where they belonged, so they come last: clients get them with their next
pull. Never done automatically (docs/storage.md 2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from less_sync.migrations import history
from less_sync.migrations.catalog import Catalog, load
from less_sync.migrations.connection import LOCK_WAIT_S, Connection
from less_sync.migrations.errors import refused
from less_sync.migrations.session import reading, session, verified
from less_sync.migrations.sync_line import SYNC

UNIFIED_CURSOR: Final = 10
"""The migration that made the cursor; before it there is nothing to repair."""

_COUNT: Final = """
SELECT (SELECT count(*) FROM members WHERE cursor = 0) AS members,
       (SELECT count(*) FROM files WHERE cursor = 0) AS files"""
_SPACES: Final = """
SELECT space_id FROM members WHERE cursor = 0 UNION SELECT space_id FROM files WHERE cursor = 0 ORDER BY 1"""
_LOCK_SPACE: Final = "SELECT cursor FROM spaces WHERE id = $1 FOR UPDATE"
_MOVE_MEMBERS: Final = """
WITH moved AS (
    UPDATE members m SET cursor = $2 + o.place
    FROM (SELECT chain_seq, row_number() OVER (ORDER BY chain_seq) AS place
          FROM members WHERE space_id = $1 AND cursor = 0) o
    WHERE m.space_id = $1 AND m.chain_seq = o.chain_seq RETURNING 1)
SELECT count(*) FROM moved"""
_MOVE_FILES: Final = """
WITH moved AS (
    UPDATE files f SET cursor = $2 + o.place
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS place
          FROM files WHERE space_id = $1 AND cursor = 0) o
    WHERE f.space_id = $1 AND f.id = o.id RETURNING 1)
SELECT count(*) FROM moved"""
_ADVANCE: Final = "UPDATE spaces SET cursor = $2 WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Cursorless:
    """How many rows have no place in their space's timeline."""

    members: int
    files: int

    def __bool__(self) -> bool:
        return bool(self.members or self.files)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What one space's repair moved, and the cursor it left the space at."""

    space: UUID
    members: int
    files: int
    cursor: int


async def cursorless(url: str, *, catalog: Catalog | None = None) -> Cursorless:
    """Count what no pull delivers. Zero, too, where migration 10 is not applied.

    Raises:
        MigrationError: the database is not in a state to be trusted.
    """
    async with reading(url, SYNC) as connection:
        past = await history.read(connection, load() if catalog is None else catalog)
        if past.shared_last < UNIFIED_CURSOR:
            return Cursorless(0, 0)
        row = await connection.fetchrow(_COUNT)
    assert row is not None, "an aggregate always has a row"
    return Cursorless(row["members"], row["files"])


async def repair_cursors(
    url: str, *, on_repaired: Callable[[Repaired], None] | None = None, lock_wait_s: float = LOCK_WAIT_S
) -> list[Repaired]:
    """Give every such row a cursor of its own at the end of its space: members by position, then files by id.

    One transaction per space, ascending by id; a repeated call finds nothing left.

    Raises:
        MigrationError: migration 10 is not applied, or the database refused.
    """
    done: list[Repaired] = []
    async with session(url, SYNC, lock_wait_s=lock_wait_s) as connection:
        past = await verified(connection, SYNC, load())
        if past.shared_last < UNIFIED_CURSOR:
            raise refused(f"repair-cursors needs migration {UNIFIED_CURSOR}")
        for row in await connection.fetch(_SPACES):
            repaired = await _repair(connection, row["space_id"])
            done.append(repaired)
            if on_repaired is not None:
                on_repaired(repaired)
    return done


async def _repair(connection: Connection, space: UUID) -> Repaired:
    """The row of the space is locked first, as every writer does, so no cursor is handed out twice."""
    async with connection.transaction():
        cursor: int = await connection.fetchval(_LOCK_SPACE, space)
        members: int = await connection.fetchval(_MOVE_MEMBERS, space, cursor)
        files: int = await connection.fetchval(_MOVE_FILES, space, cursor + members)
        await connection.execute(_ADVANCE, space, cursor + members + files)
    return Repaired(space, members, files, cursor + members + files)
