"""What is kept: spaces, records, files, the membership log. Postgres only. Imports no other room."""

if __name__ != "less_sync.storage":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.storage, not {__name__}: each class would exist twice")

from importlib import import_module
from typing import TYPE_CHECKING, Final

from less_sync.storage.blobs import (
    CHUNK_BYTES_MAX,
    BlobError,
    BlobKey,
    BlobStore,
    Opened,
    Staged,
    Stored,
)
from less_sync.storage.counts import Histogram
from less_sync.storage.errors import (
    LOCK_NOT_AVAILABLE,
    NOT_MIGRATED,
    QUERY_CANCELED,
    REPEATABLE,
    UNIQUE_VIOLATION,
    FederationKeyNotFound,
    SpaceExists,
    SpaceNotFound,
    StorageError,
    Unavailable,
    translate,
)
from less_sync.storage.postgres.deks import PostgresDekStore
from less_sync.storage.postgres.epochs import PostgresEpochStore
from less_sync.storage.postgres.federation_keys import PostgresFederationKeyStore
from less_sync.storage.postgres.files import PostgresFileStore
from less_sync.storage.postgres.homes import PostgresSpaceHomeStore
from less_sync.storage.postgres.invitations import PostgresInvitationStore
from less_sync.storage.postgres.lanes import PushLanes
from less_sync.storage.postgres.members import PostgresMemberStore
from less_sync.storage.postgres.news import PostgresNewsStore
from less_sync.storage.postgres.place import place_of
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.postgres.pulls import PostgresPullStore
from less_sync.storage.postgres.rate_limits import PostgresRateLimitStore
from less_sync.storage.postgres.revocations import PostgresRevocationStore
from less_sync.storage.postgres.spaces import PostgresSpaceStore
from less_sync.storage.postgres.turns import Turns
from less_sync.storage.queries import Query, load_queries
from less_sync.storage.stores import (
    NOBODY,
    DekListing,
    DekStore,
    EpochStore,
    FederationKeyStore,
    FileLock,
    FileStore,
    InvitationStore,
    MemberStore,
    NewsStore,
    Pull,
    PullStore,
    PushDone,
    PushStore,
    RateLimitStore,
    RevocationStore,
    SpaceHomeStore,
    SpaceStore,
)
from less_sync.storage.types import (
    DEK_EPOCH_BYTES,
    FILE,
    MEMBER,
    RECORD,
    ActiveKey,
    AdvanceOutcome,
    AppendOutcome,
    AppendStatus,
    Caller,
    CompleteOutcome,
    DeactivateStatus,
    DekKind,
    DekRow,
    EpochStatus,
    FederationKey,
    FileLook,
    FileRow,
    HomeOutcome,
    HomeStatus,
    Invitation,
    Invited,
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
    SpaceNews,
    SpacesRead,
    SpaceState,
    StoredKey,
    StoreKeyStatus,
)

if TYPE_CHECKING:
    from less_sync.storage.objects.local import LocalBlobs
    from less_sync.storage.objects.probe import DiskFacts, disk_facts, probe_bucket, probe_directory
    from less_sync.storage.objects.s3 import S3Blobs
    from less_sync.storage.postgres.inspection import (
        PULLED_TABLES,
        ConnectionFacts,
        Inspection,
        NotReached,
        Plan,
        ServerFacts,
        TableFacts,
        inspecting,
    )
    from less_sync.storage.postgres.purge import Purged, purge_space
    from less_sync.storage.postgres.replica_pulls import ReplicatedPullStore
    from less_sync.storage.postgres.replicas import Replicas
    from less_sync.storage.postgres.surveys import (
        ALL_IDS,
        Catalogue,
        IdRange,
        Order,
        PostgresSurveys,
        SpaceFigures,
        Survey,
        TableSize,
        Weight,
    )
