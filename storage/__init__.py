"""What is kept: spaces, records, files, the membership log. Postgres only. Imports no other room."""

if __name__ != "less_sync.storage":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.storage, not {__name__}: each class would exist twice")

from less_sync.storage.blobs import (
    CHUNK_BYTES_MAX,
    BlobError,
    BlobKey,
    BlobStore,
    Opened,
    Staged,
    Stored,
)
from less_sync.storage.errors import SpaceExists, SpaceNotFound, StorageError, Unavailable
from less_sync.storage.objects.local import LocalBlobs
from less_sync.storage.objects.s3 import S3Blobs
from less_sync.storage.postgres.deks import PostgresDekStore
from less_sync.storage.postgres.epochs import PostgresEpochStore
from less_sync.storage.postgres.files import PostgresFileStore
from less_sync.storage.postgres.invitations import PostgresInvitationStore
from less_sync.storage.postgres.lanes import PushLanes
from less_sync.storage.postgres.members import PostgresMemberStore
from less_sync.storage.postgres.place import place_of
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.postgres.pulls import PostgresPullStore
from less_sync.storage.postgres.rate_limits import PostgresRateLimitStore
from less_sync.storage.postgres.revocations import PostgresRevocationStore
from less_sync.storage.postgres.spaces import PostgresSpaceStore
from less_sync.storage.postgres.turns import Turns
from less_sync.storage.stores import (
    NOBODY,
    DekListing,
    DekStore,
    EpochStore,
    FileLock,
    FileStore,
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
    FileLook,
    FileRow,
    Invitation,
    MemberEntry,
    MemberLog,
    PullMeta,
    PullRow,
    Push,
    PushOutcome,
    PushStatus,
    RateSlot,
    RecordFileOutcome,
    RecordFileStatus,
    RevokeStatus,
    RewrapStatus,
    Space,
    SpacesRead,
)

__all__ = [
    "CHUNK_BYTES_MAX",
    "DEK_EPOCH_BYTES",
    "FILE",
    "MEMBER",
    "NOBODY",
    "RECORD",
    "AdvanceOutcome",
    "AppendOutcome",
    "AppendStatus",
    "BlobError",
    "BlobKey",
    "BlobStore",
    "Caller",
    "CompleteOutcome",
    "DekKind",
    "DekListing",
    "DekRow",
    "DekStore",
    "EpochStatus",
    "EpochStore",
    "FileLock",
    "FileLook",
    "FileRow",
    "FileStore",
    "Invitation",
    "InvitationStore",
    "LocalBlobs",
    "MemberEntry",
    "MemberLog",
    "MemberStore",
    "Opened",
    "PostgresDekStore",
    "PostgresEpochStore",
    "PostgresFileStore",
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
    "RecordFileOutcome",
    "RecordFileStatus",
    "RevocationStore",
    "RevokeStatus",
    "RewrapStatus",
    "S3Blobs",
    "Space",
    "SpaceExists",
    "SpaceNotFound",
    "SpaceStore",
    "SpacesRead",
    "Staged",
    "StorageError",
    "Stored",
    "Turns",
    "Unavailable",
    "place_of",
]
