"""This node among the others: what happens here is told to them, and what they tell is heard here, in order.

A *node* is one server process. Postgres keeps what is true; the bus carries news of it, and may lose, repeat
and reorder them (docs/scaling.md 3).
"""

import secrets
from collections.abc import Collection, Iterable
from typing import Final, Protocol
from uuid import UUID

import structlog

from less_sync.sync.announce import Announcer, Change
from less_sync.sync.live.broker import Broker
from less_sync.sync.live.bus import Bus
from less_sync.sync.live.mailboxes import Mailboxes
from less_sync.sync.live.news import (
    NODE_BYTES,
    Alive,
    AnyNews,
    Asked,
    Event,
    Gone,
    Here,
    Left,
    Present,
    encode_news,
)

log = structlog.get_logger(__name__)

OfPeople = Event | Present | Left | Asked | Here | Alive | Gone
"""News of what is stored nowhere."""
LISTENED_S: Final = 30.0
"""How long a node goes on hearing of a space to which nobody listens any more."""


class People(Protocol):
    """Who is present at the other nodes: `PresenceElsewhere` (docs/scaling.md 3.4). None of it may raise."""

    def began(self, space: UUID) -> None:
        """Somebody here listens to a space to which nobody did: who is there at the others?"""

    def ended(self, space: UUID) -> None:
        """This node hears no more of a space."""

    def hear(self, news: OfPeople) -> None:
        """Take one message of another node, of a space that is listened to or of none. Never our own."""


class Nodes:
    """One per process with a bus. All methods run on the event loop.

    Presence and events come with `people`: whoever makes a `PresenceElsewhere` sets it, and gives it `node`
    and `publish`.
    """

    def __init__(
        self,
        bus: Bus,
        broker: Broker,
        announce: Announcer,
        mailboxes: Mailboxes,
        *,
        node: bytes | None = None,
    ) -> None:
        """`node` is this node's id, `NODE_BYTES` bytes; random unless given."""
        self.node: Final = node or secrets.token_bytes(NODE_BYTES)
        self.people: People | None = None
        self._bus = bus
        self._broker = broker
        self._announce = announce
        self._mailboxes = mailboxes

    # What sessions ask.

    async def listen(self, spaces: Collection[UUID], *, counted: bool = False) -> None:
        """Hear of these spaces from now on; returns when that is so, or after `CONFIRM_S_MAX`.

        To be awaited between `Broker.prepare` and the query of `subscribe`, which then misses nothing. At
        once for spaces that are heard of already, and when the bus is away. Never raises but for cancellation.

        Args:
            counted: read how many revocations there are where that is not known yet: for subscriptions that
                do not tell on which tokens they rest.
        """

    def entered(self, spaces: Iterable[UUID]) -> None:
        """Somebody listens to these spaces now, whose home is here: to be called right after
        `Broker.confirm`."""

    def is_listening(self, space: UUID) -> bool:
        """Whether this node hears of a space."""
        return False

    # What the announcer and others say.

    def publish(self, subject: str, news: AnyNews) -> None:
        """Send one message; never blocks. Lost when the bus is away."""
        if self._bus.connected:
            self._bus.publish(subject, encode_news(news))

    def committed(self, space: UUID, change: Change) -> None:
        """Something was committed in a space whose home is here: tell the others, and our own in sequence."""

    async def run(self) -> None:
        """Compare with the database, every few seconds, until cancelled. A vital task."""

    async def aclose(self) -> None:
        """Read and tell nothing any more. After the sessions, before the bus."""
