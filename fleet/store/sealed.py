"""The secrets at rest of all tables: whether they can be opened, and how they get another key."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from less_sync.fleet.database import Database
from less_sync.fleet.secrets import SecretBox, Unreadable

ROWS_AT_ONCE: Final = 500

RESEAL: Final[Mapping[str, str]] = {
    "webhooks.secret": "reseal_webhook",
    "webhooks.previous_secret": "reseal_previous_webhook",
    "signing_keys.secret": "reseal_signing_key",
}
"""The statement that gives a column's secret another text."""


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


class Rewrapped(NamedTuple):
    """What became of all secrets."""

    rewrapped: int
    kept: int
    """Under the key already, or exchanged or deleted meanwhile."""
    unreadable: list[str]
    """The places of those that open with neither key; they are left as they are."""


async def rewrap(database: Database, key: bytes, previous: bytes | None) -> Rewrapped:
    """Seal every secret that only the previous key opens with the key. Planes may run meanwhile.

    Each is a statement of its own, which writes only over what was read: so a secret that is exchanged at
    the same time stays, and a run that was killed is finished by the next.

    Raises: as `Database`.
    """
    now, both = SecretBox(key), SecretBox(key, previous)
    rewrapped, kept, unreadable = 0, 0, list[str]()
    after = ("", "")
    while found := await database.fetch("sealed_values", *after, ROWS_AT_ONCE):
        for row in found:
            after = (row["place"], row["key"])
            place = ":".join(after)
            try:
                secret = both.open(row["sealed"], place)
            except Unreadable:
                unreadable.append(place)
                continue
            written = not _opens(now, row["sealed"], place) and await database.value(
                RESEAL[row["place"]], row["key"], row["sealed"], now.seal(secret, place)
            )
            rewrapped, kept = (rewrapped + 1, kept) if written else (rewrapped, kept + 1)
    return Rewrapped(rewrapped, kept, unreadable)


def _opens(box: SecretBox, sealed: bytes, place: str) -> bool:
    try:
        box.open(sealed, place)
    except Unreadable:
        return False
    return True
