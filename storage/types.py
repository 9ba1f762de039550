"""What is kept, as values: frozen, without behaviour, independent of the database driver."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from uuid import UUID


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
    """What `lsync_push_v1` answers for one push (storage chapter 7.2)."""

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


@dataclass(frozen=True, slots=True)
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
