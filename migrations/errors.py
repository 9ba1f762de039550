"""Why the schema could not be brought where it was asked to go.

MigrationError               str() is the whole line for the operator, prefix included
├── DatabaseUnreachable      could not connect; worth another try at start-up
├── NothingToRollBack        `down` on a database without applied migrations
└── NeedsConfirmation        `down` would destroy data and was not told that this is meant
"""

import asyncpg


class MigrationError(Exception):
    """A migration, or the check before it, failed; `str()` is worded for the operator."""


class DatabaseUnreachable(MigrationError):
    """No connection. The address may be wrong or the database not up yet."""


class NothingToRollBack(MigrationError):
    """No migration is applied."""

    def __init__(self) -> None:
        super().__init__("no migration to roll back")


class NeedsConfirmation(MigrationError):
    """Reverting this migration loses what cannot be had back."""

    def __init__(self, label: str, loss: str) -> None:
        super().__init__(f"reverting {label} {loss}; repeat with --yes to do it")


def worded(error: asyncpg.PostgresError) -> str:
    """PostgreSQL's message in the existing server's words, without the detail, which may quote values."""
    return f"error returned from database: {error.args[0]}"


def refused(detail: str) -> MigrationError:
    """The error for a database that is not in a state to migrate (storage chapter 2)."""
    return MigrationError(f"migration error: {detail}")


def failed(version: int, error: asyncpg.PostgresError) -> MigrationError:
    """The error for a script the database refused; worded as the existing server words it."""
    return refused(f"while executing migration {version}: {worded(error)}")
