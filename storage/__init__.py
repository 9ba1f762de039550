"""What is kept: spaces, records, files, the membership log. Postgres only. Imports no other room."""

from storage.errors import SpaceExists, SpaceNotFound, StorageError, Unavailable
from storage.postgres.lanes import PushLanes
from storage.postgres.pool import PostgresPool
from storage.postgres.pulls import PostgresPullStore
from storage.postgres.spaces import PostgresSpaceStore
from storage.stores import Pull, PullStore, PushDone, PushStore, SpaceStore
from storage.types import (
    FILE,
    MEMBER,
    RECORD,
    PullMeta,
    PullRow,
    Push,
    PushOutcome,
    PushStatus,
    Space,
    SpacesRead,
)

__all__ = [
    "FILE",
    "MEMBER",
    "RECORD",
    "PostgresPool",
    "PostgresPullStore",
    "PostgresSpaceStore",
    "Pull",
    "PullMeta",
    "PullRow",
    "PullStore",
    "Push",
    "PushDone",
    "PushLanes",
    "PushOutcome",
    "PushStatus",
    "PushStore",
    "Space",
    "SpaceExists",
    "SpaceNotFound",
    "SpaceStore",
    "SpacesRead",
    "StorageError",
    "Unavailable",
]
