"""In-process fan-out from a space to the sessions subscribed to it, and the count of sessions per person.

A notification is encoded once per spelling of the space id and the same bytes object is handed to every
subscriber: nothing per subscriber but a dictionary walk and a write (docs/protocol.md 6).

Between asking for a space and being allowed to see it, a session holds a *provisional* subscription: what
is published meanwhile is kept for it, then delivered or dropped. So no push falls between the cursor that
`subscribe` answers and the first notification (docs/protocol.md 6.2).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from less_sync.sync.live.cork import CORKED_FRAME_BYTES_MAX, OPEN, Cork
from less_sync.sync.protocol.codes import Close

NO_CURSOR: Final = -1
"""The cursor of a space that nobody who listens has been told one of."""


class Subscriber(Protocol):
    """One session as the broker sees it. Compared by identity."""

    @property
    def connection_id(self) -> str:
        """Unique to this connection while the process lives."""

    @property
    def is_peer(self) -> bool:
        """Whether another server is at the other end: it is told what is stored, never who is there."""

    def deliver(self, frame: bytes) -> None:
        """Take one complete frame of the transport. Must not block, raise, or call the broker."""

    def deliver_soon(self, frame: bytes) -> None:
        """The same by the end of the turn of the loop, and in the order of all that is delivered."""

    def overflow(self) -> None:
        """Take note that frames were lost: the session must be closed so that its client pulls."""

    def end(self, close: Close) -> None:
        """Close the session, a turn later: the broker may be walking its subscribers."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What a subscription to a shared space rests on: it ends when one of these tokens does."""

    cids: frozenset[str]
    """Every name of every token of the chain that was accepted."""
    expires_at: int
    """Unix seconds; the earliest expiry of the chain."""
    unnamed: bool = False
    """It rests on something that does not tell its chain: any revocation in the space may be its own."""

    def rests_on(self, cid: str) -> bool:
        """Whether it may rest on this token."""
        return self.unnamed or cid in self.cids


class Granted(NamedTuple):
    """A subscription that was allowed."""

    cursor: int
    """The space's cursor as it was read: what comes later is announced."""
    hold: Hold | None = None
    """None for a personal space."""


_NO_HOLDS: Final[Mapping[UUID, Hold]] = MappingProxyType({})

Build = Callable[[str], bytes]
"""Makes the payload of a notification for one spelling of the space id."""

Left = Callable[[Subscriber, UUID], None]
"""Told of each subscription that has ended, whoever ended it. Must not block, raise, or call the broker."""
Idle = Callable[[UUID], None]
"""Told of each space to which nobody listens any more, or is being let in. Must not block, raise, or change
the broker."""


class Provisional:
    """Spaces a session has asked for and not yet been granted, with what was published to them meanwhile.

    Lives for one database round trip, or for as long as another server takes to answer, and holds at most
    `frames_max` frames and `bytes_max` bytes. Beyond that the session is told that it fell behind, unless
    `told_to_pull`: then `lost` has the spaces of what was not held, and whoever asked tells it to pull.
    """

    __slots__ = (
        "_bytes_left",
        "_frames_max",
        "_held",
        "_told_to_pull",
        "doubted",
        "lost",
        "revoked",
        "spaces",
        "subscriber",
    )

    def __init__(
        self,
        subscriber: Subscriber,
        spaces: Mapping[UUID, str],
        frames_max: int,
        bytes_max: int,
        *,
        told_to_pull: bool = False,
    ) -> None:
        self.subscriber = subscriber
        self.spaces = spaces
        self.lost: dict[UUID, None] = {}
        """Spaces of frames that were not held, in the order of the first one of each."""
        self.revoked: set[tuple[UUID, str]] = set()
        """(space, CID) of what was revoked since this began: the answer on its way does not know of it."""
        self.doubted: set[tuple[UUID, str]] = set()
        """(space, CID) of what may have been revoked since: nobody knows."""
        self._frames_max = frames_max
        self._bytes_left = bytes_max
        self._told_to_pull = told_to_pull
        self._held: list[tuple[UUID, bytes, int]] = []

    def hold(self, space: UUID, frame: bytes, cursor: int = NO_CURSOR) -> None:
        """Keep one frame, as long as none was lost; `cursor` of the change that it tells of."""
        if not self.lost and len(self._held) < self._frames_max and self._bytes_left >= len(frame):
            self._held.append((space, frame, cursor))
            self._bytes_left -= len(frame)
        else:
            self.lost[space] = None

    def release(self, granted: frozenset[UUID], behind: Collection[UUID] = ()) -> None:
        """Deliver what was held for the granted spaces, in the order it was published.

        Of those in `behind` no changes: they are told to pull at a cursor that is not below any of them.
        """
        held, self._held = self._held, []
        if self.lost and not self._told_to_pull:
            self.subscriber.overflow()
            return
        for space, frame, cursor in held:
            if space in granted and (cursor == NO_CURSOR or space not in behind):
                self.subscriber.deliver(frame)


