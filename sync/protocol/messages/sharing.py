"""What sharing a space takes: members, invitations, epochs, wrapped DEKs (docs/protocol.md 7.6 to 7.18)."""

from typing import Final

from msgspec import field

from less_sync.sync.protocol.messages.base import I32, I64, Params, Result
from less_sync.sync.protocol.messages.core import MemberEntry

EPOCH_CONFLICT: Final = "epoch_conflict"
"""`error` of an `EpochConflict`; the one spelling clients know (docs/protocol.md 7.13)."""

# membership.append (docs/protocol.md 7.6)


class MembershipAppendParams(Params, frozen=True, kw_only=True):
    """One link for the log: the first has an empty `prev_hash`, or none."""

    space: str
    ucan: str = ""
    expected_version: I32
    prev_hash: bytes = b""
    entry_hash: bytes
    payload: bytes


class MembershipAppendResult(Result, frozen=True):
    """Where the entry stands, and the version the next append must expect."""

    chain_seq: I32
    metadata_version: I32


# membership.list (docs/protocol.md 7.7)


class MembershipListParams(Params, frozen=True):
    """`since_seq` is the last `chain_seq` already known."""

    space: str
    ucan: str = ""
    since_seq: I32 = 0


class MembershipListResult(Result, frozen=True):
    """Every entry above `since_seq`, ascending."""

    entries: list[MemberEntry]
    metadata_version: I32


# membership.revoke (docs/protocol.md 7.8)


class MembershipRevokeParams(Params, frozen=True):
    space: str
    ucan_cid: str
    ucan: str = ""


# invitation.create, .list, .get, .delete (docs/protocol.md 7.9 to 7.12)


class InvitationCreateParams(Params, frozen=True):
    """`server` names the home of the mailbox when it is another server."""

    mailbox_id: str
    payload: str
    server: str = ""


class Invitation(Result, frozen=True):
    """One stored invitation; times as `time_text` writes them, empty in one that was forwarded."""

    id: str
    payload: str
    created_at: str
    expires_at: str


class InvitationListParams(Params, frozen=True):
    """One page: the first when `after` is empty, else what follows that invitation."""

    limit: I32 = 0
    after: str = ""


class InvitationListResult(Result, frozen=True):
    invitations: list[Invitation]


class InvitationGetParams(Params, frozen=True):
    id: str


class InvitationDeleteParams(Params, frozen=True):
    id: str


# epoch.begin, epoch.complete (docs/protocol.md 7.13 and 7.14)


class EpochBeginParams(Params, frozen=True, kw_only=True):
    """`epoch` is the one to enter: the space's plus one."""

    space: str
    ucan: str = ""
    epoch: I32
    set_min_key_generation: bool = False


class EpochBegun(Result, frozen=True):
    """Result of `epoch.begin` when the space entered the epoch."""

    epoch: I32


class EpochConflict(Result, frozen=True):
    """Result of `epoch.begin` when it did not; `error` is `EPOCH_CONFLICT`."""

    error: str
    current_epoch: I32
    rewrap_epoch: I32 | None = None


class EpochCompleteParams(Params, frozen=True, kw_only=True):
    space: str
    ucan: str = ""
    epoch: I32


# deks.get, deks.rewrap and their twins for files (docs/protocol.md 7.15 to 7.18)


class DeksGetParams(Params, frozen=True):
    """Params of `deks.get` and `file.deks.get`: what stands above cursor `since`."""

    space: str
    ucan: str = ""
    since: I64 = 0


class RecordDek(Result, frozen=True):
    """Chunk `deks.record`: a record's wrapped DEK; `seq` is the record's cursor."""

    id: str
    dek: bytes
    seq: I64


class FileDek(Result, frozen=True):
    """Chunk `deks.files.record`: a file's wrapped DEK."""

    id: str
    dek: bytes
    cursor: I64


class DeksResult(Result, frozen=True, kw_only=True):
    """All entries once more, and how many chunks came (docs/protocol.md 7.15).

    The entries are left out when the frame would be too long.
    """

    deks: list[RecordDek] | None = None
    chunks: I32 = field(name="_chunks")


class FileDeksResult(Result, frozen=True, kw_only=True):
    """As `DeksResult`, of files."""

    deks: list[FileDek] | None = None
    chunks: I32 = field(name="_chunks")


class RewrappedDek(Params, frozen=True):
    """A DEK wrapped anew; `id` is not checked yet."""

    id: str
    dek: bytes


class DeksRewrapParams(Params, frozen=True, kw_only=True):
    """Params of `deks.rewrap` and `file.deks.rewrap`."""

    space: str
    ucan: str = ""
    deks: list[RewrappedDek]


class DeksRewrapResult(Result, frozen=True):
    """`count` entries were in the request."""

    ok: bool
    count: I32
