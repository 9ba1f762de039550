"""Complete frames of what the server announces (docs/protocol.md 9), one function each.

`space` is the spelling to announce under: the lower-case hyphenated form, or a subscriber's own
(docs/protocol.md 3.6).
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
    SyncNotice,
    SyncRecord,
)

INVITATION: Final = encode_notification("invitation", Empty())
"""`invitation` (docs/protocol.md 9.6): something came to the mailbox. It has no field, so one serves all."""

_SYNC: Final = b"\xa3dtype\x02fmethoddsyncfparams"
_SYNC_PLAIN: Final = _SYNC + b"\xa5espace"
_SYNC_REWRAP: Final = _SYNC + b"\xa6espace"
_OTHERS: Final = (
    b"\xa3dtype\x02fmethodjmembershipfparams\xa3espace",
    b"\xa3dtype\x02fmethoddfilefparams\xa3espace",
)


def sync_notification(
    space: str,
    *,
    cursor: int,
    key_generation: int,
    rewrap_epoch: int | None,
    changes: Sequence[PushChange],
    frame_bytes_max: int = FRAME_BYTES_MAX,
) -> bytes:
    """`sync` (docs/protocol.md 9.1): what one push wrote.

    Record ids, already checked, come out in lower case.

    A frame longer than `frame_bytes_max` says instead that `prev` is `cursor`, and no record: no client's own
    cursor can match that, so each pulls (docs/protocol.md 6.4).
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


def catch_up_notification(space: str, *, cursor: int, key_generation: int, rewrap_epoch: int | None) -> bytes:
    """`sync` without content to whoever may have missed something up to `cursor` (docs/protocol.md 6.4).

    `prev` is -1, which is nobody's cursor: who is behind pulls, and who is not ignores it. With
    `prev = cursor - 1` a client one behind would take it for a change without records.
    """
    return _sync_head(space, -1, cursor, key_generation, rewrap_epoch, 0)


def records_notification(
    space: str,
    *,
    prev: int,
    cursor: int,
    key_generation: int,
    rewrap_epoch: int | None,
    records: Sequence[SyncRecord],
    frame_bytes_max: int = FRAME_BYTES_MAX,
) -> bytes:
    """`sync` of several pushes at once, each record with its own cursor (docs/protocol.md 9.1).

    Too long a frame is a `pull_notification` instead.
    """
    notice = SyncNotice(
        space=space,
        prev=prev,
        cursor=cursor,
        key_generation=key_generation,
        rewrap_epoch=rewrap_epoch,
        records=list(records),
    )
    frame = encode_notification("sync", notice)
    if len(frame) > frame_bytes_max:
        return pull_notification(
            space, cursor=cursor, key_generation=key_generation, rewrap_epoch=rewrap_epoch
        )
    return frame


def tells_of(payload: bytes, space: str, cursor: int) -> bool:
    """Whether a frame is a `sync`, `membership` or `file` of the commit that moved `space`, so spelled, from
    the cursor before to `cursor`. Of what follows nothing is looked at."""
    spelled, before, at = text(space), integer(cursor - 1), b"fcursor" + integer(cursor)
    if payload.startswith(b"%b%bdprev%b%b" % (_SYNC_PLAIN, spelled, before, at)):
        return True  # almost every one
    heads = [
        b"%b%bdprev%b%b" % (head_of_sync, spelled, prev, at)
        for head_of_sync in (_SYNC_PLAIN, _SYNC_REWRAP)
        for prev in (before, integer(cursor))
    ]
    return payload.startswith((*heads, *(other + spelled + at for other in _OTHERS)))


def respelled(payload: bytes, space: str, spelling: str) -> bytes:
    """The same notification with its first mention of the space, spelled `space`, spelled anew."""
    return payload.replace(text(space), text(spelling), 1)


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
        record_id = change.id.lower().encode()
        if blob is None:
            if dek is None:
                add((b"\xa3bidx$", record_id, cursor_pair, b"gdeleted\xf5"))
            else:
                add(
                    (
                        b"\xa4bidx$",
                        record_id,
                        cursor_pair,
                        b"cdek",
                        head(BYTES, len(dek)),
                        dek,
                        b"gdeleted\xf5",
                    )
                )
        elif dek is None:
            add((b"\xa3bidx$", record_id, b"dblob", head(BYTES, len(blob)), blob, cursor_pair))
        else:
            add((b"\xa4bidx$", record_id, b"dblob", head(BYTES, len(blob)), blob, cursor_pair))
            add((b"cdek", head(BYTES, len(dek)), dek))


def membership_notification(
    space: str, cursor: int, entry: MemberEntry, *, frame_bytes_max: int = FRAME_BYTES_MAX
) -> bytes:
    """`membership` (docs/protocol.md 9.2).

    A frame longer than `frame_bytes_max` has no entry instead: its receivers pull (docs/protocol.md 6.4).
    """
    frame = encode_notification("membership", MembershipNotice(space, cursor, [entry]))
    if len(frame) > frame_bytes_max:
        return encode_notification("membership", MembershipNotice(space, cursor, []))
    return frame


def file_notification(
    space: str, cursor: int, files: Sequence[FileChange], *, frame_bytes_max: int = FRAME_BYTES_MAX
) -> bytes:
    """`file` (docs/protocol.md 9.3).

    A frame longer than `frame_bytes_max` names no file instead: its receivers pull (docs/protocol.md 6.4).
    """
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
    """`file` with `deleted` for each (file id, record id) that a push of tombstones removed.

    docs/protocol.md 9.3
    """
    files = [FileChange(id=str(file), record_id=str(record), deleted=True) for file, record in removed]
    return file_notification(space, cursor, files, frame_bytes_max=frame_bytes_max)


def revoked_notification(space: str, *, reason: str = "ucan_revoked") -> bytes:
    """`revoked` (docs/protocol.md 9.4): the UCAN this subscription rested on is worthless now."""
    return encode_notification("revoked", RevokedNotice(space, reason))


def resubscribe_notification(spaces: Sequence[str]) -> bytes:
    """`resubscribe`: subscriptions that ended with their UCAN (docs/protocol.md 9.5)."""
    return encode_notification("resubscribe", ResubscribeNotice(list(spaces)))


def presence_notification(space: str, *, peer: str, data: bytes) -> bytes:
    """`presence` (docs/protocol.md 9.7): `peer`, a pseudonym, shows `data`."""
    return encode_notification("presence", PresenceNotice(space, peer, data))


def presence_leave_notification(space: str, *, peer: str) -> bytes:
    """`presence.leave` (docs/protocol.md 9.8): `peer` is there no more."""
    return encode_notification("presence.leave", PresenceLeaveNotice(space, peer))


def event_notification(space: str, *, peer: str, data: bytes) -> bytes:
    """`event` (docs/protocol.md 9.9): `peer`, a pseudonym, sent `data`."""
    return encode_notification("event", EventNotice(space, peer, data))
