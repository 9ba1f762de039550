"""What the server announces, on its way to the application: bounded, and honest about what was lost.

When the application is behind by more than the bounds, everything queued is dropped and one `ResyncNeeded`
takes its place: a pull by cursor finds all of it again.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from less_sync.sync.client.errors import SyncClientError
from less_sync.sync.client.link import ClientLimits
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import Notification
from less_sync.sync.protocol.messages import (
    EventNotice,
    FileNotice,
    MembershipNotice,
    PresenceLeaveNotice,
    PresenceNotice,
    ResubscribeNotice,
    RevokedNotice,
    SyncNotice,
    decode_params,
    shown,
)


@dataclass(frozen=True, slots=True)
class ResyncNeeded:
    """Announcements may have been missed: pull every subscribed space. `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class SubscriptionLost:
    """After a reconnect the server did not take this space again; `error` is an `ErrorCode`."""

    space: str
    error: str


@dataclass(frozen=True, slots=True, repr=False)
class OtherNotice:
    """An announcement this client has no type for, as it came."""

    method: str
    params: object

    def __repr__(self) -> str:
        return f"OtherNotice(method={self.method!r}, params={shown(self.params)})"


@dataclass(frozen=True, slots=True)
class InvitationNotice:
    """An invitation has arrived in our mailbox (docs/protocol.md 9.6)."""


Typed = (
    SyncNotice
    | RevokedNotice
    | ResubscribeNotice
    | MembershipNotice
    | FileNotice
    | PresenceNotice
    | PresenceLeaveNotice
    | EventNotice
)
Notice = Typed | InvitationNotice | ResyncNeeded | SubscriptionLost | OtherNotice

_TYPES: Final[dict[str, type[Typed]]] = {
    "sync": SyncNotice,
    "revoked": RevokedNotice,
    "resubscribe": ResubscribeNotice,
    "membership": MembershipNotice,
    "file": FileNotice,
    "presence": PresenceNotice,
    "presence.leave": PresenceLeaveNotice,
    "event": EventNotice,
}


class NoticeQueue:
    """From the reader to one consumer: `put` never waits, `get` does."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[Notice, int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._end: SyncClientError | None = None

    def receive(self, frame: Notification, size_bytes: int) -> None:
        """Queue an announcement of the server; one that cannot be read asks for a pull instead."""
        kind = _TYPES.get(frame.method)
        if kind is None:
            known = frame.method == "invitation"
            notice = InvitationNotice() if known else OtherNotice(frame.method, frame.params)
            self.put(notice, size_bytes)
            return
        try:
            self.put(decode_params(kind, frame.params), size_bytes)
        except ParamsError:
            self.resync("an announcement could not be read")

    def put(self, notice: Notice, size_bytes: int = 0) -> None:
        """Queue one, or overflow into a single marker."""
        full = len(self._waiting) >= self._limits.notices_queued
        if full or self._bytes + size_bytes > self._limits.notice_bytes_queued:
            self.resync("announcements came faster than they were taken")
            return
        self._waiting.append((notice, size_bytes))
        self._bytes += size_bytes
        self._changed.set()

    def resync(self, reason: str) -> None:
        """Drop what is queued in favour of one marker, keeping lost subscriptions."""
        lost = [pair for pair in self._waiting if isinstance(pair[0], SubscriptionLost)]
        self._waiting = deque([(ResyncNeeded(reason), 0), *lost])
        self._bytes = 0
        self._changed.set()

    def end(self, error: SyncClientError) -> None:
        """No more will come: `get` raises `error` once the queue is empty."""
        self._end = error
        self._changed.set()

    async def get(self) -> Notice:
        """Take the next one, waiting for it. Cancelling loses nothing.

        Raises:
            SyncClientError: what ended the client.
        """
        while not self._waiting:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            await self._changed.wait()
        notice, size_bytes = self._waiting.popleft()
        self._bytes -= size_bytes
        return notice
