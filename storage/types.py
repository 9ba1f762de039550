"""What is kept, as values: frozen, without behaviour, independent of the database driver."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from typing import Final, NamedTuple
from uuid import UUID

DEK_EPOCH_BYTES: Final = 4
"""A wrapped DEK begins with the epoch of the key it is wrapped with, unsigned, big-endian."""


@dataclass(frozen=True, slots=True)
class Space:
    """One row of `spaces`. `root_public_key` is None for a personal space, 33 bytes for a shared one."""

    id: UUID
    client_id: str = field(repr=False)
    root_public_key: bytes | None
    key_generation: int
    min_key_generation: int
    metadata_version: int
    cursor: int
    rewrap_epoch: int | None
    home_server: str | None


@dataclass(frozen=True, slots=True)
class SpacesRead:
    """Several spaces as one query saw them."""

    spaces: dict[UUID, Space]
    """Those that exist."""
    revoked: frozenset[tuple[UUID, str]] = field(repr=False)
    """The pairs of space and CID, of those asked about, that are revoked."""


class PushStatus(IntEnum):
    """What is answered for one push (docs/storage.md 4.1)."""

    WRITTEN = 0
    CONFLICT = 1
    NO_SPACE = 2
    FOREIGN_RECORD = 3
    STALE_EPOCH = 4
    REVOKED = 5
    REMOTE_HOME = 6
    NOT_PERSONAL = 7


@dataclass(slots=True)
class Push:
    """All changes of one push, in columns as the statement takes them.

    `ids`, `expected`, `blobs` and `deks` have the same length, one entry per change; a blob of None is a
    tombstone. All empty: nothing is written and the outcome reports the space's cursor. Validated by the
    caller: ids unique, sizes within limits.
    """

    space: UUID
    ids: Sequence[UUID | str]
    """Cheapest as the 36-character text that came in: the driver packs it in C, no `UUID` is ever made."""
    expected: Sequence[int]
    blobs: Sequence[bytes | None]
    deks: Sequence[bytes | None]
    payload_bytes: int
    """Sum of the lengths of blobs and DEKs: what the lanes bound their statements by."""
    client: str | None = None
    """Set on the personal path alone: creates the space when it is missing."""
    cids: Sequence[str] | None = None
    """CIDs of every token of the caller's chain, refused if one is revoked; None on the personal path."""
    min_epoch: int | None = None
    """Smallest unsigned epoch among the 44-byte DEKs; None when there is none."""
    local_only: bool = False
    """Refuse with REMOTE_HOME a space whose home is another server."""
    author: str = field(default="", repr=False)
    """Who writes, by whatever key the caller tells authors apart: they share the queue by turns."""


@dataclass(slots=True)  # not frozen: one is made for each push, at a third of the cost
class PushOutcome:
    """What became of one push.

    `cursor` is the space's new cursor, 0 unless `status` is WRITTEN; of an empty push the current one.
    `key_generation` and `rewrap_epoch` are the space's, 0 and None when it is missing.
    """

    status: PushStatus
    cursor: int = 0
    key_generation: int = 0
    rewrap_epoch: int | None = None
    removed_files: tuple[tuple[UUID, UUID], ...] = ()
    """(file id, record id) of each file row a tombstone removed."""


RECORD, MEMBER, FILE = 1, 2, 3
"""Kinds of a `PullRow`, in the order in which they stand at one cursor."""

PullRow = tuple[
    int, int, UUID | None, bytes | None, bytes | None, bytes | None, UUID | None, int | None, bool
]
"""One pulled entry: (kind, cursor, id, b1, b2, b3, record id, number, deleted).

record: b1 blob, b2 DEK. member: b1 payload, b2 entry hash, b3 previous hash, number chain_seq.
file: b2 DEK, record id, number size. A bare sequence because a pull may carry millions: a tuple or the
driver's own record, so unpack it, nothing else. Ids are the driver's subclass of `UUID`; `str(id)` is the
fastest way to the 36 lower-case characters.
"""