class _Arrivals:
    """Who is just being let into one space, and the highest cursor they were told of while they waited."""

    __slots__ = ("cursor", "waiting")

    def __init__(self) -> None:
        self.cursor = NO_CURSOR
        self.waiting: list[Provisional] = []


class _Audience:
    """Who listens to one space, and up to which cursor all of them have been told.

    Whoever comes later may have read a higher cursor; that tells the others nothing.
    """

    __slots__ = ("cursor", "opened_at", "spellings", "text", "turn")

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.opened_at = cursor
        """Where what is told began, with the first of them."""
        self.turn = 0
        """In which something was last published to it."""
        self.text = ""
        """The canonical spelling of the space, once anything was published under it."""
        self.spellings: dict[Subscriber, str | None] = {}
        """Each with the spelling it subscribed under, None for the canonical one."""


class Broker:
    """Who listens to which space. All methods run on the event loop and none awaits.

    Args:
        frame: makes of a payload what is written to a transport.
        held_frames_max: what is kept at most for a session that is just being let in; so is the next.
        cork: told of each turn of the loop in which something is published.
    """

    def __init__(
        self,
        frame: Callable[[bytes], bytes],
        *,
        held_frames_max: int = 64,
        held_bytes_max: int = 16 * 1024 * 1024,
        cork: Cork = OPEN,
    ) -> None:
        self.cork: Final = cork
        self._frame = frame
        self._held_frames_max = held_frames_max
        self._held_bytes_max = held_bytes_max
        self._audiences: dict[UUID, _Audience] = {}
        self._spaces: dict[Subscriber, dict[UUID, None]] = {}
        self._holds: dict[Subscriber, dict[UUID, Hold]] = {}
        self._arrivals: dict[UUID, _Arrivals] = {}
        self._connections: dict[str, int] = {}
        self._left: list[Left] = []
        self._idle: Idle | None = None
        self.delivered = 0
        """Notifications handed to sessions since the start."""

    def watch(self, left: Left) -> None:
        """Tell `left` of each subscription that ends from now on."""
        self._left.append(left)

    def watch_idle(self, idle: Idle) -> None:
        """Tell `idle`, and nobody else, of each space that nobody uses from now on."""
        self._idle = idle

    def take_place(self, connection_key: str, *, connections_max: int) -> bool:
        """Count one more session of this person; False, and nothing counted, when all places are taken."""
        count = self._connections.get(connection_key, 0)
        if count >= connections_max:
            return False
        self._connections[connection_key] = count + 1
        return True

    def give_place_back(self, connection_key: str) -> None:
        """Count one session of this person less."""
        left = self._connections[connection_key] - 1
        if left:
            self._connections[connection_key] = left
        else:
            del self._connections[connection_key]

    @property
    def spaces(self) -> int:
        """How many spaces anybody listens to."""
        return len(self._audiences)

    def subscribed(self, subscriber: Subscriber) -> tuple[UUID, ...]:
        """The spaces this session is subscribed to, in the order it did."""
        return tuple(self._spaces.get(subscriber, ()))

    def is_subscribed(self, subscriber: Subscriber, space: UUID) -> bool:
        """Whether this session listens to this space."""
        return space in self._spaces.get(subscriber, ())

    def listened_to(self, space: UUID) -> bool:
        """Whether anybody listens to this space, or is just being let in."""
        return space in self._audiences or (bool(self._arrivals) and space in self._arrivals)

    def cursor(self, space: UUID) -> int:
        """Up to which cursor all subscribers of this space have been told; `NO_CURSOR` without any."""
        audience = self._audiences.get(space)
        return NO_CURSOR if audience is None else audience.cursor

    def opened_at(self, space: UUID) -> int:
        """The cursor from which on this space's subscribers are told; `NO_CURSOR` without any."""
        audience = self._audiences.get(space)
        return NO_CURSOR if audience is None else audience.opened_at

    def cursor_told(self, space: UUID) -> int:
        """The highest cursor that anybody was told of who listens or is just being let in."""
        arrivals = self._arrivals.get(space)
        return max(self.cursor(space), NO_CURSOR if arrivals is None else arrivals.cursor)

    def set_back(self, space: UUID, cursor: int) -> None:
        """The space is at `cursor`, whatever its subscribers have been told."""
        audience = self._audiences.get(space)
        if audience is not None:
            audience.cursor = cursor

    def prepare(
        self,
        subscriber: Subscriber,
        spaces: Mapping[UUID, str],
        *,
        frames_max: int | None = None,
        told_to_pull: bool = False,
    ) -> Provisional:
        """Begin to hold what is published to `spaces`, ids with the spelling asked for.

        Must be followed by `confirm` or `withdraw`. Spaces the session already listens to are not held
        while it does: they go on being delivered.

        Args:
            frames_max: how many are held; by default as many as for anybody.
            told_to_pull: whoever asks looks at `Provisional.lost` after `confirm`.
        """
        frames_max = self._held_frames_max if frames_max is None else frames_max
        provisional = Provisional(
            subscriber, spaces, frames_max, self._held_bytes_max, told_to_pull=told_to_pull
        )
        for space in spaces:
            arrivals = self._arrivals.get(space)
            if arrivals is None:
                arrivals = self._arrivals[space] = _Arrivals()
            arrivals.waiting.append(provisional)
        return provisional

    def confirm(
        self, provisional: Provisional, granted: Mapping[UUID, Granted], *, behind: Collection[UUID] = ()
    ) -> None:
        """Subscribe to the granted spaces and deliver what was held for them; drop the rest.

        Args:
            behind: spaces whose changes were not all held. The caller tells to pull right after this.
        """
        subscriber, spaces = provisional.subscriber, provisional.spaces
        for space, one in granted.items():
            self._spaces.setdefault(subscriber, {})[space] = None
            audience = self._audiences.get(space)
            if audience is None:
                told = self._arrivals[space].cursor
                audience = self._audiences[space] = _Audience(max(one.cursor, told))
            text = spaces[space]
            audience.spellings[subscriber] = None if text == str(space) else text
            if one.hold is not None:
                self._holds.setdefault(subscriber, {})[space] = one.hold
        self._forget(provisional)
        provisional.release(frozenset(granted), behind)

    def holds(self, subscriber: Subscriber) -> Mapping[UUID, Hold]:
        """The session's subscriptions that rest on tokens, with what each rests on."""
        return self._holds.get(subscriber, _NO_HOLDS)

    def resting_on(self, space: UUID, cid: str) -> list[Subscriber]:
        """The subscribers of a space whose chain contains this token."""
        audience = self._audiences.get(space)
        if audience is None:
            return []
        return [
            subscriber
            for subscriber in audience.spellings
            if (hold := self.holds(subscriber).get(space)) is not None and hold.rests_on(cid)
        ]

    def listeners(self, space: UUID) -> list[Subscriber]:
        """The subscribers of a space."""
        audience = self._audiences.get(space)
        return [] if audience is None else list(audience.spellings)

    def arriving(self, space: UUID) -> list[Provisional]:
        """Who is just being let into a space."""
        arrivals = self._arrivals.get(space)
        return [] if arrivals is None else list(arrivals.waiting)

    def spelling(self, subscriber: Subscriber, space: UUID) -> str:
        """How the session spells a space it is subscribed to."""
        return self._audiences[space].spellings[subscriber] or str(space)

    def tell(self, subscriber: Subscriber, payload: bytes) -> None:
        """Deliver something to one session alone."""
        subscriber.deliver(self._frame(payload))

    def withdraw(self, provisional: Provisional) -> None:
        """Drop a provisional subscription without touching what the session had before."""
        self._forget(provisional)

    def _forget(self, provisional: Provisional) -> None:
        for space in provisional.spaces:
            arrivals = self._arrivals.get(space)
            if arrivals is not None and provisional in arrivals.waiting:
                arrivals.waiting.remove(provisional)
                if not arrivals.waiting:
                    del self._arrivals[space]
                    if self._idle is not None and space not in self._audiences:
                        self._idle(space)

    def unsubscribe(self, subscriber: Subscriber, spaces: Iterable[UUID]) -> None:
        """Stop delivering these spaces; those not subscribed to are ignored."""
        own = self._spaces.get(subscriber)
        if own is None:
            return
        for space in spaces:
            if space not in own:
                continue
            del own[space]
            self._drop_hold(subscriber, space)
            audience = self._audiences[space]
            del audience.spellings[subscriber]
            if not audience.spellings:
                del self._audiences[space]
                if self._idle is not None and space not in self._arrivals:
                    self._idle(space)
            for left in self._left:
                left(subscriber, space)
        if not own:
            del self._spaces[subscriber]

    def _drop_hold(self, subscriber: Subscriber, space: UUID) -> None:
        holds = self._holds.get(subscriber)
        if holds is not None and holds.pop(space, None) is not None and not holds:
            del self._holds[subscriber]

    def publish(
        self,
        space: UUID,
        build: Build,
        *,
        exclude: Subscriber | None = None,
        cursor: int = NO_CURSOR,
        clients_only: bool = False,
    ) -> int:
        """Deliver one notification to the space's subscribers but `exclude`; return to how many.

        Args:
            build: called at most once per spelling in use, and not at all when nobody listens.
            cursor: of the change that this tells of; `NO_CURSOR` for what has none.
            clients_only: other servers are not told.
        """
        arrivals = self._arrivals.get(space) if self._arrivals else None
        if arrivals is not None:
            arrivals.cursor = max(arrivals.cursor, cursor)
            self._hold(arrivals.waiting, space, build, exclude, cursor, clients_only=clients_only)
        audience = self._audiences.get(space)
        if audience is None:
            return 0
        if cursor > audience.cursor:
            audience.cursor = cursor
        spellings = audience.spellings
        if len(spellings) == 1 and exclude in spellings:
            return 0
        soon = self._follows(audience)
        canonical: bytes | None = None
        respelled: dict[str, bytes] = {}
        delivered = 0
        for subscriber, spelling in spellings.items():
            if subscriber is exclude or (clients_only and subscriber.is_peer):
                continue
            if spelling is None:
                if canonical is None:
                    text = audience.text = audience.text or str(space)
                    canonical = self._frame(build(text))
                frame = canonical
            else:
                if spelling not in respelled:
                    respelled[spelling] = self._frame(build(spelling))
                frame = respelled[spelling]
            if soon and len(frame) <= CORKED_FRAME_BYTES_MAX:
                subscriber.deliver_soon(frame)
            else:
                subscriber.deliver(frame)
            delivered += 1
        self.delivered += delivered
        return delivered

    def _follows(self, audience: _Audience) -> bool:
        """Whether something was published to them already in this turn of the loop."""
        before, audience.turn = audience.turn, self.cork.begin()
        return audience.turn != 0 and audience.turn == before

    def _hold(
        self,
        waiting: list[Provisional],
        space: UUID,
        build: Build,
        exclude: Subscriber | None,
        cursor: int,
        *,
        clients_only: bool,
    ) -> None:
        frames: dict[str, bytes] = {}
        audience = self._audiences.get(space)
        listening: Mapping[Subscriber, str | None] = {} if audience is None else audience.spellings
        for provisional in waiting:
            subscriber = provisional.subscriber
            if subscriber is exclude or subscriber in listening or (clients_only and subscriber.is_peer):
                continue
            spelling = provisional.spaces[space]
            if spelling not in frames:
                frames[spelling] = self._frame(build(spelling))
            provisional.hold(space, frames[spelling], cursor)
