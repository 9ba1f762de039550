"""What is kept: spaces, records, files, the membership log. Postgres only. Imports no other room."""

from storage.errors import SpaceExists, SpaceNotFound, StorageError, Unavailable
from storage.stores import Pull, PullStore, PushDone, PushStore, SpaceStore
from storage.types import FILE, MEMBER, RECORD, PullMeta, PullRow, Push, PushOutcome, PushStatus, Space

__all__ = [
    "FILE",
    "MEMBER",
    "RECORD",
    "Pull",
    "PullMeta",
    "PullRow",
    "PullStore",
    "Push",
    "PushDone",
    "PushOutcome",
    "PushStatus",
    "PushStore",
    "Space",
    "SpaceExists",
    "SpaceNotFound",
    "SpaceStore",
    "StorageError",
    "Unavailable",
]
