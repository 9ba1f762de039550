"""Storage failures, and the one translation from the driver's.

StorageError
├── SpaceNotFound
├── SpaceExists
├── FederationKeyNotFound
└── Unavailable      the database cannot be reached, is shutting down, timed out or has no free connection

Conflicts a caller must tell apart in the normal course (a push's status) are values, not exceptions.
"""

from enum import IntEnum
from typing import Final, TypeVar

import asyncpg

Status = TypeVar("Status", bound=IntEnum)

LOCK_NOT_AVAILABLE: Final = "55P03"
QUERY_CANCELED: Final = "57014"
UNIQUE_VIOLATION: Final = "23505"
NOT_MIGRATED: Final = frozenset({"42P01", "42883", "42703"})
"""No such table, function or column: the schema is not that of this release."""
REPEATABLE: Final = frozenset({"40001", "40P01"})
"""Serialisation failure and deadlock: the server undid everything and asks to be asked again."""

_UNAVAILABLE_CLASSES: Final = frozenset({"08", "57"})
_UNAVAILABLE_STATES: Final = frozenset(
    {
        "53300",  # too many connections
        "25P03",  # the server ended a transaction left idle, and the connection with it
    }
)


class StorageError(Exception):
    """The database failed or refused; the cause is chained. Clients see `internal`.

    Attributes:
        sqlstate: PostgreSQL's error code, None when the server reported none.
        constraint: name of the constraint that refused (class 23), else None.
    """

    def __init__(
        self, message: str = "storage failed", *, sqlstate: str | None = None, constraint: str | None = None
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint


class SpaceNotFound(StorageError):
    """No row for this space."""

    def __init__(self, message: str = "space not found") -> None:
        super().__init__(message)


class SpaceExists(StorageError):
    """The space id is taken."""

    def __init__(self, message: str = "space already exists") -> None:
        super().__init__(message)


class FederationKeyNotFound(StorageError):
    """No signing key has this key id."""

    def __init__(self, message: str = "federation key not found") -> None:
        super().__init__(message)


class Unavailable(StorageError):
    """The database cannot answer now; the outcome of a statement already sent is unknown."""

    def __init__(self, message: str = "storage unavailable", *, sqlstate: str | None = None) -> None:
        super().__init__(message, sqlstate=sqlstate)


def read_status(kind: type[Status], number: int) -> Status:
    """Return the status that a database function answered with.

    Raises:
        StorageError: this release does not know it: the function is of a newer migration.
    """
    try:
        return kind(number)
    except ValueError as error:
        raise StorageError(f"the database answered with the unknown {kind.__name__} {number}") from error


def translate(error: Exception) -> StorageError:
    """Return the storage error for what the driver or the network raised, with `error` as its cause.

    By class and SQLSTATE, never by message: the server's texts are localised. Classes 08 (connection) and
    57 (shutdown, cancelled by a timeout), 53300 and 25P03, every network error and every time-out are
    `Unavailable`, so is a connection or pool the driver finds closed or has lost track of. A `StorageError`
    is returned as it is.
    """
    if isinstance(error, StorageError):
        return error
    translated = _translate(error)
    translated.__cause__ = error
    return translated


def _translate(error: Exception) -> StorageError:
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_STATES:
            return Unavailable(sqlstate=state)
        constraint = error.constraint_name if state[:2] == "23" else None
        return StorageError(f"database error: SQLSTATE {state}", sqlstate=state, constraint=constraint)
    # The driver's own refusals: DataError is an argument it cannot encode, any other InterfaceError means
    # that the connection or the pool is closed.
    if isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError):
        return Unavailable()
    if isinstance(error, OSError | asyncpg.InternalClientError):  # TimeoutError too
        return Unavailable()
    return StorageError(f"database error: {type(error).__name__}")
