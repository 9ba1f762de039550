"""What is kept: spaces, records, files, the membership log. Postgres only. Imports no other room."""

if __name__ != "less_sync.storage":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.storage, not {__name__}: each class would exist twice")

from less_sync.storage.errors import SpaceExists, SpaceNotFound, StorageError, Unavailable
from less_sync.storage.postgres.deks import PostgresDekStore
from less_sync.storage.postgres.epochs import PostgresEpochStore
from less_sync.storage.postgres.invitations import PostgresInvitationStore
from less_sync.storage.postgres.lanes import PushLanes
from less_sync.storage.postgres.members import PostgresMemberStore
from less_sync.storage.postgres.place import place_of
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.postgres.pulls import PostgresPullStore
from less_sync.storage.postgres.rate_limits import PostgresRateLimitStore
from less_sync.storage.postgres.revocations import PostgresRevocationStore
from less_sync.storage.postgres.spaces import PostgresSpaceStore
from less_sync.storage.stores import (
    NOBODY,
    DekListing,
    DekStore,
    EpochStore,
    InvitationStore,
    MemberStore,
    Pull,
    PullStore,
    PushDone,
    PushStore,
    RateLimitStore,
    RevocationStore,
    SpaceStore,
)
from less_sync.storage.types import (
    DEK_EPOCH_BYTES,
    FILE,
    MEMBER,
    RECORD,
    AdvanceOutcome,
    AppendOutcome,
    AppendStatus,
    Caller,
    CompleteOutcome,
    DekKind,
    DekRow,
    EpochStatus,
    Invitation,
    MemberEntry,
    MemberLog,
    PullMeta,
    PullRow,
    Push,
    PushOutcome,
    PushStatus,
    RateSlot,
    RevokeStatus,
    RewrapStatus,
    Space,
    SpacesRead,
)

__all__ = [
    "DEK_EPOCH_BYTES",
    "FILE",
    "MEMBER",
    "NOBODY",
    "RECORD",
    "AdvanceOutcome",
    "AppendOutcome",
    "AppendStatus",
    "Caller",
    "CompleteOutcome",
    "DekKind",
    "DekListing",
    "DekRow",
    "DekStore",
    "EpochStatus",
    "EpochStore",
    "Invitation",
    "InvitationStore",
    "MemberEntry",
    "MemberLog",
    "MemberStore",
    "PostgresDekStore",
    "PostgresEpochStore",
    "PostgresInvitationStore",
    "PostgresMemberStore",
    "PostgresPool",
    "PostgresPullStore",
    "PostgresRateLimitStore",
    "PostgresRevocationStore",
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
    "RateLimitStore",
    "RateSlot",
    "RevocationStore",
    "RevokeStatus",
    "RewrapStatus",
    "Space",
    "SpaceExists",
    "SpaceNotFound",
    "SpaceStore",
    "SpacesRead",
    "StorageError",
    "Unavailable",
    "place_of",
]
