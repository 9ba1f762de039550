"""What is said of a database that does not let us in: where it is, and never who asked."""

from typing import Final

import asyncpg

from less_sync.migrations import DatabaseUnreachable
from less_sync.storage import place_of

_NO_SUCH_DATABASE: Final = "3D000"
"""Its text names the database already, in words that operators of the existing server know."""


def told_with_place(error: DatabaseUnreachable, url: str) -> str:
    """The error's text, with host, port and database behind it where connecting is what failed."""
    cause = error.__cause__
    if isinstance(cause, OSError) or (
        isinstance(cause, asyncpg.PostgresError) and cause.sqlstate != _NO_SUCH_DATABASE
    ):
        return f"{error}: {place_of(url)}"
    return str(error)
