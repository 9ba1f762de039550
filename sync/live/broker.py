"""In-process fan-out from a space to the sessions subscribed to it, and the count of sessions per mailbox.

A notification is encoded once per spelling of the space id and the same bytes object is handed to every
subscriber: nothing per subscriber but a dictionary walk and a write (protocol 12.1).

Between asking for a space and being allowed to see it, a session holds a *provisional* subscription: what
is published meanwhile is kept for it, then delivered or dropped. So no push falls between the cursor that
`subscribe` answers and the first notification (protocol G4).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol
from uuid import UUID


class Subscriber(Protocol):
    """One session as the broker sees it. Compared by identity."""

    @property
    def connection_id(self) -> str:
        """Unique to this connection while the process lives."""

    def deliver(self, frame: bytes) -> None:
        """Take one complete WebSocket frame. Must not block, raise, or call the broker."""

    def overflow(self) -> None:
        """Take note that frames were lost: the session must be closed so that its client pulls."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What a subscription to a shared space rests on: it ends when one of these tokens does."""

    cids: frozenset[str]
    """Every name of every token of the chain that was accepted."""
    expires_at: int
    """Unix seconds; the earliest expiry of the chain."""


_NO_HOLDS: Final[Mapping[UUID, Hold]] = MappingProxyType({})


class Provisional:
    """Spaces a session has asked for and not yet been granted, with what was published to them meanwhile.

    Lives for one database round trip and holds at most `frames_max` frames: beyond, the session is told
    that it fell behind.
    """

    __slots__ = ("_frames_max", "_held", "revoked", "spaces", "subscriber")

    def __init__(self, subscriber: Subscriber, spaces: Mapping[UUID, str], frames_max: int) -> None:
        self.subscriber = subscriber
        self.spaces = spaces
        self.revoked: set[tuple[UUID, str]] = set()
        """(space, CID) of what was revoked since this began: the answer on its way does not know of it."""
        self._frames_max = frames_max
        self._held: list[tuple[UUID, bytes]] = []

    def hold(self, space: UUID, frame: bytes) -> None:
        """Keep one frame; the first one over the bound stands for all that are lost."""
        if len(self._held) <= self._frames_max:
            self._held.append((space, frame))

    def release(self, granted: frozenset[UUID]) -> None:
        """Deliver what was held for the granted spaces, in the order it was published."""
        held, self._held = self._held, []
        if len(held) > self._frames_max:
            self.subscriber.overflow()
            return
        for space, frame in held:
            if space in granted:
                self.subscriber.deliver(frame)


