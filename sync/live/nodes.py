"""This node among the others: what happens here is told to them, and what they tell is heard here, in order.

A *node* is one server process. Postgres keeps what is true; the bus carries news of it, and may lose, repeat
and reorder them (docs/scaling.md 3). Nothing that is heard lets anybody do more than before: news are told
to those whom the database has let in, ends of access are believed at once, and everything is compared with
the database every few seconds.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol
from uuid import UUID

import structlog

from less_sync.storage import NewsStore, StorageError
from less_sync.sync.announce import Announcer, Change, Notice
from less_sync.sync.live.broker import NO_CURSOR, Broker, Build, Granted
from less_sync.sync.live.bus import SUBJECT_OF_NODES, Bus, subject_of
from less_sync.sync.live.comparison import SPACES_PER_QUERY, Comparison
from less_sync.sync.live.in_order import GAP_S, InOrder
from less_sync.sync.live.interest import Interest, Interests
from less_sync.sync.live.mailboxes import Mailboxes, mailbox_hash
from less_sync.sync.live.news import (
    NEWS_BYTES_MAX,
    NODE_BYTES,
    Alive,
    AnyNews,
    Asked,
    Committed,
    Created,
    Event,
    Frame,
    Gone,
    Here,
    Invited,
    Left,
    Present,
    Revoked,
    decode_news,
    encode_news,
)
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX
from less_sync.sync.protocol.notifications import respelled, tells_of

COMPARE_S: Final = 4.5
"""From the end of a comparison to the next: with what it takes, news arrive within 5 s without any bus."""
SETTLED_S_MAX: Final = 1.0
"""How long our own writes to a space may keep what is missing there from being read. Beyond it an author may
hear of his own push."""
CURSOR_MAX: Final = 2**63 - 1
CIDS_PER_REVOCATION_MAX: Final = 64
REVOKED_TOLD_MAX: Final = 1024
"""Per space and comparison: CIDs of which it is known that everybody was told."""
_FRAME_BYTES: Final = 64
"""What a frame costs beside its payload, while it waits."""

log = structlog.get_logger(__name__)

OfPeople = Event | Present | Left | Asked | Here | Alive | Gone
"""News of what is stored nowhere."""


class People(Protocol):
    """Who is present at the other nodes: `PresenceElsewhere` (docs/scaling.md 3.4). None of it may raise."""

    @property
    def names(self) -> Sequence[str]:
        """What the nodes that give signs of life call themselves."""

    def began(self, space: UUID) -> None:
        """Somebody here listens to a space to which nobody did: who is there at the others?"""

    def ended(self, space: UUID) -> None:
        """This node hears no more of a space for which it `began`."""

    def hear(self, news: OfPeople) -> None:
        """Take one message of another node: of a space that this one hears of, or of none. Never our own."""

    def heard_of(self, node: bytes) -> None:
        """Other news of a node came: a sign of life."""

    def reconnected(self) -> None:
        """News were lost."""

    def close(self) -> None:
        """This node stops: say so to the others, and nothing after that."""


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
        store: NewsStore,
        *,
        node: bytes | None = None,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        compare_s: float = COMPARE_S,
        gap_s: float = GAP_S,
        forget_key: Callable[[UUID], None] = lambda space: None,
    ) -> None:
        """
        Args:
            node: this node's id, `NODE_BYTES` bytes; random unless given.
            frame_bytes_max: of one notification.
            forget_key: told of each space that was created at another node: one of that id may have been
                deleted, whose root key is remembered.
        """
        self.node: Final = node or secrets.token_bytes(NODE_BYTES)
        self.people: People | None = None
        self._bus = bus
        self._broker = broker
        self._announce = announce
        self._mailboxes = mailboxes
        self._compare_s = compare_s
        self._forget_key = forget_key
        self.interests = Interests(bus, self._ended)
        settled = partial(announce.settled, timeout_s=SETTLED_S_MAX)
        self.in_order = InOrder(broker, store, settled, frame_bytes_max=frame_bytes_max, gap_s=gap_s)
        self.comparison = Comparison(store, broker, announce, mailboxes, self.interests, self.in_order)
        self._due = asyncio.Event()
        self.heard = 0
        """Messages of other nodes that could be read, since the start."""
        self.unread = 0
        """Those that could not."""
        broker.watch_idle(self._idle)
        mailboxes.share()
        announce.nodes = self
        bus.attach(self.hear, self._reconnected)
        bus.listen(SUBJECT_OF_NODES)

    @property
    def bus(self) -> Bus:
        """What the others are heard by."""
        return self._bus

    def counts(self) -> Mapping[str, int]:
        """What has become of news, for `measure_nodes`."""
        return {
            "filled": self.in_order.filled,
            "late": self.in_order.late,
            "behind": self.comparison.found_behind,
            "nodes": 0 if self.people is None else len(self.people.names),
        }

    # What sessions ask.

    async def listen(self, spaces: Collection[UUID], *, counted: bool = False) -> None:
        """Hear of these spaces from now on; returns when that is so, or after `CONFIRM_S_MAX`.

        To be awaited between `Broker.prepare` and the query of `subscribe`, which then misses nothing. At
        once for spaces that are heard of already, and when the bus is away. Never raises but for
        cancellation.

        Args:
            counted: read how many revocations there are where that is not known yet: for subscriptions that
                do not tell on which tokens they rest.
        """
        for space in spaces:
            self.interests.begin(space)
        await self.interests.confirmed(spaces)
        if counted:
            await self._count(spaces)

    async def _count(self, spaces: Collection[UUID]) -> None:
        unknown = [
            space for space in spaces if (one := self.interests.get(space)) and one.revocations is None
        ]
        for start in range(0, len(unknown), SPACES_PER_QUERY):
            with suppress(StorageError):  # then the query that follows fails as well
                await self.comparison.compare(unknown[start : start + SPACES_PER_QUERY])

    def foreign(self, spaces: Collection[UUID]) -> None:
        """These have their home at another server: nothing of them is on the bus."""
        for space in spaces:
            self.interests.end(space)

    def entering(self, granted: Mapping[UUID, Granted]) -> list[UUID]:
        """Somebody is about to listen to these spaces, whose home is here: to be called right before
        `Broker.confirm`.

        Returns:
            Spaces of which this one may have missed something, and is to be told to pull: another one has
            read a higher cursor and was let in first, so that what is told begins there.
        """
        behind: list[UUID] = []
        for space, one in granted.items():
            interest = self.interests.begin(space)
            opened_at = self._broker.opened_at(space)
            if opened_at == NO_CURSOR:  # this one opens it
                opened_at = max(one.cursor, self._broker.cursor_told(space))
            if interest.opened_at is None:
                interest.opened_at = opened_at
            else:
                # The last who listened may have gone while this one, or another, was being let in.
                interest.opened_at = max(interest.opened_at, opened_at)
                if one.cursor < interest.opened_at:
                    behind.append(space)
        return behind

    def entered(self, granted: Iterable[UUID]) -> None:
        """The same one listens to them now: to be called right after `Broker.confirm`."""
        for space in granted:
            self.in_order.entered(space)
            interest = self.interests.begin(space)
            if not interest.people:
                interest.people = True
                if self.people is not None:
                    self.people.began(space)

    # What is told to the others.

    def publish(self, subject: str, news: AnyNews) -> None:
        """Send one message; never blocks. Lost when the bus is away."""
        if self._bus.connected:
            self._bus.publish(subject, encode_news(news))

    def committed(self, space: UUID, change: Change) -> None:
        """Tell the others of a commit in a space whose home is here, and our own in sequence.

        Its frames are built once, and are those that subscribers here get who spell the space in the usual
        way.
        """
        cursor = change.cursor
        notices = self._publish_commit(space, change) if self._bus.connected else change.notices
        self.in_order.take(space, cursor, notices, size_bytes=change.payload_bytes, own=True)

    def _publish_commit(self, space: UUID, change: Change) -> Sequence[Notice]:
        cursor, notices = change.cursor, change.notices
        frames: tuple[Frame, ...] = ()
        if change.payload_bytes <= NEWS_BYTES_MAX:
            text = str(space)
            payloads = [notice.build(text) for notice in notices]
            if sum(map(len, payloads)) <= NEWS_BYTES_MAX:
                frames = tuple(map(Frame, payloads))
            notices = [
                Notice(partial(_built, text, payload, notice.build), notice.exclude)
                for payload, notice in zip(payloads, notices, strict=True)
            ]
        self._bus.publish(
            subject_of(space), encode_news(Committed(self.node, space.bytes, cursor - 1, cursor, frames))
        )
        return notices

    def found(self, space: UUID, cursor: int) -> None:
        """The space is at `cursor`, as its row says: tell whoever has missed something, here and there."""
        self.publish(subject_of(space), Committed(self.node, space.bytes, cursor, cursor))
        self.in_order.heard(space, cursor)

    def revoked(self, space: UUID, cid: str) -> None:
        """Tell the others of a revocation that is known here."""
        self._note_revoked(space, (cid,))
        self.publish(subject_of(space), Revoked(self.node, space.bytes, (cid,)))

    def created(self, space: UUID) -> None:
        """Tell the others of a space that was created here: all of them, as any may remember its key."""
        self.publish(SUBJECT_OF_NODES, Created(self.node, space.bytes))

    def invited(self, mailbox: str, invitation: UUID | None) -> None:
        """Tell the others of an invitation that was stored here."""
        hashed = mailbox_hash(mailbox)
        one = b"" if invitation is None else invitation.bytes
        if one and self._mailboxes.listened_to_s(hashed) is not None:
            self.comparison.knows(one)
        self.publish(SUBJECT_OF_NODES, Invited(self.node, hashed, one))

    # What is heard of them.

    def hear(self, message: bytes) -> None:
        """Take one message of the bus. Never raises."""
        try:
            news = decode_news(message)
            if news is None or news.node == self.node:
                self.unread += news is None
                return
            self.heard += 1
            if self.people is not None:
                self.people.heard_of(news.node)
            self._hear(news)
        except Exception:
            log.exception("a message of another node was not taken")

    def _hear(self, news: AnyNews) -> None:
        match news:
            case Committed():
                interest = self.interests.named(news.space)
                if interest is not None:
                    self._hear_commit(interest, news)
            case Revoked():
                interest = self.interests.named(news.space)
                if interest is not None:
                    cids = news.cids[:CIDS_PER_REVOCATION_MAX]
                    self._note_revoked(interest.space, cids)
                    self._announce.revoked_here(interest.space, cids)
            case Created():
                space = UUID(bytes=news.space)
                self._forget_key(space)
                if self.interests.get(space) is not None:
                    self._announce.created_here(space)
            case Invited():
                if self._mailboxes.listened_to_s(news.mailbox) is None:
                    return
                if news.invitation and self.comparison.knows(news.invitation):
                    return  # a comparison was faster than the bus, or the bus repeats itself
                self._mailboxes.announce_hashed(news.mailbox)
            case Alive() | Gone():
                if self.people is not None:
                    self.people.hear(news)
            case _:
                if self.people is not None and self.interests.named(news.space) is not None:
                    self.people.hear(news)

    def _hear_commit(self, interest: Interest, news: Committed) -> None:
        prev, cursor, frames = news.prev, news.cursor, news.frames
        if not 0 <= prev <= cursor <= CURSOR_MAX:
            self.unread += 1
            return
        text = interest.text
        notices: list[Notice] = []
        size_bytes = 0
        for frame in frames:
            payload = frame.payload
            if not tells_of(payload, text, cursor):
                notices.clear()
                break
            notices.append(Notice(partial(_as_spelled, text, payload)))
            size_bytes += len(payload) + _FRAME_BYTES
        if notices:
            self.in_order.take(interest.space, cursor, notices, size_bytes=size_bytes)
        else:
            self.in_order.heard(interest.space, cursor, follows=prev)

    def _note_revoked(self, space: UUID, cids: Sequence[str]) -> None:
        """Everybody here is told of these now: the comparison need not tell of them again."""
        interest = self.interests.get(space)
        if interest is None:
            return
        if interest.told is None:
            interest.told = set()
        if len(interest.told) < REVOKED_TOLD_MAX:
            interest.told.update(cids)

    def _idle(self, space: UUID) -> None:
        self.in_order.drop(space)
        self.interests.idle(space)

    def _ended(self, space: UUID, interest: Interest) -> None:
        self.in_order.drop(space)
        if interest.people and self.people is not None:
            self.people.ended(space)

    # Comparison with the database.

    def _reconnected(self) -> None:
        """News were lost: compare at once."""
        self.interests.connection += 1
        self._due.set()
        if self.people is not None:
            self.people.reconnected()

    async def run(self) -> None:
        """Compare with the database, every few seconds and after each reconnect, until cancelled. A vital
        task."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._compare_s):
                    await self._due.wait()
            if self._due.is_set():
                self._due.clear()
                await self._bus.confirmed()
            try:
                await self.comparison.once()
            except StorageError as error:
                log.debug("nothing was compared", error=str(error))
            except Exception:
                log.exception("nothing was compared")
            self.interests.leave_old()

    async def aclose(self) -> None:
        """Read and tell nothing any more. After the sessions, before the bus."""
        if self.people is not None:
            self.people.close()
        await self.in_order.aclose()


def _built(text: str, payload: bytes, build: Build, spelling: str) -> bytes:
    """What was built for the usual spelling, and for another one what is built for that."""
    return payload if spelling == text else build(spelling)


def _as_spelled(text: str, payload: bytes, spelling: str) -> bytes:
    return payload if spelling == text else respelled(payload, text, spelling)
