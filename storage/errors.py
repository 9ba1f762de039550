"""Storage failures, and the one translation from the driver's.

StorageError
├── SpaceNotFound
├── SpaceExists
└── Unavailable      the database cannot be reached, is shutting down, timed out or has no free connection

Conflicts a caller must tell apart in the normal course (a push's status) are values, not exceptions.
"""


class StorageError(Exception):
    """The database failed or refused; the cause is chained. Clients see `internal`."""


class SpaceNotFound(StorageError):
    """No row for this space."""


class SpaceExists(StorageError):
    """The space id is taken."""


class Unavailable(StorageError):
    """The database cannot answer now; the outcome of a statement already sent is unknown."""
