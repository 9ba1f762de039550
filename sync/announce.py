"""The one door out: what was committed is announced, in order, whoever hung up meanwhile.

*Commit and announcement are one step.* A request that writes runs in a task owned here, not by its session: a
hang-up, a close or a timeout ends the session and leaves the write alone, which therefore always comes to its
announcement (or to the knowledge that its outcome is unknown). Pushes need no task: their lane writes them,
author or not, and calls back.

*In order of cursors* (docs/protocol.md 6.3). Pushes of one space come back in cursor order, because a space
has one lane at a time. Every other statement that takes a cursor, a *direct* write, has a connection of its
own, so its answer may come late: after that of a push with a higher cursor. Therefore an announcement waits
for this process' own writes to its space that were under way when its answer came: a push for the direct
ones, a direct one for all. It never waits for a cursor as such, which may be another server's.

*An unknown outcome* (a connection lost or a time-out after the statement was sent) is neither success nor
failure. The space's cursor is read once the database answers again; if it has moved beyond what was
announced, everybody is told to pull; where there are other nodes, what was missed is read and told in
sequence, and they are told as well. A statement that was cut off may still be running, so the look is
repeated until the database must have ended it. Of a space whose home is another server that one is asked
instead. That announcement has the cursor that was read and waits like any other: what was read may be what
our own writes under way have done.

*Other nodes* on the same database (`OtherNodes`, if there is a bus) are told of every commit in a space
whose home is here, whether anybody listens here or not; and what is told here takes its turn among what they
tell (docs/scaling.md 3.3).
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple, Protocol, TypeVar
from uuid import UUID

import structlog

from less_sync.storage import Space, SpaceStore, StorageError, Unavailable
from less_sync.sync.forwarding import Alone, Forwarder
from less_sync.sync.live.broker import NO_CURSOR, Broker, Build, Subscriber
from less_sync.sync.live.elsewhere import PresenceElsewhere
from less_sync.sync.live.mailboxes import Mailboxes
from less_sync.sync.live.presence import Presence
from less_sync.sync.protocol.codes import ACCESS_UNCERTAIN
from less_sync.sync.protocol.notifications import (
    presence_leave_notification,
    pull_notification,
    revoked_notification,
)

WAITING_CHANGES_MAX: Final = 1024
WAITING_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one space's announcements that wait for a direct write. What comes beyond is told as `pull`."""
LOOKS_S: Final = (0.0, 1.0, 31.0)
"""When to read the cursor after an unknown outcome. The last is beyond `statement_timeout`, 30 s."""
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0
SPACES_PER_LOOK: Final = 1000
UNKNOWN_SPACES_MAX: Final = 10_000
"""Spaces with an unknown outcome that are looked after. Beyond it, those alone to which somebody listens."""
DOUBTS_MAX: Final = 10_000
"""Tokens whose revocation has an unknown outcome that are looked after."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Notice(NamedTuple):
    """One notification to a space's subscribers."""

    build: Build
    exclude: Subscriber | None = None


class Change(NamedTuple):
    """What one commit is announced as."""

    cursor: int
    notices: Sequence[Notice]
    payload_bytes: int
    """What waiting costs: the bytes the notices keep alive."""
    clients_only: bool = False
    """Another server's news: no server hears of it from here, or it would go round in circles."""


class OtherNodes(Protocol):
    """Other processes on the same database: `less_sync.sync.live.nodes`. None of it blocks or raises."""

    def committed(self, space: UUID, change: Change) -> None:
        """Tell them of a commit, and this node's own subscribers when its turn comes."""

    def found(self, space: UUID, cursor: int) -> None:
        """The space is at `cursor`, as its row says: tell whoever has missed something, here and there."""

    def revoked(self, space: UUID, cid: str) -> None:
        """Tell them of a revocation that is known here."""

    def created(self, space: UUID) -> None:
        """Tell them of a space that was created here."""

    def invited(self, mailbox: str, invitation: UUID | None) -> None:
        """Tell them of an invitation that was stored here."""


