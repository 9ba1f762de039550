"""Notifications in both directions (protocol 10 and 11)."""

from less_sync.sync.protocol.messages.base import I32, I64, Params, Result
from less_sync.sync.protocol.messages.core import MemberEntry

# From clients (protocol 10)


class PresenceSetParams(Params, frozen=True):
    """`presence.set`: be there, with `data` to show; again every half minute to stay."""

    space: str
    data: bytes


class PresenceClearParams(Params, frozen=True):
    """`presence.clear`: be there no more."""

    space: str


class EventSendParams(Params, frozen=True):
    """`event.send`: one message to whoever listens now."""

    space: str
    data: bytes


# From the server (protocol 11)


class SyncRecord(Result, frozen=True, kw_only=True):
    """One record of an announced push; without a blob, or marked `deleted`, it is a tombstone."""

    id: str
    blob: bytes | None = None
    cursor: I64
    dek: bytes | None = None
    deleted: bool = False


class SyncNotice(Result, frozen=True, kw_only=True):
    """`sync` (11.1): a push moved the space from `prev` to `cursor`; if they are equal: pull (gap G16)."""

    space: str
    prev: I64
    cursor: I64
    key_generation: I32
    rewrap_epoch: I32 | None = None
    records: list[SyncRecord]


class FileChange(Result, frozen=True):
    """One file of a `file` notification."""

    id: str
    record_id: str
    size: I64 = 0
    dek: bytes | None = None
    deleted: bool = False


class FileNotice(Result, frozen=True):
    """`file` (protocol 11.3): files came or went."""

    space: str
    cursor: I64
    files: list[FileChange]


class RevokedNotice(Result, frozen=True):
    """`revoked` (protocol 11.4); `reason` is `ucan_revoked`."""

    space: str
    reason: str


class ResubscribeNotice(Result, frozen=True):
    """`resubscribe` (protocol 15 and gap G8): these subscriptions ended and need authorization anew."""

    spaces: list[str]


class MembershipNotice(Result, frozen=True):
    """`membership` (11.2): one entry was appended and moved the space to `cursor`."""

    space: str
    cursor: I64
    entries: list[MemberEntry]


class PresenceNotice(Result, frozen=True):
    """`presence` (11.6): `peer`, a pseudonym, is there or has changed what it shows."""

    space: str
    peer: str
    data: bytes


class PresenceLeaveNotice(Result, frozen=True):
    """`presence.leave` (11.7)."""

    space: str
    peer: str


class EventNotice(Result, frozen=True):
    """`event` (11.8)."""

    space: str
    peer: str
    data: bytes