class Broker:
    """Who listens to which space. All methods run on the event loop and none awaits."""

    def __init__(self, *, held_frames_max: int = 64) -> None:
        self._held_frames_max = held_frames_max
        self._subscribers: dict[UUID, dict[Subscriber, str | None]] = {}
        self._spaces: dict[Subscriber, set[UUID]] = {}
        self._holds: dict[Subscriber, dict[UUID, Hold]] = {}
        self._provisional: dict[UUID, list[Provisional]] = {}
        self._connections: dict[str, int] = {}

    def register(self, connection_key: str, *, connections_max: int) -> bool:
        """Count one more session under this key; False, and nothing counted, when it has its share."""
        count = self._connections.get(connection_key, 0)
        if count >= connections_max:
            return False
        self._connections[connection_key] = count + 1
        return True

    def unregister(self, connection_key: str, subscriber: Subscriber) -> None:
        """Give the key's place back and drop every subscription of the session."""
        self.unsubscribe(subscriber, list(self._spaces.get(subscriber, ())))
        left = self._connections[connection_key] - 1
        if left:
            self._connections[connection_key] = left
        else:
            del self._connections[connection_key]

    def subscribed(self, subscriber: Subscriber) -> frozenset[UUID]:
        """The spaces this session is subscribed to."""
        return frozenset(self._spaces.get(subscriber, ()))

    def is_subscribed(self, subscriber: Subscriber, space: UUID) -> bool:
        """Whether this session listens to this space."""
        return space in self._spaces.get(subscriber, ())

    def prepare(self, subscriber: Subscriber, spaces: Mapping[UUID, str]) -> Provisional:
        """Begin to hold what is published to `spaces`, ids with the spelling asked for.

        Must be followed by `confirm` or `withdraw`. Spaces the session already listens to are not held
        while it does: they go on being delivered.
        """
        provisional = Provisional(subscriber, spaces, self._held_frames_max)
        for space in spaces:
            self._provisional.setdefault(space, []).append(provisional)
        return provisional

    def confirm(self, provisional: Provisional, granted: Mapping[UUID, Hold | None]) -> None:
        """Subscribe to the granted spaces and deliver what was held for them; drop the rest.

        Args:
            granted: with what each subscription rests on; None for a personal space.
        """
        subscriber, spaces = provisional.subscriber, provisional.spaces
        self._forget(provisional)
        wanted = frozenset(granted)
        self._keep_holds(subscriber, granted)
        if wanted:
            self._spaces.setdefault(subscriber, set()).update(wanted)
        for space in wanted:
            text = spaces[space]
            spelling = None if text == str(space) else text
            self._subscribers.setdefault(space, {})[subscriber] = spelling
        provisional.release(wanted)

    def _keep_holds(self, subscriber: Subscriber, granted: Mapping[UUID, Hold | None]) -> None:
        for space, hold in granted.items():
            if hold is not None:
                self._holds.setdefault(subscriber, {})[space] = hold

    def holds(self, subscriber: Subscriber) -> Mapping[UUID, Hold]:
        """The session's subscriptions that rest on tokens, with what each rests on."""
        return self._holds.get(subscriber, _NO_HOLDS)

    def revoke(self, space: UUID, cid: str) -> list[Subscriber]:
        """Return the subscribers of a space whose chain contains this token: theirs must end.

        Those who are just being let in find it in `Provisional.revoked`.
        """
        for provisional in self._provisional.get(space, ()):
            provisional.revoked.add((space, cid))
        return [
            subscriber
            for subscriber in self._subscribers.get(space, ())
            if (hold := self.holds(subscriber).get(space)) is not None and cid in hold.cids
        ]

    def spelling(self, subscriber: Subscriber, space: UUID) -> str:
        """How the session spells a space it is subscribed to."""
        return self._subscribers[space][subscriber] or str(space)

    def withdraw(self, provisional: Provisional) -> None:
        """Drop a provisional subscription without touching what the session had before."""
        self._forget(provisional)

    def _forget(self, provisional: Provisional) -> None:
        for space in provisional.spaces:
            waiting = self._provisional.get(space)
            if waiting is not None and provisional in waiting:
                waiting.remove(provisional)
                if not waiting:
                    del self._provisional[space]

    def unsubscribe(self, subscriber: Subscriber, spaces: Iterable[UUID]) -> None:
        """Stop delivering these spaces; those not subscribed to are ignored."""
        own = self._spaces.get(subscriber)
        if own is None:
            return
        for space in spaces:
            if space not in own:
                continue
            own.discard(space)
            self._drop_hold(subscriber, space)
            subscribers = self._subscribers[space]
            del subscribers[subscriber]
            if not subscribers:
                del self._subscribers[space]
        if not own:
            del self._spaces[subscriber]

    def _drop_hold(self, subscriber: Subscriber, space: UUID) -> None:
        holds = self._holds.get(subscriber)
        if holds is not None and holds.pop(space, None) is not None and not holds:
            del self._holds[subscriber]

    def publish(
        self, space: UUID, build: Callable[[str], bytes], *, exclude: Subscriber | None = None
    ) -> int:
        """Deliver one notification to the space's subscribers but `exclude`; return to how many.

        Args:
            build: makes the complete WebSocket frame for one spelling of the space id. Called at most once
                per spelling in use, and not at all when nobody listens.
        """
        waiting = self._provisional.get(space)
        if waiting is not None:
            self._hold(waiting, space, build, exclude)
        subscribers = self._subscribers.get(space)
        if subscribers is None or (len(subscribers) == 1 and exclude in subscribers):
            return 0
        canonical: bytes | None = None
        respelled: dict[str, bytes] = {}
        delivered = 0
        for subscriber, spelling in subscribers.items():
            if subscriber is exclude:
                continue
            if spelling is None:
                if canonical is None:
                    canonical = build(str(space))
                subscriber.deliver(canonical)
            else:
                if spelling not in respelled:
                    respelled[spelling] = build(spelling)
                subscriber.deliver(respelled[spelling])
            delivered += 1
        return delivered

    def _hold(
        self,
        waiting: list[Provisional],
        space: UUID,
        build: Callable[[str], bytes],
        exclude: Subscriber | None,
    ) -> None:
        frames: dict[str, bytes] = {}
        listening = self._subscribers.get(space, ())
        for provisional in waiting:
            if provisional.subscriber is exclude or provisional.subscriber in listening:
                continue
            spelling = provisional.spaces[space]
            if spelling not in frames:
                frames[spelling] = build(spelling)
            provisional.hold(space, frames[spelling])