_LAST: Final = 2**63
"""Beyond every cursor: what waits at it comes after all other changes."""


@dataclass(slots=True)
class _Waiting:
    """A change that may not be announced yet, or somebody who waits for all that are before it."""

    change: Change | Callable[[], None]
    direct: set[int]
    """Direct writes it waits for."""
    pushes: int
    """How many pushes of the space must still be answered."""


@dataclass(slots=True)
class _Order:
    """One space while a direct write to it is under way, or something waits for one."""

    direct: set[int] = field(default_factory=set)
    waiting: list[tuple[int, int, _Waiting]] = field(default_factory=list)
    """A heap by cursor, then by arrival."""
    waiting_bytes: int = 0
    overflowed: bool = False
    """Changes were dropped that come after everything that waits."""

    @property
    def full(self) -> bool:
        return len(self.waiting) >= WAITING_CHANGES_MAX or self.waiting_bytes >= WAITING_BYTES_MAX

    @property
    def idle(self) -> bool:
        return not self.direct and not self.waiting


@dataclass(slots=True)
class _Unknown:
    """A space in which something may have been written without being announced."""

    told: int
    """Up to which cursor its subscribers had been told."""
    since_s: float
    looks: int = 0


class Announcer:
    """Runs on one event loop. Hands notifications to the broker; holds what must wait, within bounds."""

    def __init__(
        self,
        broker: Broker,
        presence: Presence,
        mailboxes: Mailboxes,
        spaces: SpaceStore,
        *,
        looks_s: Sequence[float] = LOOKS_S,
    ) -> None:
        self._looks_s = looks_s
        self._broker = broker
        self._presence = presence
        self._mailboxes = mailboxes
        self._spaces = spaces
        self.forwarder: Forwarder = Alone()
        """Who knows what became of spaces whose home is elsewhere."""
        self.nodes: OtherNodes | None = None
        self.elsewhere: PresenceElsewhere | None = None
        """Hears of who is no more present here, so that other nodes do."""
        self._writes: dict[asyncio.Task[None], None] = {}
        self._no_writes = asyncio.Event()
        self._no_writes.set()
        self._pushes: dict[int, int] = {}
        """How many are under way, by the number of the space: a UUID hashes in Python, each time."""
        self._orders: dict[UUID, _Order] = {}
        self._tickets = 0
        self._unknown: dict[UUID, _Unknown] = {}
        self._doubts: dict[tuple[UUID, str], asyncio.TimerHandle] = {}
        self._closed = False
        """Nobody is told anything any more: what is cut off now must not begin anew."""
        self._settling: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    # Requests that write.

    def own(self, work: Callable[[], Coroutine[object, object, None]]) -> "asyncio.Task[None]":
        """Run a request that writes to its end, whatever becomes of its session."""
        task = asyncio.get_running_loop().create_task(self._owned(work), name="write")
        self._writes[task] = None
        self._no_writes.clear()
        return task

    async def _owned(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        try:
            await work()
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._writes.pop(task, None)
            if not self._writes:
                self._no_writes.set()

    @property
    def writes_under_way(self) -> int:
        """How many requests that write have not come to their end."""
        return len(self._writes)

    async def write(
        self, space: UUID, statement: Awaitable[T], announcement: Callable[[T], Change | None]
    ) -> T:
        """Await a direct write to `space` and announce what it did.

        Args:
            announcement: of the statement's result; None when nothing was written.

        Raises:
            StorageError: the statement's. After `Unavailable` its outcome is unknown, and taken care of here.
        """
        self._tickets += 1
        ticket = self._tickets
        order = self._orders.setdefault(space, _Order())
        order.direct.add(ticket)
        change: Change | None = None
        try:
            result = await statement
            change = announcement(result)
        except (Unavailable, asyncio.CancelledError):
            self.unknown(space)
            raise
        finally:
            # No await from the statement's answer to here: both are one step.
            order.direct.discard(ticket)
            for _, _, waiting in order.waiting:
                waiting.direct.discard(ticket)
            if change is not None:
                self._enqueue(space, order, change, pushes=self._pushes.get(space.int, 0))
            self._flush(space, order)
        return result

    # Pushes, which come back in cursor order of their space.

    def push_begun(self, space: UUID) -> None:
        """A push was handed to its lane."""
        key = space.int
        self._pushes[key] = self._pushes.get(key, 0) + 1

    def push_ended(self, space: UUID, change: Change | None) -> None:
        """Its fate is known; None when nothing was written."""
        key = space.int
        left = self._pushes[key] - 1
        if left:
            self._pushes[key] = left
        else:
            del self._pushes[key]
        order = self._orders.get(space) if self._orders else None
        if order is None:
            if change is not None:
                self._publish(space, change)
            return
        for _, _, waiting in order.waiting:
            waiting.pushes = max(0, waiting.pushes - 1)
        if change is not None:
            self._enqueue(space, order, change, pushes=0)
        self._flush(space, order)

    def _enqueue(self, space: UUID, order: _Order, change: Change, *, pushes: int) -> None:
        if order.full or order.overflowed:
            order.overflowed = True
            return
        self._tickets += 1
        waiting = _Waiting(change, set(order.direct), pushes)
        heapq.heappush(order.waiting, (change.cursor, self._tickets, waiting))
        order.waiting_bytes += change.payload_bytes

    def _flush(self, space: UUID, order: _Order) -> None:
        """Announce what waits for nothing any more, lowest cursor first."""
        while order.waiting:
            waiting = order.waiting[0][2]
            if waiting.direct or waiting.pushes:
                return
            heapq.heappop(order.waiting)
            if isinstance(waiting.change, Change):
                order.waiting_bytes -= waiting.change.payload_bytes
                self._publish(space, waiting.change)
            else:
                waiting.change()
        if order.overflowed:
            order.overflowed = False
            self.unknown(space, told=NO_CURSOR)
        if order.idle:
            self._orders.pop(space, None)

    async def settled(self, space: UUID, *, timeout_s: float) -> None:
        """Return once this process' own writes to a space that are under way have been announced, or in
        vain."""
        if not self._pushes.get(space.int) and space not in self._orders:
            return
        done = asyncio.Event()
        order = self._orders.setdefault(space, _Order())
        self._tickets += 1
        waiting = _Waiting(done.set, set(order.direct), self._pushes.get(space.int, 0))
        heapq.heappush(order.waiting, (_LAST, self._tickets, waiting))
        self._flush(space, order)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await done.wait()

    def _publish(self, space: UUID, change: Change) -> None:
        if self.nodes is not None and not change.clients_only:
            self.nodes.committed(space, change)
            return
        for notice in change.notices:
            self._broker.publish(
                space,
                notice.build,
                exclude=notice.exclude,
                cursor=change.cursor,
                clients_only=change.clients_only,
            )

    def relay(self, space: UUID, change: Change) -> None:
        """Announce what the space's home, another server, has committed; `change` is for clients only.

        It waits for this process' own writes to the space under way, whose answers may tell of lower cursors.
        What has no cursor waits for nothing: a revocation is told before those it shuts out are unsubscribed.
        """
        order = self._orders.get(space) if self._orders else None
        if order is None or change.cursor == NO_CURSOR:
            self._publish(space, change)
            return
        self._enqueue(space, order, change, pushes=0)
        self._flush(space, order)

    # What takes no cursor.

    def publish(self, space: UUID, build: Build, *, exclude: Subscriber | None = None) -> None:
        """Announce something that is not stored: presence, an event. Other servers do not hear of it."""
        self._broker.publish(space, build, exclude=exclude, clients_only=True)

    def invited(self, mailbox: str, invitation: UUID | None = None) -> None:
        """An invitation was stored; None when nobody knows its id, or whether it was."""
        self._mailboxes.announce(mailbox)
        if self.nodes is not None:
            self.nodes.invited(mailbox, invitation)

    def revoked(self, space: UUID, cid: str, *, exclude: Subscriber) -> None:
        """A UCAN was revoked: everybody else hears so, and whose access rested on it nothing after that."""
        # Other nodes are told first: what is left by those whose access ends here must not overtake it.
        if self.nodes is not None:
            self.nodes.revoked(space, cid)
        self.revoked_here(space, [cid], exclude=exclude)

    def revoked_here(self, space: UUID, cids: Iterable[str], *, exclude: Subscriber | None = None) -> None:
        """Tell this node's people of revocations in a space, and end what rested on them."""
        self._broker.publish(space, revoked_notification, exclude=exclude)
        for cid in cids:
            for arriving in self._broker.arriving(space):
                arriving.revoked.add((space, cid))
            for subscriber in self._broker.resting_on(space, cid):
                self.end_subscriptions(subscriber, [space])

    def created(self, space: UUID) -> None:
        """A shared space was created: whoever listens was let into one of that id that is deleted since.

        That is an operator's doing (docs/operations.md 15.3). Its root key was another one, so what rested on
        that opens nothing here.
        """
        self.created_here(space)
        if self.nodes is not None:
            self.nodes.created(space)

    def created_here(self, space: UUID) -> None:
        """End this node's subscriptions to a space that was created anew."""
        for subscriber in self._broker.listeners(space):
            self.end_subscriptions(subscriber, [space])

    def maybe_revoked(self, space: UUID, cid: str) -> None:
        """A revocation has an unknown outcome: whoever rests on the token must come back and be checked.

        So must whoever rests on it when the database has surely ended the statement: while that waits for a
        lock, those who come back are let in.
        """
        self._check_again(space, cid)
        known = self._doubts.pop((space, cid), None)
        if known is not None:
            known.cancel()
        if len(self._doubts) < DOUBTS_MAX and not self._closed:
            loop = asyncio.get_running_loop()
            self._doubts[space, cid] = loop.call_later(self._looks_s[-1], self._doubt_is_over, space, cid)

    def _doubt_is_over(self, space: UUID, cid: str) -> None:
        del self._doubts[space, cid]
        self._check_again(space, cid)

    def _check_again(self, space: UUID, cid: str) -> None:
        for arriving in self._broker.arriving(space):
            arriving.doubted.add((space, cid))
        for subscriber in self._broker.resting_on(space, cid):
            subscriber.end(ACCESS_UNCERTAIN)

    # Ends of subscriptions, and who is there no more.

    def end_subscriptions(self, subscriber: Subscriber, spaces: Iterable[UUID]) -> None:
        """Unsubscribe a session and tell the others where it was present."""
        ended = list(spaces)
        self._broker.unsubscribe(subscriber, ended)
        for space in ended:
            self.leave(subscriber, space)

    def leave(self, subscriber: Subscriber, space: UUID) -> None:
        """A session is no longer present in a space."""
        peer = self._presence.clear(space, subscriber.connection_id)
        if peer is not None:
            self.departed(space, peer, exclude=subscriber)

    def end_session(self, subscriber: Subscriber, *, present: bool) -> None:
        """A session is over; `present` when it may have shown presence anywhere."""
        if present:
            for space, peer in self._presence.drop(subscriber.connection_id):
                self.departed(space, peer, exclude=subscriber)
        self._broker.unsubscribe(subscriber, self._broker.subscribed(subscriber))

    def departed(self, space: UUID, peer: str, *, exclude: Subscriber | None = None) -> None:
        """Tell a space's subscribers, at other nodes too, that somebody of this one is there no more."""
        self.publish(space, lambda text: presence_leave_notification(text, peer=peer), exclude=exclude)
        if self.elsewhere is not None:
            self.elsewhere.left(space, peer)

    # Unknown outcomes.

    def unknown(self, space: UUID, *, told: int | None = None) -> None:
        """Something may have been written to a space without being announced: look, once that is possible.

        Even if nobody listens: what still waits for a lock may be committed after somebody has subscribed.

        Args:
            told: up to which cursor everything was announced; by default what the subscribers were told last.
                `NO_CURSOR` where something certainly was not.
        """
        full = len(self._unknown) >= UNKNOWN_SPACES_MAX and not self._broker.listened_to(space)
        if full or self._closed:
            return
        if told is None:
            told = self._broker.cursor(space)
        known = self._unknown.get(space)
        if known is not None:
            told = min(told, known.told)
        self._unknown[space] = _Unknown(told, asyncio.get_running_loop().time())
        self._news.set()
        if self._settling is None:
            self._settling = asyncio.get_running_loop().create_task(self._settle(), name="unknown outcomes")

    async def _settle(self) -> None:
        """Look at every space with an unknown outcome, as often as `looks_s` says."""
        pause_s = RETRY_S_MIN
        try:
            while self._unknown:
                self._news.clear()
                due = self._due()
                if due and not await self._look(due):
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, RETRY_S_MAX)
                    continue
                pause_s = RETRY_S_MIN
                await self._until_due()
        finally:
            # Nothing is awaited between the last look at the table and here: what comes later finds no task.
            self._settling = None

    def _due(self) -> list[UUID]:
        now_s = asyncio.get_running_loop().time()
        due = (
            space for space, one in self._unknown.items() if now_s >= one.since_s + self._looks_s[one.looks]
        )
        return list(islice(due, SPACES_PER_LOOK))

    async def _until_due(self) -> None:
        """Sleep until the next look, or until there is a new space."""
        if not self._unknown:
            return
        at_s = min(one.since_s + self._looks_s[one.looks] for one in self._unknown.values())
        try:
            async with asyncio.timeout_at(at_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def _look(self, spaces: list[UUID]) -> bool:
        """Read the cursors once and tell whoever has missed something; False when the database is away."""
        looked_at = {space: self._unknown[space] for space in spaces}
        everywhere = self.nodes is not None
        listened_to = [space for space in spaces if everywhere or self._broker.listened_to(space)]
        try:
            rows = await self._spaces.get_spaces(listened_to) if listened_to else {}
        except StorageError:
            return False
        for space, unknown in looked_at.items():
            row = rows.get(space)
            if row is not None and self.forwarder.is_foreign(row.home_server):
                self._unknown.pop(space, None)
                self.forwarder.doubt(space, told=unknown.told)  # its row has no cursor: the home is asked
                continue
            if row is not None and self.nodes is not None:
                self.nodes.found(space, row.cursor)
            elif row is not None and row.cursor > unknown.told and self._broker.listened_to(space):
                # What was told meanwhile may be further than what was read.
                unknown.told = max(row.cursor, self._broker.cursor_told(space))
                self._tell_to_pull(space, row, unknown.told)
            unknown.looks += 1
            if unknown.looks == len(self._looks_s) and self._unknown.get(space) is unknown:
                del self._unknown[space]
        return True

    def _tell_to_pull(self, space: UUID, row: Space, cursor: int) -> None:
        """Announce that a space was written to; behind our own writes, which may be what was read."""

        def build(text: str) -> bytes:
            return pull_notification(
                text, cursor=cursor, key_generation=row.key_generation, rewrap_epoch=row.rewrap_epoch
            )

        order = self._orders.setdefault(space, _Order())
        change = Change(cursor, (Notice(build),), 0)
        self._enqueue(space, order, change, pushes=self._pushes.get(space.int, 0))
        self._flush(space, order)
        log.debug("told to pull after an unknown outcome", space=str(space), cursor=cursor)

    # The end.

    async def aclose(self, timeout_s: float) -> None:
        """Wait for the writes under way, then cut them off and look at nothing any more."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._no_writes.wait()
        except TimeoutError:
            log.warning("writes were cut off", count=len(self._writes))
        self._closed = True
        for doubt in self._doubts.values():
            doubt.cancel()
        self._doubts.clear()
        tasks = list(self._writes)
        if self._settling is not None:
            tasks.append(self._settling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
