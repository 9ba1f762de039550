"""Notifications in both directions (docs/protocol.md 8 and 9)."""

from less_sync.sync.protocol.messages.base import I32, I64, Params, Result
from less_sync.sync.protocol.messages.core import MemberEntry

# From clients (docs/protocol.md 8)


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


# From the server (docs/protocol.md 9)


class SyncRecord(Result, frozen=True, kw_only=True):
    """One record of an announced push; without a blob, or marked `deleted`, it is a tombstone."""

    id: str
    blob: bytes | None = None
    cursor: I64
    dek: bytes | None = None
    deleted: bool = False


class SyncNotice(Result, frozen=True, kw_only=True):
    """`sync` (docs/protocol.md 9.1): a push moved the space from `prev` to `cursor`.

    If the two are equal it says no more than that something was written: pull (docs/protocol.md 6.4).
    """

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
    """`file` (docs/protocol.md 9.3): files came or went."""

    space: str
    cursor: I64
    files: list[FileChange]


class RevokedNotice(Result, frozen=True):
    """`revoked` (docs/protocol.md 9.4); `reason` is `ucan_revoked`."""

    space: str
    reason: str


class ResubscribeNotice(Result, frozen=True):
    """`resubscribe` (docs/protocol.md 9.5): these subscriptions ended and need authorization anew."""

    spaces: list[str]


class MembershipNotice(Result, frozen=True):
    """`membership` (docs/protocol.md 9.2): one entry was appended and moved the space to `cursor`."""

    space: str
    cursor: I64
    entries: list[MemberEntry]


class PresenceNotice(Result, frozen=True):
    """`presence` (docs/protocol.md 9.7): `peer`, a pseudonym, is there or has changed what it shows."""

    space: str
    peer: str
    data: bytes


class PresenceLeaveNotice(Result, frozen=True):
    """`presence.leave` (docs/protocol.md 9.8): `peer` is there no more."""

    space: str
    peer: str


class EventNotice(Result, frozen=True):
    """`event` (docs/protocol.md 9.9): `peer`, a pseudonym, sent `data` to whoever listens."""

    space: str
    peer: str
    data: bytes
