"""Why the schema could not be brought where it was asked to go.

MigrationError               str() is the whole line for the operator, prefix included
├── DatabaseUnreachable      could not connect; worth another try at start-up
├── LockHeld                 somebody else is migrating or restoring this database
├── NothingToRollBack        `down` on a database without applied migrations
└── NeedsConfirmation        `down` would destroy data and was not told that this is meant
"""

import os
from typing import Final

import asyncpg


class MigrationError(Exception):
    """A migration, or the check before it, failed; `str()` is worded for the operator."""


class DatabaseUnreachable(MigrationError):
    """No connection. The address may be wrong or the database not up yet."""


class LockHeld(MigrationError):
    """Another process has had the migration lock all the time."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"migration error: another process has been migrating this database for {waited_s:g} s"
        )


class NothingToRollBack(MigrationError):
    """No migration is applied."""

    def __init__(self) -> None:
        super().__init__("no migration to roll back")


class NeedsConfirmation(MigrationError):
    """Reverting this migration loses what cannot be had back."""

    def __init__(self, label: str, loss: str) -> None:
        super().__init__(f"reverting {label} {loss}; repeat with --yes to do it")


_NAMES_NOBODY: Final = frozenset({"3D000", "57P03"})
"""An unknown database, a server that is starting up: texts for the operator. Others name the role."""


def refusal(error: asyncpg.PostgresError) -> str:
    """Why the server did not let us in: its own message, or its kind where that would name the role."""
    if error.sqlstate in _NAMES_NOBODY:
        return worded(error)
    return f"error returned from database: {type(error).__name__} (SQLSTATE {error.sqlstate})"


def os_error_text(error: OSError) -> str:
    """The operating system's message and number, as `Address already in use (os error 98)`."""
    # getaddrinfo numbers its failures by itself, below zero; asyncio and socket add to the system's own text.
    if error.errno is not None and error.errno > 0:
        return f"{os.strerror(error.errno)} (os error {error.errno})"
    return error.strerror or str(error) or "connection failed"


def worded(error: asyncpg.PostgresError) -> str:
    """PostgreSQL's message in the existing server's words, without the detail, which may quote values."""
    return f"error returned from database: {error.args[0]}"


def refused(detail: str) -> MigrationError:
    """The error for a database that is not in a state to migrate (docs/migrations.md)."""
    return MigrationError(f"migration error: {detail}")


def failed(version: int, error: asyncpg.PostgresError) -> MigrationError:
    """The error for a script the database refused; worded as the existing server words it."""
    return refused(f"while executing migration {version}: {worded(error)}")
