"""Complete frames of what the server announces (protocol 11), one function each.

`space` is the spelling to announce under: the lower-case hyphenated form, or a subscriber's own (gap G12).
The frame of a push is joined from parts, since every push makes one; its bytes are those of the generic
encoder over `SyncNotice`.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from less_sync.sync.protocol.cbor import ARRAY, BYTES, head, integer, text
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, encode_notification
from less_sync.sync.protocol.messages import (
    Empty,
    EventNotice,
    FileChange,
    FileNotice,
    MemberEntry,
    MembershipNotice,
    PresenceLeaveNotice,
    PresenceNotice,
    PushChange,
    ResubscribeNotice,
    RevokedNotice,
)

INVITATION: Final = encode_notification("invitation", Empty())
"""`invitation` (protocol 11.5): something came to the mailbox. It says no more, so one serves all."""

_SYNC: Final = b"\xa3dtype\x02fmethoddsyncfparams"
_SYNC_PLAIN: Final = _SYNC + b"\xa5espace"
_SYNC_REWRAP: Final = _SYNC + b"\xa6espace"


def sync_notification(
    space: str,
    *,
    cursor: int,
    key_generation: int,
    rewrap_epoch: int | None,
    changes: Sequence[PushChange],
    frame_bytes_max: int = FRAME_BYTES_MAX,
) -> bytes:
    """`sync` (protocol 11.1): what one push wrote. Record ids, already checked, come out in lower case.

    A frame longer than `frame_bytes_max` says instead that `prev` is `cursor`, and no record: no client's own
    cursor can match that, so each pulls (gap G16).
    """
    parts = [_sync_head(space, cursor - 1, cursor, key_generation, rewrap_epoch, len(changes))]
    _add_records(parts, changes, cursor)
    frame = b"".join(parts)
    if len(frame) > frame_bytes_max:
        return pull_notification(
            space, cursor=cursor, key_generation=key_generation, rewrap_epoch=rewrap_epoch
        )
    return frame


def pull_notification(space: str, *, cursor: int, key_generation: int, rewrap_epoch: int | None) -> bytes:
    """`sync` without content: something happened that cannot be shown here (docs/protocol.md 6.4)."""
    return _sync_head(space, cursor, cursor, key_generation, rewrap_epoch, 0)


def _sync_head(
    space: str, prev: int, cursor: int, key_generation: int, rewrap_epoch: int | None, count: int
) -> bytes:
    """Everything before the first record."""
    return b"%b%bdprev%bfcursor%bnkey_generation%b%bgrecords%b" % (
        _SYNC_PLAIN if rewrap_epoch is None else _SYNC_REWRAP,
        text(space),
        integer(prev),
        integer(cursor),
        integer(key_generation),
        b"" if rewrap_epoch is None else b"lrewrap_epoch" + integer(rewrap_epoch),
        head(ARRAY, count),
    )


def _add_records(parts: list[bytes], changes: Sequence[PushChange], cursor: int) -> None:
    cursor_pair = b"fcursor" + integer(cursor)
    add = parts.extend
    for change in changes:
        blob = change.blob
        dek = change.dek
        id = change.id.lower().encode()
        if blob is None:
            if dek is None:
                add((b"\xa3bidx$", id, cursor_pair, b"gdeleted\xf5"))
            else:
                add((b"\xa4bidx$", id, cursor_pair, b"cdek", head(BYTES, len(dek)), dek, b"gdeleted\xf5"))
        elif dek is None:
            add((b"\xa3bidx$", id, b"dblob", head(BYTES, len(blob)), blob, cursor_pair))
        else:
            add((b"\xa4bidx$", id, b"dblob", head(BYTES, len(blob)), blob, cursor_pair))
            add((b"cdek", head(BYTES, len(dek)), dek))


def membership_notification(
    space: str, cursor: int, entry: MemberEntry, *, frame_bytes_max: int = FRAME_BYTES_MAX
) -> bytes:
    """`membership` (protocol 11.2). A frame longer than `frame_bytes_max` has no entry: receivers pull."""
    frame = encode_notification("membership", MembershipNotice(space, cursor, [entry]))
    if len(frame) > frame_bytes_max:
        return encode_notification("membership", MembershipNotice(space, cursor, []))
    return frame


def file_notification(
    space: str, cursor: int, files: Sequence[FileChange], *, frame_bytes_max: int = FRAME_BYTES_MAX
) -> bytes:
    """`file` (protocol 11.3). A frame longer than `frame_bytes_max` names no file: its receivers pull."""
    frame = encode_notification("file", FileNotice(space, cursor, list(files)))
    if len(frame) > frame_bytes_max:
        return encode_notification("file", FileNotice(space, cursor, []))
    return frame


def removed_files_notification(
    space: str,
    cursor: int,
    removed: Sequence[tuple[UUID, UUID]],
    *,
    frame_bytes_max: int = FRAME_BYTES_MAX,
) -> bytes:
    """`file` with `deleted` for each (file id, record id) that a push of tombstones removed (gap G13)."""
    files = [FileChange(id=str(file), record_id=str(record), deleted=True) for file, record in removed]
    return file_notification(space, cursor, files, frame_bytes_max=frame_bytes_max)


def revoked_notification(space: str, *, reason: str = "ucan_revoked") -> bytes:
    """`revoked` (protocol 11.4)."""
    return encode_notification("revoked", RevokedNotice(space, reason))


def resubscribe_notification(spaces: Sequence[str]) -> bytes:
    """`resubscribe`: subscriptions that ended with their UCAN (gap G8)."""
    return encode_notification("resubscribe", ResubscribeNotice(list(spaces)))


def presence_notification(space: str, *, peer: str, data: bytes) -> bytes:
    """`presence` (protocol 11.6): `peer`, a pseudonym, shows `data`."""
    return encode_notification("presence", PresenceNotice(space, peer, data))


def presence_leave_notification(space: str, *, peer: str) -> bytes:
    """`presence.leave` (protocol 11.7)."""
    return encode_notification("presence.leave", PresenceLeaveNotice(space, peer))


def event_notification(space: str, *, peer: str, data: bytes) -> bytes:
    """`event` (protocol 11.8): `peer`, a pseudonym, sent `data`."""
    return encode_notification("event", EventNotice(space, peer, data))
