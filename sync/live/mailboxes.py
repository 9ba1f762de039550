"""Who listens to which mailbox, and the `invitation` notification: a little late, and one for many.

The delay is random so that the time of an invitation does not tell who sent it; while one is on its way to
a mailbox, later ones need none of their own (docs/protocol.md 9.6).
"""

import asyncio
import hashlib
import random
from collections.abc import Callable
from typing import Final

from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Subscriber
from less_sync.sync.protocol.notifications import INVITATION

HASH_BYTES: Final = 16


def mailbox_hash(mailbox: str) -> bytes:
    """What nodes call a mailbox: its id is a claim, and may hold anything."""
    return hashlib.sha256(mailbox.encode("utf-8", "surrogatepass")).digest()[:HASH_BYTES]


class Mailboxes:
    """The index of one process. Holds one timer per mailbox with an announcement on its way."""

    def __init__(self, limits: Limits, chance: random.Random, *, frame: Callable[[bytes], bytes]) -> None:
        """`chance` spreads the delays; `frame` makes of a payload what is written to a transport."""
        self._limits = limits
        self._chance = chance
        self._frame = frame(INVITATION)
        self._listeners: dict[str, dict[Subscriber, None]] = {}
        self._hashed: dict[bytes, tuple[str, float]] | None = None
        self._pending: dict[str, asyncio.TimerHandle] = {}
        self.delivered = 0
        """Notifications handed to sessions since the start."""

    def share(self) -> None:
        """Mailboxes are told of by their hashes too, by other nodes. To be called before anybody joins."""
        self._hashed = {}

    def join(self, mailbox: str, subscriber: Subscriber) -> None:
        """This session reads that mailbox."""
        listeners = self._listeners.get(mailbox)
        if listeners is None:
            listeners = self._listeners[mailbox] = {}
            if self._hashed is not None:
                self._hashed[mailbox_hash(mailbox)] = mailbox, asyncio.get_running_loop().time()
        listeners[subscriber] = None

    def leave(self, mailbox: str, subscriber: Subscriber) -> None:
        """This session reads that mailbox no more."""
        listeners = self._listeners.get(mailbox)
        if listeners is None:
            return
        listeners.pop(subscriber, None)
        if not listeners:
            del self._listeners[mailbox]
            if self._hashed is not None:
                self._hashed.pop(mailbox_hash(mailbox), None)

    def listened_to_s(self, hashed: bytes) -> float | None:
        """For how many seconds somebody has read the mailbox with this hash; None when nobody does."""
        found = None if self._hashed is None else self._hashed.get(hashed)
        return None if found is None else asyncio.get_running_loop().time() - found[1]

    def announce_hashed(self, hashed: bytes) -> None:
        """As `announce`, of the mailbox with this hash."""
        found = None if self._hashed is None else self._hashed.get(hashed)
        if found is not None:
            self.announce(found[0])

    def announce(self, mailbox: str) -> None:
        """Tell whoever reads this mailbox when the delay is over that something came."""
        if mailbox in self._pending or mailbox not in self._listeners:
            return  # a client that connects later looks by itself
        limits = self._limits
        delay_s = self._chance.uniform(limits.invitation_delay_min_s, limits.invitation_delay_max_s)
        loop = asyncio.get_running_loop()
        self._pending[mailbox] = loop.call_later(delay_s, self._deliver, mailbox)

    def _deliver(self, mailbox: str) -> None:
        del self._pending[mailbox]
        for subscriber in list(self._listeners.get(mailbox, ())):
            subscriber.deliver(self._frame)
            self.delivered += 1

    def close(self) -> None:
        """Announce nothing more: the server stops, and its clients look when they come back."""
        for timer in self._pending.values():
            timer.cancel()
        self._pending.clear()
