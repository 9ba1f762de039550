"""Every few seconds, whatever the bus seems to be: is what was told here all that the database has?

Compared are cursors, numbers of revocations, which move no cursor, and invitations. So what the bus has
lost, or what was written by a server that is not on it, is found; and what was never true is undone
(docs/scaling.md 3.3).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar
from uuid import UUID

import structlog

from less_sync.storage import Invited, NewsStore, SpaceState
from less_sync.sync.announce import Announcer
from less_sync.sync.live.broker import NO_CURSOR, Broker, Subscriber
from less_sync.sync.live.in_order import InOrder
from less_sync.sync.live.interest import Interest, Interests
from less_sync.sync.live.mailboxes import Mailboxes, mailbox_hash
from less_sync.sync.protocol.notifications import resubscribe_notification, revoked_notification

SPACES_PER_QUERY: Final = 1000
PAIRS_PER_QUERY: Final = 4096
OVERLAP_S: Final = 40.0
"""An invitation is dated when its statement begins, and may be committed as late as a statement may take, 30
s."""
JOINED_S: Final = 5.0
"""Who began to read a mailbox so much later than something was stored has found it there."""
INVITATIONS_MAX: Final = 10_000
"""Ids of invitations that are known to have been told; of older ones somebody may be told again."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Comparison:
    """Of one node with the database. `once` runs once at a time; `compare` may beside it."""

    def __init__(
        self,
        store: NewsStore,
        broker: Broker,
        announce: Announcer,
        mailboxes: Mailboxes,
        interests: Interests,
        in_order: InOrder,
    ) -> None:
        self._store = store
        self._broker = broker
        self._announce = announce
        self._mailboxes = mailboxes
        self._interests = interests
        self._in_order = in_order
        self._invitations_read_s: float | None = None
        self._known_invitations: OrderedDict[bytes, None] = OrderedDict()
        self.found_behind = 0
        """Spaces found to be further than was told, since the start."""

    async def once(self) -> None:
        """Compare every space that anybody listens to, and read what was stored in mailboxes.

        Raises:
            StorageError: the database was away; what was compared until then is done.
        """
        for interests in _pieces(self._interests.all(), SPACES_PER_QUERY):
            listened_to = [one.space for one in interests if self._broker.cursor(one.space) != NO_CURSOR]
            if listened_to:
                await self.compare(listened_to)
        await self._read_invitations()

    async def compare(self, spaces: Sequence[UUID]) -> None:
        """Compare these, `SPACES_PER_QUERY` at most, in one query; a second one for new revocations.

        Raises:
            StorageError: the database was away.
        """
        told = {space: self._broker.cursor(space) for space in spaces}
        # As of before the query: whoever compares meanwhile may have seen what this one does not see.
        known = {space: one.revocations for space in spaces if (one := self._interests.get(space))}
        states = await self._store.compare(spaces)
        risen: dict[UUID, int | None] = {}
        for space in spaces:
            interest, state = self._interests.get(space), states.get(space)
            if interest is None or state is None:
                continue  # nobody hears of it any more; or it was deleted: nothing comes of it
            if self._announce.forwarder.is_foreign(state.home_server):
                self._interests.end(space)
                continue
            before, now = known.get(space), interest.revocations
            fewer = before is not None and state.revocations < before
            if told[space] > state.cursor or fewer:
                self._begin_anew(space, interest, state)
                continue
            if now is not None and state.revocations < now:
                pass  # of before what is known by now
            elif state.revocations != now or interest.is_recheck_due:
                risen[space] = interest.revocations
                interest.revocations = state.revocations
            else:
                interest.told = None
            if state.cursor > self._broker.cursor(space) != NO_CURSOR:
                self.found_behind += 1
                self._in_order.heard(space, state.cursor)
            else:
                self._in_order.entered(space)
        if risen:
            await self._check_risen(risen)

    async def _check_risen(self, risen: dict[UUID, int | None]) -> None:
        """Check revocations; what is not, whatever the reason, is the next time."""
        now = {space: one.revocations for space in risen if (one := self._interests.get(space))}
        try:
            await self._check_revocations(risen)
        except BaseException:
            for space, known in risen.items():
                interest = self._interests.get(space)
                if interest is not None and interest.revocations == now.get(space):
                    interest.revocations, interest.is_recheck_due = known, True
            raise

    def _begin_anew(self, space: UUID, interest: Interest, state: SpaceState) -> None:
        """What was told cannot be true of the space that is there: it is another one of the same id, or an
        older state of it, or somebody made it up. Whoever listens subscribes again, and pulls: a cursor
        beyond the space's brings everything."""
        log.warning("a space is behind what was told of it", space=str(space), cursor=state.cursor)
        self._in_order.drop(space)
        self._broker.set_back(space, state.cursor)
        interest.revocations = state.revocations
        interest.told = None
        for subscriber in self._broker.listeners(space):
            text = self._broker.spelling(subscriber, space)
            self._broker.tell(
                subscriber,
                # A peer knows no `resubscribe`; after `revoked` it shows anew what it rests on.
                revoked_notification(text) if subscriber.is_peer else resubscribe_notification([text]),
            )
            self._announce.end_subscriptions(subscriber, [space])

    # Revocations.

    async def _check_revocations(self, risen: dict[UUID, int | None]) -> None:
        """End what rests on a token that is revoked; where the number rose, what does not name its tokens
        too.

        Args:
            risen: each space with the number that was known before.
        """
        for space, known in risen.items():
            self._doubt_arrivals(space, known)
        revoked: dict[UUID, list[str]] = {}
        for pairs in _pieces(self._pairs(risen), PAIRS_PER_QUERY):
            for space, cid in await self._store.revoked_among(pairs):
                revoked.setdefault(space, []).append(cid)
        for space, known in risen.items():
            interest = self._interests.get(space)
            if interest is None:
                continue
            told, interest.told = interest.told or (), None
            rose = known is not None and interest.revocations != known
            unnamed = self._unnamed(space) if rose else []
            missed = rose and (interest.revocations or 0) - (known or 0) > len(told)
            if missed or unnamed or space in revoked:
                self._announce.revoked_here(space, revoked.get(space, ()))
            for subscriber in unnamed:
                self._announce.end_subscriptions(subscriber, [space])

    def _doubt_arrivals(self, space: UUID, known: int | None) -> None:
        """Who is being let in may have been checked before: those with a named token are checked next time,
        of the others it is not known whether they rest on what was revoked since `known`."""
        arriving = self._broker.arriving(space)
        interest = self._interests.get(space)
        if interest is None:
            return
        if known is not None and interest.revocations != known:
            for one in arriving:
                one.doubted.add((space, ""))
        interest.is_recheck_due = bool(arriving)

    def _pairs(self, spaces: Iterable[UUID]) -> Iterator[tuple[UUID, str]]:
        """What subscriptions here rest on, each once."""
        for space in spaces:
            cids: dict[str, None] = {}
            for subscriber in self._broker.listeners(space):
                hold = self._broker.holds(subscriber).get(space)
                if hold is not None:
                    cids.update(dict.fromkeys(hold.cids))
            yield from ((space, cid) for cid in cids)

    def _unnamed(self, space: UUID) -> list[Subscriber]:
        return [
            subscriber
            for subscriber in self._broker.listeners(space)
            if (hold := self._broker.holds(subscriber).get(space)) is not None and hold.unnamed
        ]

    # Invitations.

    def knows(self, invitation: bytes) -> bool:
        """Whether an invitation, by the 16 bytes of its id, was told before to who reads its mailbox here;
        from now on it was."""
        if invitation in self._known_invitations:
            return True
        self._known_invitations[invitation] = None
        if len(self._known_invitations) > INVITATIONS_MAX:
            self._known_invitations.popitem(last=False)
        return False

    async def _read_invitations(self) -> None:
        now_s = asyncio.get_running_loop().time()
        since_s = OVERLAP_S
        if self._invitations_read_s is not None:
            since_s += now_s - self._invitations_read_s
        page: Sequence[Invited] = ()
        after: Invited | None = None
        while page := await self._store.invited_since(since_s, after):
            after = page[-1]
            for one in page:
                self._hear(one)
        self._invitations_read_s = now_s

    def _hear(self, one: Invited) -> None:
        hashed, invitation = mailbox_hash(one.mailbox), one.id.bytes
        read_s = self._mailboxes.listened_to_s(hashed)
        if read_s is None or self.knows(invitation):
            return
        if one.age_s <= read_s + JOINED_S:
            self._mailboxes.announce_hashed(hashed)


def _pieces(things: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(things)
    while piece := list(islice(iterator, size)):
        yield piece
