"""One home server: its link, and the subscriptions that outlive the link's connections.

For each new connection everything wanted is subscribed to again before any other request, by the home's own
token where there is one, else by the UCAN of a session. Whoever may have missed something meanwhile is told
to pull.

What is left to do afterwards is done by one task that exists only while there is something: show the home the
UCANs of sessions again after something was revoked, ask for spaces that it would not subscribe us to just
then, and ask for the cursor after a write whose outcome is unknown (docs/federation.md 9.2 and 9.5).
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from less_sync.federation.outbound.calls import (
    LinkState,
    MakeLink,
    PeerAddress,
    PeerCalls,
    PeerFault,
    PeerRefused,
    RestoreCall,
)
from less_sync.federation.outbound.checks import Checks
from less_sync.federation.outbound.relay import REVOKED, catch_up, read_news
from less_sync.federation.outbound.requests import (
    Answer,
    Standing,
    Wish,
    batches,
    encode_wishes,
    read_answers,
)
from less_sync.federation.outbound.wanted import LINGER_S, Entry, Wanted
from less_sync.sync.announce import Announcer
from less_sync.sync.forwarding import Asked, HomeSpace, Listener
from less_sync.sync.live.broker import Broker
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, Notification, encode_value
from less_sync.sync.protocol.messages import UnsubscribeParams
from less_sync.sync.protocol.notifications import revoked_notification

UNAVAILABLE: Final = "federation_unavailable"
"""Why a subscription ended that the home would not renew."""

ROUNDS_MAX: Final = 16
"""UCANs tried for a space while other requests wait for a new connection; the rest is tried after them."""
SECOND_LOOK_S: Final = 31.0
"""After a write with an unknown outcome: by then the home has ended whatever it was."""
RETRY_S_MIN: Final = 1.0
RETRY_S_MAX: Final = 60.0
RETRY_JITTER: Final = 0.2

_GONE: Final = (ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND, ErrorCode.BAD_REQUEST)
"""Codes that say no; any other says not now."""

log = structlog.get_logger(__name__)


class _Attempt(NamedTuple):
    """An entry, by what it is asked for, and what its clients had been told before."""

    entry: Entry
    wish: Wish
    told: int | None
    revocations: int
    """How many had been heard of before."""

    @classmethod
    def now(cls, entry: Entry, wish: Wish) -> "_Attempt":
        """To be asked in this moment."""
        return cls(entry, wish, entry.told, entry.revocations)


class Relayed:
    """What came from one home since the server started, for clients of this one."""

    __slots__ = ("opened", "rows", "size_bytes")

    def __init__(self) -> None:
        self.opened = 0
        """How often its link was opened: once, and once more for each reconnect."""
        self.rows = 0
        """Records, files and entries of logs, in pulls and notifications."""
        self.size_bytes = 0
        """Of blobs, keys and entries, roughly."""

    def count(self, rows: int, size_bytes: int) -> None:
        """Something was passed on."""
        self.rows += rows
        self.size_bytes += size_bytes


class Home:
    """Made for the first request to a home; the owner of its link."""

    def __init__(
        self,
        address: PeerAddress,
        make_link: MakeLink,
        announce: Announcer,
        broker: Broker,
        checks: Checks,
        chance: random.Random,
        *,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        linger_s: float = LINGER_S,
    ) -> None:
        self._announce = announce
        self._broker = broker
        self._checks = checks
        self._chance = chance
        self._frame_bytes_max = frame_bytes_max
        self._make_link = make_link
        self._mending: asyncio.Task[None] | None = None
        self._looks: dict[UUID, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Links that were moved away from."""
        self._closed = False
        self.relayed = Relayed()
        self.entries = Wanted(self._unwanted, linger_s=linger_s)
        self.address = address
        self.link: PeerCalls = make_link(address, self)

    # What the link asks.

    @property
    def wanted(self) -> bool:
        """Whether anything is subscribed to."""
        return len(self.entries) > 0

    async def restore(self, call: RestoreCall) -> None:
        """Subscribe again to what sessions use, over a connection that is new."""
        attempts = [attempt for entry in self.entries if (attempt := self._first(entry)) is not None]
        tried: dict[UUID, set[str]] = {}
        for _ in range(ROUNDS_MAX):
            if not attempts:
                break
            attempts = await self._round(call, attempts, tried)
        for attempt in attempts:
            attempt.entry.refresh = True
        self._mend()

    def changed(self, state: LinkState) -> None:
        """Count how often the link was opened."""
        if state is LinkState.OPEN:
            self.relayed.opened += 1

    def heard(self, notification: Notification) -> None:
        """Tell this server's clients what the home announces of spaces that they use."""
        news = read_news(notification, frame_bytes_max=self._frame_bytes_max)
        entry = None if news is None else self.entries.get(news.space)
        if news is None or entry is None:
            return
        if news.method == REVOKED:
            self._checks.revoked(news.space)
            entry.revocations += 1
            entry.token = ""  # it does not tell on whose UCAN it rests
            entry.unchecked.update(dict.fromkeys(entry.sessions, True))
        else:
            entry.note(news.change.cursor)
        self.relayed.count(news.rows, news.change.payload_bytes)
        self._announce.relay(news.space, news.change)
        if entry.unchecked:
            self._mend()

    # Requests of sessions.

    async def subscribe(
        self, listener: Listener, asked: Sequence[Asked], *, person: str
    ) -> list[HomeSpace | str]:
        """For each how it stands at the home, or an error code."""
        before = [self._revocations(one.space) for one in asked]
        answers = await self._ask_for(asked, person=person)
        outcomes: list[HomeSpace | str] = []
        for one, answer, revocations in zip(asked, answers, before, strict=True):
            if isinstance(answer, Standing):
                self.entries.grant(one.space, listener, one.ucan)
                if self._revocations(one.space) != revocations:
                    self.entries.entry(one.space).unchecked[listener] = False
                    self._mend()
                outcomes.append(answer.state)
            else:
                outcomes.append(answer)
        self.link.wake()
        return outcomes

    def _revocations(self, space: UUID) -> int:
        entry = self.entries.get(space)
        return 0 if entry is None else entry.revocations

    async def confirm(self, asked: Asked, *, person: str) -> str | None:
        """Whether the home accepts this UCAN: None, or an error code."""
        [answer] = await self._ask_for([asked], person=person)
        return None if isinstance(answer, Standing) else answer

    async def _ask_for(self, asked: Sequence[Asked], *, person: str) -> list[Answer]:
        """Show the home what sessions bring. What it announces from now on is relayed already."""

        async def call(method: str, params: bytes) -> object:
            return await self.link.call(method, params, person=person)

        wishes = [Wish(one.space, one.since, one.ucan) for one in asked]
        opened = [self.entries.open(one.space) for one in asked]
        try:
            answers: list[Answer] = []
            for batch in batches(wishes):
                answers += await _ask(call, batch)
            for entry, wish, answer in zip(opened, wishes, answers, strict=True):
                if isinstance(answer, Standing):
                    self._granted(entry, wish, answer)
            return answers
        finally:
            for entry in opened:
                self.entries.close(entry)

    def _granted(self, entry: Entry, wish: Wish, answer: Standing) -> None:
        """Take what a session was granted. If others wait to hear how the space stands, that is known now."""
        if entry.refresh and entry.sessions:
            self._tell_to_pull(entry, answer, told=entry.told)
        self._learn(wish, answer)

    def _learn(self, wish: Wish, answer: Standing) -> None:
        if wish.ucan:
            self._checks.passed(wish.space, wish.ucan)
        self.entries.learn(wish.space, answer.token, answer.state)

    # Subscribing again.

    def _first(self, entry: Entry) -> _Attempt | None:
        """What to show for an entry first; None when nothing has to be."""
        if not entry.sessions:
            return None
        if entry.token:
            return _Attempt.now(entry, Wish(entry.space, token=entry.token))
        for ucan in entry.ucans():
            return _Attempt.now(entry, Wish(entry.space, ucan=ucan))
        self._lose(entry)
        return None

    async def _round(
        self, call: RestoreCall, attempts: Sequence[_Attempt], tried: dict[UUID, set[str]]
    ) -> list[_Attempt]:
        """Ask once for each; return what to try next for those that were refused.

        Raises:
            PeerFault: the connection ended.
        """
        again: list[_Attempt] = []
        by_wish = {id(attempt.wish): attempt for attempt in attempts}
        for batch in batches([attempt.wish for attempt in attempts]):
            for wish, answer in zip(batch, await _ask(call, batch, lost_raises=True), strict=True):
                attempt = by_wish[id(wish)]
                if isinstance(answer, Standing):
                    # It stands for this server, whoever of its sessions it was given for: what was revoked
                    # while there was no connection shows when each of the others shows its own UCAN.
                    attempt.entry.check_all()
                    self._renewed(attempt, answer)
                elif answer in _GONE:
                    again += self._refused(attempt, answer, tried.setdefault(wish.space, set()))
                else:
                    attempt.entry.refresh = True
        return again

    def _renewed(self, attempt: _Attempt, answer: Standing) -> None:
        """Subscribed again: tell to pull if the space is elsewhere than what was relayed last."""
        entry = attempt.entry
        self._learn(attempt.wish, answer)
        if attempt.wish.ucan and entry.revocations == attempt.revocations:
            for listener in entry.holding(attempt.wish.ucan):
                entry.unchecked.pop(listener, None)
        self._tell_to_pull(entry, answer, told=attempt.told)

    def _tell_to_pull(self, entry: Entry, answer: Standing, *, told: int | None) -> None:
        """Tell clients to pull if the home says another cursor than they had been told of before."""
        state = answer.state
        if answer.known and state.cursor != told:
            if entry.cursor == told:
                entry.cursor = state.cursor  # also back: a home may come from a backup
            entry.note(state.cursor)
            # What was relayed while the answer was under way may be further: clients hear no cursor go back.
            self._announce.relay(
                entry.space, catch_up(state._replace(cursor=max(state.cursor, entry.cursor or 0)))
            )
        if entry.surely is not None:
            entry.surely = max(entry.surely, state.cursor) if entry.space in self._looks else None

    def _refused(self, attempt: _Attempt, code: str, tried: set[str]) -> list[_Attempt]:
        """End what rested on what was refused; what to try next, if anything."""
        entry, wish = attempt.entry, attempt.wish
        entry.token = ""
        tried.add(wish.ucan)
        if code == ErrorCode.NOT_FOUND:
            self._lose(entry)
            return []
        if wish.ucan:
            self._end(entry, entry.holding(wish.ucan))
        else:
            entry.check_all()
        for ucan in entry.ucans():
            if ucan not in tried:
                return [attempt._replace(wish=Wish(entry.space, ucan=ucan))]
        self._lose(entry)
        return []

    def _lose(self, entry: Entry) -> None:
        """The home lets nobody of ours read it any more. It is told that nobody wants it a while later."""
        self._end(entry, list(entry.sessions))

    def _end(self, entry: Entry, listeners: Iterable[Listener]) -> None:
        space = entry.space
        for listener in listeners:
            if self._broker.is_subscribed(listener, space) and not entry.unchecked.get(listener, False):
                text = self._broker.spelling(listener, space)
                listener.notify(revoked_notification(text, reason=UNAVAILABLE))
            self._announce.end_subscriptions(listener, [space])
            self.entries.left(listener, space)

    # What is left to do.

    def doubt(self, space: UUID, *, told: int | None = None) -> None:
        """Something may have been written that nobody was told of.

        Args:
            told: up to which cursor everybody was, if that is less than what the home announced.
        """
        entry = self.entries.get(space)
        if entry is None or not entry.sessions or self._closed:
            return
        before = entry.told
        entry.surely = before if told is None or before is None else min(before, told)
        entry.refresh = True
        self._mend()
        former = self._looks.pop(space, None)
        if former is not None:
            former.cancel()
        self._looks[space] = asyncio.get_running_loop().call_later(SECOND_LOOK_S, self._look_again, space)

    def _look_again(self, space: UUID) -> None:
        del self._looks[space]
        entry = self.entries.get(space)
        if entry is not None and entry.sessions:
            entry.refresh = True
            self._mend()
        elif entry is not None:
            entry.surely = None

    def _mend(self) -> None:
        if self._mending is None and not self._closed:
            self._mending = asyncio.get_running_loop().create_task(self._mend_all(), name="subscriptions")

    async def _mend_all(self) -> None:
        """Ask until nothing is left to be asked. A home that does not answer is asked again later.

        Not while the link waits to dial again, which a call would cut short: a new connection begins with it.
        """
        pause_s = RETRY_S_MIN
        try:
            while self.link.state is not LinkState.BACKOFF and (due := self._due()):
                if await self._mend_once(due):
                    pause_s = RETRY_S_MIN
                    continue
                spread = self._chance.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER)
                await asyncio.sleep(pause_s * spread)
                pause_s = min(pause_s * 2, RETRY_S_MAX)
        finally:
            # Nothing is awaited between the last look and here: what comes later finds no task.
            self._mending = None

    def _due(self) -> list[_Attempt]:
        """One thing to be asked for each entry that has any."""
        due: list[_Attempt] = []
        for entry in self.entries:
            # Whose UCAN was not kept cannot be shown to the home again.
            self._end(entry, [one for one in entry.unchecked if not entry.sessions.get(one)])
            for listener in entry.unchecked:
                due.append(_Attempt.now(entry, Wish(entry.space, ucan=entry.sessions[listener])))
                break
            else:
                attempt = self._first(entry) if entry.refresh else None
                if attempt is not None:
                    due.append(attempt)
        return due

    async def _mend_once(self, due: Sequence[_Attempt]) -> bool:
        """Whether the home said anything that is final."""

        async def call(method: str, params: bytes) -> object:
            return await self.link.call(method, params, person="")

        final = False
        by_wish = {id(attempt.wish): attempt for attempt in due}
        for batch in batches([attempt.wish for attempt in due]):
            for wish, answer in zip(batch, await _ask(call, batch), strict=True):
                attempt = by_wish[id(wish)]
                if isinstance(answer, Standing):
                    self._renewed(attempt, answer)
                    final = True
                elif answer in _GONE:
                    self._shown_out(attempt, answer)
                    final = True
        return final

    def _shown_out(self, attempt: _Attempt, code: str) -> None:
        entry, wish = attempt.entry, attempt.wish
        if code == ErrorCode.NOT_FOUND:
            self._lose(entry)
        elif wish.ucan:
            self._end(entry, entry.holding(wish.ucan))
        else:
            entry.token = ""
            entry.check_all()

    # Its end.

    def _unwanted(self, spaces: Sequence[UUID]) -> None:
        params = UnsubscribeParams([str(space) for space in spaces])
        self.link.notify("unsubscribe", encode_value(params))
        if not self.wanted:
            self.link.wake()

    def give_up(self, space: UUID) -> None:
        """Another server is the home of this space now."""
        entry = self.entries.get(space)
        if entry is not None:
            self._lose(entry)

    def moved(self, address: PeerAddress) -> None:
        """It is dialled elsewhere from now on: what is wanted stays, over a link of its own."""
        former, self.address = self.link, address
        self.link = self._make_link(address, self)
        self.link.wake()
        ending = asyncio.get_running_loop().create_task(former.aclose(), name="former link")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def aclose(self) -> None:
        """The server stops."""
        self._closed = True
        self.entries.stop()
        for look in self._looks.values():
            look.cancel()
        self._looks.clear()
        if self._mending is not None:
            self._mending.cancel()
        await asyncio.gather(self.link.aclose(), *self._ending)


async def _ask(call: RestoreCall, wishes: Sequence[Wish], *, lost_raises: bool = False) -> list[Answer]:
    """One request for all; a fault is `internal` for each, unless it is let through."""
    try:
        result = await call("subscribe", encode_wishes(wishes))
    except PeerRefused as refused:
        limited = refused.code == ErrorCode.RATE_LIMITED
        return [ErrorCode.RATE_LIMITED if limited else ErrorCode.INTERNAL] * len(wishes)
    except PeerFault:
        if lost_raises:
            raise
        return [ErrorCode.INTERNAL] * len(wishes)
    return read_answers(wishes, result)