else:
    # What not every server needs, and what only commands do: loaded when it is first asked for.
    _LATER: Final = {
        "objects.local": ("LocalBlobs",),
        "objects.probe": ("DiskFacts", "disk_facts", "probe_bucket", "probe_directory"),
        "objects.s3": ("S3Blobs",),
        "postgres.inspection": (
            "PULLED_TABLES",
            "ConnectionFacts",
            "Inspection",
            "NotReached",
            "Plan",
            "ServerFacts",
            "TableFacts",
            "inspecting",
        ),
        "postgres.purge": ("Purged", "purge_space"),
        "postgres.replica_pulls": ("ReplicatedPullStore",),
        "postgres.replicas": ("Replicas",),
        "postgres.surveys": (
            "ALL_IDS",
            "Catalogue",
            "IdRange",
            "Order",
            "PostgresSurveys",
            "SpaceFigures",
            "Survey",
            "TableSize",
            "Weight",
        ),
    }

    def __getattr__(name: str) -> object:
        """Load the module that has it."""
        for module, names in _LATER.items():
            if name in names:
                return getattr(import_module(f"less_sync.storage.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ALL_IDS",
    "CHUNK_BYTES_MAX",
    "DEK_EPOCH_BYTES",
    "FILE",
    "LOCK_NOT_AVAILABLE",
    "MEMBER",
    "NOBODY",
    "NOT_MIGRATED",
    "PULLED_TABLES",
    "QUERY_CANCELED",
    "RECORD",
    "REPEATABLE",
    "UNIQUE_VIOLATION",
    "ActiveKey",
    "AdvanceOutcome",
    "AppendOutcome",
    "AppendStatus",
    "BlobError",
    "BlobKey",
    "BlobStore",
    "Caller",
    "Catalogue",
    "CompleteOutcome",
    "ConnectionFacts",
    "DeactivateStatus",
    "DekKind",
    "DekListing",
    "DekRow",
    "DekStore",
    "DiskFacts",
    "EpochStatus",
    "EpochStore",
    "FederationKey",
    "FederationKeyNotFound",
    "FederationKeyStore",
    "FileLock",
    "FileLook",
    "FileRow",
    "FileStore",
    "Histogram",
    "HomeOutcome",
    "HomeStatus",
    "IdRange",
    "Inspection",
    "Invitation",
    "InvitationStore",
    "Invited",
    "LocalBlobs",
    "MemberEntry",
    "MemberLog",
    "MemberStore",
    "NewsStore",
    "NotReached",
    "Opened",
    "Order",
    "Plan",
    "PostgresDekStore",
    "PostgresEpochStore",
    "PostgresFederationKeyStore",
    "PostgresFileStore",
    "PostgresInvitationStore",
    "PostgresMemberStore",
    "PostgresNewsStore",
    "PostgresPool",
    "PostgresPullStore",
    "PostgresRateLimitStore",
    "PostgresRevocationStore",
    "PostgresSpaceHomeStore",
    "PostgresSpaceStore",
    "PostgresSurveys",
    "Pull",
    "PullMeta",
    "PullRow",
    "PullStore",
    "Purged",
    "Push",
    "PushDone",
    "PushLanes",
    "PushOutcome",
    "PushStatus",
    "PushStore",
    "Query",
    "RateLimitStore",
    "RateSlot",
    "RecordFileOutcome",
    "RecordFileStatus",
    "Replicas",
    "ReplicatedPullStore",
    "RevocationStore",
    "RevokeStatus",
    "RewrapStatus",
    "S3Blobs",
    "ServerFacts",
    "Space",
    "SpaceExists",
    "SpaceFigures",
    "SpaceHomeStore",
    "SpaceNews",
    "SpaceNotFound",
    "SpaceState",
    "SpaceStore",
    "SpacesRead",
    "Staged",
    "StorageError",
    "StoreKeyStatus",
    "Stored",
    "StoredKey",
    "Survey",
    "TableFacts",
    "TableSize",
    "Turns",
    "Unavailable",
    "Weight",
    "disk_facts",
    "inspecting",
    "load_queries",
    "place_of",
    "probe_bucket",
    "probe_directory",
    "purge_space",
    "translate",
]
