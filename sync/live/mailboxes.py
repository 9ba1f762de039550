"""Who listens to which mailbox, and the `invitation` notification: a little late, and one for many.

The delay is random so that the time of an invitation does not tell who sent it; while one is on its way to
a mailbox, later ones need none of their own (docs/protocol.md 9.6).
"""

import asyncio
import random
from collections.abc import Callable

from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Subscriber
from less_sync.sync.protocol.notifications import INVITATION


class Mailboxes:
    """The index of one process. Holds one timer per mailbox with an announcement on its way."""

    def __init__(self, limits: Limits, chance: random.Random, *, frame: Callable[[bytes], bytes]) -> None:
        """`chance` spreads the delays; `frame` makes of a payload what is written to a transport."""
        self._limits = limits
        self._chance = chance
        self._frame = frame(INVITATION)
        self._listeners: dict[str, dict[Subscriber, None]] = {}
        self._pending: dict[str, asyncio.TimerHandle] = {}
        self.delivered = 0
        """Notifications handed to sessions since the start."""

    def join(self, mailbox: str, subscriber: Subscriber) -> None:
        """This session reads that mailbox."""
        self._listeners.setdefault(mailbox, {})[subscriber] = None

    def leave(self, mailbox: str, subscriber: Subscriber) -> None:
        """This session reads that mailbox no more."""
        listeners = self._listeners.get(mailbox)
        if listeners is None:
            return
        listeners.pop(subscriber, None)
        if not listeners:
            del self._listeners[mailbox]

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
