"""The secrets at rest of all tables: whether they can be opened, and how they get another key."""

from typing import NamedTuple

from less_sync.fleet.database import Database
from less_sync.fleet.secrets import SecretBox, Unreadable


class Samples(NamedTuple):
    """Places, `table.column:primary key`, of the secrets that were tried: one of each table."""

    readable: list[str]
    unreadable: list[str]


async def open_samples(database: Database, box: SecretBox) -> Samples:
    """Try one secret of each table that holds any.

    Raises: as `Database`.
    """
    found = Samples([], [])
    for row in await database.fetch("sealed_samples"):
        try:
            box.open(row["sealed"], row["place"])
        except Unreadable:
            found.unreadable.append(row["place"])
        else:
            found.readable.append(row["place"])
    return found
