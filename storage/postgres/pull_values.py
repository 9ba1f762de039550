"""Batches of pulled rows: how large the next may be, and the values that were too large to come with them.

A batch is fetched by number of rows, whose sizes nobody knows before, and a space's author chooses them. So
the queries leave out every value above `INLINE_BYTES_MAX` (negative kind), and those are read by themselves,
as many at a time as make up `PIECE_BYTES_MAX`, at least one.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from less_sync.storage.queries import sql
from less_sync.storage.types import MEMBER, RECORD, PullMeta, PullRow

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import PooledConnection

ROWS_FIRST: Final = 256
ROWS_MIN: Final = 16
ROWS_MAX: Final = 4096
BATCH_BYTES: Final = 512 * 1024
INLINE_BYTES_MAX: Final = 8 * 1024
PIECE_BYTES_MAX: Final = 1024 * 1024

_SAMPLE: Final = 64
_ROW_BYTES: Final = 100
_kind = itemgetter(0)


def read_meta(columns: Iterable[Any], *, restarted: bool = False) -> PullMeta:  # Any: as the driver gives
    """Read the columns of a space that both kinds of pull begin with."""
    cursor, key_generation, rewrap_epoch, shared = columns
    return PullMeta(cursor, key_generation, rewrap_epoch, shared, restarted)


def rows_next(rows: Sequence[PullRow]) -> int:
    """How many rows make a batch of about `BATCH_BYTES`, going by a sample of the last batch."""
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    mean = _ROW_BYTES + sum(len(row[3] or b"") for row in sample) // max(1, len(sample))
    return min(ROWS_MAX, max(ROWS_MIN, BATCH_BYTES // mean))


def has_large(rows: Sequence[PullRow]) -> bool:
    """True when a value of these rows was left out."""
    return min(map(_kind, rows), default=0) < 0


def pieces(rows: Sequence[PullRow]) -> list[Sequence[PullRow]]:
    """Cut a batch so that the values left out of each piece make up `PIECE_BYTES_MAX` at most, or are one.

    A member's length is not known before it is read, so it ends its piece.
    """
    if not has_large(rows):
        return [rows]
    cut: list[Sequence[PullRow]] = []
    start, room = 0, PIECE_BYTES_MAX
    for index, row in enumerate(rows):
        if row[0] >= 0:
            continue
        room -= (row[7] or 0) if row[0] == -RECORD else PIECE_BYTES_MAX
        if room < 0 and index > start:
            cut.append(rows[start:index])
            start, room = index, PIECE_BYTES_MAX - (row[7] or 0 if row[0] == -RECORD else PIECE_BYTES_MAX)
    cut.append(rows[start:])
    return cut


async def load(con: "PooledConnection", space: UUID, rows: Sequence[PullRow]) -> Sequence[PullRow]:
    """Return the rows with the values that were left out.

    Outside a snapshot a record may have been written since: it then has a later cursor, belongs to the next
    pull and is dropped here.
    """
    if not has_large(rows):
        return rows
    ids = [row[2] for row in rows if row[0] == -RECORD]
    found = await con.fetch(sql("pull_blobs"), space, ids) if ids else []
    blobs: dict[UUID | None, tuple[int, bytes | None]] = {
        row_id: (cursor, blob) for row_id, cursor, blob in found
    }
    whole: list[PullRow] = []
    for row in rows:
        kind, cursor, row_id, _, b2, b3, record_id, number, deleted = row
        if kind == -RECORD:
            cursor_now, blob = blobs.get(row_id, (0, None))
            if cursor_now == cursor:
                whole.append((RECORD, cursor, row_id, blob, b2, b3, record_id, None, deleted))
        elif kind == -MEMBER:
            payload: bytes = await con.fetchval(sql("pull_payload"), space, number)
            whole.append((MEMBER, cursor, row_id, payload, b2, b3, record_id, number, deleted))
        else:
            whole.append(row)
    return whole