@dataclass(frozen=True, slots=True)
class PullMeta:
    """State of the space in the snapshot that the entries of a pull come from."""

    cursor: int
    key_generation: int
    rewrap_epoch: int | None
    shared: bool
    """Whether the space has a root key: a personal grant does not open it."""
    restarted: bool = False
    """`since` was beyond the space's cursor (a restored backup) and is taken for 0: worth a warning."""


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a space is changed: what the statement checks under the lock of the space's row."""

    client: str | None = field(default=None, repr=False)
    """Set on the personal path alone: creates the space when it is missing, and opens no shared one."""
    cids: Sequence[str] | None = field(default=None, repr=False)
    """CIDs of every token of the caller's chain, refused if one is revoked; None on the personal path."""
    author: str = ""
    local_only: bool = False
    """Refuse with REMOTE_HOME a space whose home is another server."""


class AppendStatus(IntEnum):
    """What `lsync_append_member_v1` answers. A wrong version is told before a wrong hash."""

    APPENDED = 0
    VERSION_CONFLICT = 1
    NO_SPACE = 2
    CHAIN_BROKEN = 3
    REVOKED = 5
    REMOTE_HOME = 6
    NOT_PERSONAL = 7


@dataclass(frozen=True, slots=True)
class AppendOutcome:
    """What became of an append. `chain_seq` and `cursor` are the new entry's, 0 unless it was appended;
    `metadata_version` is the log's after it, 0 when the space is missing."""

    status: AppendStatus
    chain_seq: int = 0
    cursor: int = 0
    metadata_version: int = 0


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """One link of a membership log. `prev_hash` is None for the first; the payload is opaque."""

    chain_seq: int
    cursor: int
    prev_hash: bytes | None = field(repr=False)
    entry_hash: bytes = field(repr=False)
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MemberLog:
    """A membership log, the state of its space and what authorises its reader, all of one snapshot."""

    space: Space
    revoked: frozenset[tuple[UUID, str]] = field(repr=False)
    """This space with each CID, of those asked about, that is revoked."""
    entries: Sequence[MemberEntry]


class EpochStatus(IntEnum):
    """What `lsync_advance_epoch_v1` and `lsync_complete_rewrap_v1` answer."""

    DONE = 0
    CONFLICT = 1
    """Not the next epoch, or a re-wrapping is pending; to complete: not the pending one."""
    NO_SPACE = 2
    REVOKED = 5
    REMOTE_HOME = 6
    NOT_PERSONAL = 7


@dataclass(frozen=True, slots=True)
class AdvanceOutcome:
    """What became of an advance. The epochs are the state after it, of a conflict the one that decided."""

    status: EpochStatus
    current_epoch: int = 0
    rewrap_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class CompleteOutcome:
    """What became of a completion. `stale_deks`, for logs alone, counts those left at other epochs."""

    status: EpochStatus
    stale_deks: int = 0


class DekKind(Enum):
    """Whose DEKs: those of records or those of files."""

    RECORDS = "records"
    FILES = "files"


DekRow = tuple[UUID, bytes, int]
"""(id of the record or file, wrapped DEK, cursor); `str(id)` is the fastest way to its text."""


class RewrapStatus(IntEnum):
    """What becomes of a rewrap. When several entries are wrong, the first in the order sent is told, of one
    entry the epoch before the id before the missing row; of files any wrong epoch first of all."""

    REWRAPPED = 0
    EPOCH_MISMATCH = 1
    """The first four bytes of a DEK are not the space's epoch."""
    NO_SPACE = 2
    NOT_FOUND = 3
    """No such record or file in this space."""
    CHANGED = 4
    """Written after the caller read it, and not at the current epoch (docs/protocol.md 7.16)."""
    REVOKED = 5
    REMOTE_HOME = 6
    NOT_PERSONAL = 7
    BAD_ID = 8
    """An id that is None: the client's was no UUID."""


class RevokeStatus(IntEnum):
    """What `lsync_revoke_v1` answers."""

    DONE = 0
    """The CID is revoked, by this call or before."""
    NO_SPACE = 2
    REVOKED = 5
    """A token of the caller's own chain is revoked; nothing was written."""
    REMOTE_HOME = 6
    NOT_PERSONAL = 7


class SpaceState(NamedTuple):
    """Where a space is, as a node compares it."""

    cursor: int
    home_server: str | None
    revocations: int
    """How many there are."""


