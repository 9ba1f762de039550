"""What a home announces, made into what the clients of this server are told.

Only what a client may hear comes through, member by member as this version knows it, in the order in which it
came. Presence, events and whatever else a peer sends is dropped (docs/federation.md 9.5).
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from less_sync.auth import parse_uuid
from less_sync.sync.announce import Change, Notice
from less_sync.sync.forwarding import HomeSpace
from less_sync.sync.live.broker import NO_CURSOR
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, Notification, encode_notification
from less_sync.sync.protocol.messages import (
    FileNotice,
    MembershipNotice,
    RevokedNotice,
    SyncNotice,
    decode_params,
)
from less_sync.sync.protocol.notifications import catch_up_notification

REVOKED: Final = "revoked"

KINDS: Final[Mapping[str, type[SyncNotice | MembershipNotice | FileNotice | RevokedNotice]]] = {
    "sync": SyncNotice,
    "membership": MembershipNotice,
    "file": FileNotice,
    REVOKED: RevokedNotice,
}
"""What is passed on, by method."""
_LIST: Final = {"sync": "records", "membership": "entries", "file": "files"}


class News(NamedTuple):
    """One notification of a home."""

    method: str
    space: UUID
    change: Change
    rows: int
    """Records, entries or files in it."""


def read_news(notification: Notification, *, frame_bytes_max: int = FRAME_BYTES_MAX) -> News | None:
    """What clients are told of a notification; None when they are not.

    Args:
        frame_bytes_max: a longer frame has an empty list instead: its receivers pull (docs/protocol.md 6.4).
    """
    kind = KINDS.get(notification.method)
    if kind is None:
        return None
    try:
        params = decode_params(kind, notification.params)
    except ParamsError:
        return None
    space = parse_uuid(params.space)
    if space is None:
        return None
    build = _builder(notification.method, params, frame_bytes_max)
    cursor = NO_CURSOR if isinstance(params, RevokedNotice) else params.cursor
    carries = _LIST.get(notification.method)
    rows = 0 if carries is None else len(getattr(params, carries))
    change = Change(cursor, (Notice(build),), _weight(params), clients_only=True)
    return News(notification.method, space, change, rows)


def _builder(method: str, params: Struct, frame_bytes_max: int) -> Callable[[str], bytes]:
    def build(text: str) -> bytes:
        frame = encode_notification(method, replace(params, space=text))
        if len(frame) <= frame_bytes_max or method not in _LIST:
            return frame
        if isinstance(params, SyncNotice):
            return catch_up_notification(
                text,
                cursor=params.cursor,
                key_generation=params.key_generation,
                rewrap_epoch=params.rewrap_epoch,
            )
        return encode_notification(method, replace(params, space=text, **{_LIST[method]: []}))

    return build


def _weight(params: Struct) -> int:
    """What waiting costs: the bytes the message keeps alive."""
    match params:
        case SyncNotice():
            return sum(len(one.blob or b"") + len(one.dek or b"") + 64 for one in params.records)
        case MembershipNotice():
            return sum(len(one.payload) + 128 for one in params.entries)
        case FileNotice():
            return 256 * len(params.files)
        case _:
            return 0


def catch_up(state: HomeSpace) -> Change:
    """Tell everybody to pull who is behind what the home says."""

    def build(text: str) -> bytes:
        return catch_up_notification(text, **state._asdict())

    return Change(state.cursor, (Notice(build),), 0, clients_only=True)
