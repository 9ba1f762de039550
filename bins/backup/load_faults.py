"""What a database says when it cannot be restored into, worded for the operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from less_sync.bins.errors import CommandError

_WORDS: Final = {
    "42501": "the role may not do that: restoring needs the owner of the tables, who may create some",
    "25006": "the database takes no writes: is it a standby?",
    "53100": "the disk of the database is full",
    "55P03": "another program holds a lock on the tables",
    "57014": "the database cancelled it: is there a statement_timeout?",
}
LOST: Final = "the connection to the database was lost"


@contextmanager
def told() -> Iterator[None]:
    """Run what speaks to the database.

    Raises:
        CommandError: it refused, or the connection was lost. The text quotes no value of a row.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise CommandError(f"database error: {_worded(error)}") from error
    except (asyncpg.InterfaceError, ConnectionError) as error:
        raise CommandError(f"database error: {LOST}") from error


def _worded(error: asyncpg.PostgresError) -> str:
    code = error.sqlstate or ""
    if code.startswith(("08", "57P")):
        return LOST
    return _WORDS.get(code, f"{type(error).__name__} (SQLSTATE {code})")