@dataclass(frozen=True, slots=True)
class SpaceNews:
    """What was written in a space between two cursors and is there still, and where it is, in one
    snapshot."""

    cursor: int
    key_generation: int
    rewrap_epoch: int | None
    entries: Sequence[PullRow] | None = field(repr=False)
    """By cursor, there records before members before files. None: more than was asked for."""


class Invited(NamedTuple):
    """An invitation, as a node hears of it from the database."""

    id: UUID
    mailbox: str
    expires_at: datetime
    age_s: float
    """How long ago it was stored, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A message in a mailbox; times are in UTC, by the database's clock."""

    id: UUID
    payload: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RateSlot:
    """One use of a rate limit, to be given back if what it was taken for fails."""

    action: str
    actor_hash: str = field(repr=False)
    row: tuple[int, int]
    """Where the row is: block and place in it."""
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row of `files`: which content belongs to which record, and the key it is sealed with."""

    record: UUID
    size_bytes: int
    wrapped_dek: bytes = field(repr=False)
    """44 bytes, as last re-wrapped."""
    cursor: int
    """Of the upload; re-wrapping does not move it."""


@dataclass(frozen=True, slots=True)
class FileLook:
    """What a request about a file asks of the database, as one query saw it."""

    space: Space | None
    revoked: frozenset[tuple[UUID, str]] = field(repr=False)
    """The space with each CID, of those asked about, that is revoked."""
    row: FileRow | None
    record_is_live: bool
    """Whether the record asked about is in the space and not a tombstone."""


class RecordFileStatus(IntEnum):
    """What `lsync_record_file_v1` answers."""

    RECORDED = 0
    EXISTS = 1
    """Another row is there, and was not to be replaced; nothing was written."""
    NO_SPACE = 2
    NO_RECORD = 4
    """The record is not in this space, or is a tombstone."""
    REVOKED = 5
    REMOTE_HOME = 6
    NOT_PERSONAL = 7


@dataclass(frozen=True, slots=True)
class RecordFileOutcome:
    """What became of recording a file. `cursor` is that of the new row, 0 unless it was recorded."""

    status: RecordFileStatus
    cursor: int = 0
    replaced: bool = False
    """Somebody else's row was there, and has these values now."""


@dataclass(frozen=True, slots=True)
class FederationKey:
    """One row of `federation_signing_keys`, without its private half."""

    kid: str
    """The whole key id, a URL; or its fragment alone, as the existing Go server may have stored it."""
    public_key: bytes
    created_at: datetime
    is_active: bool
    is_primary: bool
    deactivated_at: datetime | None


@dataclass(frozen=True, slots=True)
class ActiveKey:
    """A signing key in use, as it is stored: nothing of it is checked."""

    kid: str
    public_key: bytes
    private_key: bytes | None = field(repr=False)
    """Of the key that signs alone: a seed of 32 bytes, or 64 with the public key behind it."""


class StoreKeyStatus(IntEnum):
    """What `lsync_fed_key_v1` answers."""

    STORED = 0
    EXISTS = 1
    """The key id is taken; nothing has changed."""
    HAS_PRIMARY = 2
    """A key of that host signs already; nothing has changed."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The key that was stored, or the one that was there."""

    status: StoreKeyStatus
    kid: str
    public_key: bytes
    signs: bool
    """Whether it is the one that signs."""


class DeactivateStatus(IntEnum):
    """What `lsync_deactivate_fed_key_v1` answers."""

    DONE = 0
    NOT_FOUND = 1
    PRIMARY = 2
    """It is the one that signs; nothing has changed."""


class HomeStatus(IntEnum):
    """What `lsync_space_home_v1` answers; nothing has changed unless `DONE`."""

    DONE = 0
    HOLDS_CONTENT = 1
    """There are records, members or files of the space here."""
    PERSONAL = 2
    """The space has no root key."""
    OTHER_ROOT_KEY = 3


@dataclass(frozen=True, slots=True)
class HomeOutcome:
    """What came of naming a space's home."""

    status: HomeStatus
    created: bool
    """The row was made; else there was one."""
