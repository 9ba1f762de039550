"""What one server passes on of another's announcements: four notifications, made anew of what is known."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from less_sync.sync.announce import Announcer, Change, Notice
from less_sync.sync.live.broker import Broker
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, encode_notification
from less_sync.sync.protocol.messages import FileNotice, MembershipNotice, RevokedNotice, SyncNotice
from less_sync.sync.protocol.notifications import pull_notification

RelayedNotice = SyncNotice | MembershipNotice | FileNotice | RevokedNotice

RELAYED: Final[Mapping[str, type[RelayedNotice]]] = {
    "sync": SyncNotice,
    "membership": MembershipNotice,
    "file": FileNotice,
    "revoked": RevokedNotice,
}
"""By method. Who is there, and what they say, stays with one server."""


def relay(
    announce: Announcer,
    broker: Broker,
    space: UUID,
    method: str,
    notice: RelayedNotice,
    *,
    frame_bytes_max: int = FRAME_BYTES_MAX,
) -> None:
    """Pass one notification on to the clients here that listen to its space, and to no server.

    Members that are unknown here are left out; each client gets its own spelling of the space.
    """
    if not broker.listened_to(space):
        return
    canonical = str(space)

    def build(text: str) -> bytes:
        return frame if text == canonical else _frame(method, notice, text, frame_bytes_max)

    frame = _frame(method, notice, canonical, frame_bytes_max)
    if isinstance(notice, RevokedNotice):
        announce.publish(space, build)  # it has no cursor, and waits for none
    else:
        announce.relay(space, Change(notice.cursor, (Notice(build),), len(frame), clients_only=True))


def _frame(method: str, notice: RelayedNotice, text: str, frame_bytes_max: int) -> bytes:
    """Under one spelling. What a longer one makes too long says that there is something to pull."""
    frame = encode_notification(method, replace(notice, space=text))
    if len(frame) <= frame_bytes_max or isinstance(notice, RevokedNotice):
        return frame
    if isinstance(notice, SyncNotice):
        return pull_notification(
            text,
            cursor=notice.cursor,
            key_generation=notice.key_generation,
            rewrap_epoch=notice.rewrap_epoch,
        )
    if isinstance(notice, MembershipNotice):
        return encode_notification(method, replace(notice, space=text, entries=[]))
    return encode_notification(method, replace(notice, space=text, files=[]))
