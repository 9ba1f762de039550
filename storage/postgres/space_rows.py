"""The row of a space that a read of something in it brings along."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from less_sync.storage.types import Space

if TYPE_CHECKING:
    import asyncpg

SPACE_COLUMNS: Final = 10
"""Columns of `Space` in their order, then the revoked CIDs; the entry's own columns follow."""

_CLIENT_ID: Final = 1


def split_space(
    rows: "Sequence[asyncpg.Record]",
) -> "tuple[Space, frozenset[tuple[UUID, str]], Sequence[asyncpg.Record]] | None":
    """Take the space's row out of the rows of one query: (space, what is revoked in it, the other rows).

    The space's row is the one with a client; None when there is none, because the space is missing.
    """
    if not rows or rows[0][_CLIENT_ID] is None:
        return None
    *columns, revoked = rows[0][:SPACE_COLUMNS]
    space = Space(*columns)
    return space, frozenset((space.id, cid) for cid in revoked), rows[1:]
