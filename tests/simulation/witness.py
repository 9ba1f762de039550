"""Watches one connection from outside: what was asked, what the server wrote, what it owes.

Everything is judged when the server writes it to the transport, whether or not the client ever reads it.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation.cast import SHARED, Person
from tests.simulation.frames import Closing, Frame, Malformed, described, parse
from tests.simulation.rules import Court, Rule, announced_missing
from tests.simulation.system import Chunk, Notification, Response
from tests.simulation.tables import Commit, Kind, Tables

BACKGROUND: Final = frozenset({"pull", "deks.get", "deks.getFiles", "file.deks.get"})
"""Requests that are answered beside the others."""
WITH_CURSORS: Final = frozenset({"sync", "membership", "file"})
GOODBYE: Final = "server shutting down"
OWN_TIME: Final = frozenset({"connection lifetime reached", "token expired", GOODBYE})
"""Reasons of closes whose moment the server chooses."""
DRAIN_S: Final = 8.0


@dataclass(slots=True)
class Asked:
    """One request without an answer yet."""

    id: str
    method: str
    ends_at: int
    """Where its last byte stands among those the client sent."""
    mark: bytes
    spaces: dict[str, str]
    """Each space it is about, with the CID of the UCAN it brings, or ""."""
    cid: str = ""
    """The one it is about to revoke."""
    arrived_s: float | None = None
    chunks: int = 0
    begun: set[str] = field(default_factory=set)
    times: dict[str, int] = field(default_factory=dict)
    """Of a `subscribe`: how often each space had been unsubscribed before."""


@dataclass(slots=True)
class Subscription:
    """What a connection knows of one space."""

    on: bool = False
    times: int = 0
    """How often it was unsubscribed."""
    asked: int = 0
    """Answers to `subscribe` that are still to come."""
    since: int = 0
    cid: str = ""
    cid_asked: str = ""
    last: int = 0
    heard: set[int] = field(default_factory=set)
    pull_at: int = -1
    barred: bool = False
    barred_above: int = 0
    """What was published before waits in the queue of a slow reader."""


class Witness:
    """Of one connection.

    Args:
        digest: fed with every byte the server writes.
        waiting_max: requests that the server may have read without having answered, before it reads more.
    """

    def __init__(
        self,
        number: int,
        person: Person,
        court: Court,
        tables: Tables,
        clock: Callable[[], float],
        digest: Callable[[bytes], None],
        waiting_max: int,
    ) -> None:
        self.number = number
        self.person = person
        self._court = court
        self._tables = tables
        self._clock = clock
        self._digest = digest
        self._waiting_max = waiting_max
        self._foreground: deque[Asked] = deque()
        self._background: deque[Asked] = deque()
        self._by_id: dict[str, Asked] = {}
        self._unarrived: deque[Asked] = deque()
        self._upgraded = False
        self.subscriptions: dict[str, Subscription] = {}
        self.closed_with: Closing | None = None
        self.ended = False
        self.sent = 0
        """Bytes the client has sent."""
        self.on_frame: Callable[[str], None] | None = None
        """For whoever looks at a failure."""
        self.on_revoked: Callable[[str], None] = lambda cid: None
        self.shut_down_s = math.inf
        """When a server that is shutting down closes whatever is under way."""
        self.may_say_goodbye: Callable[[], bool] = lambda: True
        """Whether the server drains or stops."""
        self.behind: Callable[[], bool] = lambda: False
        """Whether the client reads too slowly for what is written at once to reach the transport."""

    @property
    def own_mark(self) -> bytes:
        """How the marks of this connection's requests begin."""
        return b"c" + self.number.to_bytes(4, "big")

    @property
    def unanswered(self) -> int:
        """How many requests wait for their answer."""
        return len(self._by_id)

    @property
    def unanswered_arrived(self) -> int:
        """How many of them the server has read."""
        return len(self._by_id) - len(self._unarrived)

    # What the client does.

    def ask(self, asked: Asked) -> None:
        """A request is sent."""
        if self.on_frame is not None:
            self.on_frame(f"{self.person.name} {self.number} -> {asked.method} {asked.id}")
        self._by_id[asked.id] = asked
        self._unarrived.append(asked)
        (self._background if asked.method in BACKGROUND else self._foreground).append(asked)
        if asked.method == "subscribe":
            for space, cid in asked.spaces.items():
                subscription = self.subscriptions.setdefault(space, Subscription())
                subscription.asked += 1
                asked.times[space] = subscription.times
                subscription.cid_asked = cid

    def left(self, space: str) -> None:
        """The client has unsubscribed: nothing is owed any more."""
        if space in self.subscriptions:
            self.subscriptions[space].on = False
            self.subscriptions[space].times += 1

    def delivered(self, count: int) -> None:
        """The server reads so many bytes in all."""
        if self.closed_with is None and self.unanswered_arrived > self._waiting_max:
            self._charge(Rule.MEMORY, f"{self.unanswered_arrived} requests wait, and it reads on")
        while self._unarrived and self._unarrived[0].ends_at <= count:
            self._unarrived.popleft().arrived_s = self._clock()

    # What the server does.

    def written(self, data: bytes) -> list[Frame]:
        """Judge what the server writes, and return its frames."""
        self._digest(data)
        if not self._upgraded:
            self._upgraded = True
            if not data.startswith(b"HTTP/1.1 101"):
                self._charge(Rule.ANSWERS, f"refused: {data[:20]!r}")
            return []
        try:
            frames = parse(data)
        except Malformed as error:
            self._charge(Rule.ORDER, f"malformed: {error}")
            return []
        for frame in frames:
            if self.on_frame is not None:
                self.on_frame(f"{self.person.name} {self.number} <- {described(frame)}")
            self._judge(frame)
        return frames

    def _judge(self, frame: Frame) -> None:
        if self.closed_with is not None:
            self._charge(Rule.ORDER, f"{type(frame).__name__} after a close frame")
        elif isinstance(frame, Response):
            self._answered(frame)
        elif isinstance(frame, Chunk):
            self._chunk(frame)
        elif isinstance(frame, Notification):
            self._notified(frame.method, frame.params)
        elif isinstance(frame, Closing):
            self._closing(frame)

    def _answered(self, frame: Response) -> None:
        asked = self._by_id.pop(frame.id, None)
        if asked is None:
            self._charge(Rule.ANSWERS, f"a second answer, or to nothing: {frame.id}")
            return
        line = self._background if asked.method in BACKGROUND else self._foreground
        if line[0] is not asked:
            self._charge(
                Rule.ORDER, f"{asked.method} {asked.id} answered before {line[0].method} {line[0].id}"
            )
        line.remove(asked)
        if frame.error is not None:
            self._check_refusal(asked, frame.error.code)
            return
        result: Any = frame.result
        if asked.method == "subscribe":
            self._subscribed(asked, result)
        elif asked.method == "pull":
            self._pulled(asked, result)
        elif asked.method == "push":
            self._check_refusal(asked, result.get("error", ""))
        elif asked.method == "membership.revoke":
            self.on_revoked(asked.cid)

    def _subscribed(self, asked: Asked, result: Any) -> None:
        for row in result["spaces"]:
            subscription = self.subscriptions[row["id"]]
            subscription.asked -= 1
            if asked.times[row["id"]] != subscription.times:
                continue  # it has been unsubscribed since
            if not subscription.on or (SHARED, subscription.cid) in self._tables.revoked:
                subscription.on = True
                subscription.since = row["cursor"]
            subscription.cid = asked.spaces[row["id"]]
            subscription.barred = False
        for row in result.get("errors", ()):
            subscription = self.subscriptions[row["space"]]
            subscription.asked -= 1
            if row["error"] == "forbidden":
                subscription.on = False
                self._check_forbidden(row["space"], asked.spaces[row["space"]], "subscribe")

    def _pulled(self, asked: Asked, result: Any) -> None:
        if result["_chunks"] != asked.chunks:
            self._charge(Rule.ORDER, f"{asked.chunks} chunks, but the answer says {result['_chunks']}")
        for space, cid in asked.spaces.items():
            if space not in asked.begun and self._may(space, cid):
                self._charge(Rule.TRUTH, f"pull {asked.id} passes over {space}, which may be read")

    def _check_refusal(self, asked: Asked, code: str) -> None:
        if code == "forbidden":
            for space, cid in asked.spaces.items():
                self._check_forbidden(space, cid, asked.method)

    def _check_forbidden(self, space: str, cid: str, method: str) -> None:
        if self._may(space, cid):
            self._charge(Rule.TRUTH, f"{method} is forbidden in {space}, though nothing is revoked")

    def _may(self, space: str, cid: str) -> bool:
        if space == str(self.person.space):
            return True
        return bool(cid) and (SHARED, cid) not in self._tables.revoked

    def _chunk(self, frame: Chunk) -> None:
        asked = self._by_id.get(frame.id)
        if asked is None or not self._background or self._background[0] is not asked:
            self._charge(Rule.ORDER, f"chunk of {frame.id} out of turn")
            return
        asked.chunks += 1
        if frame.name == "pull.begin":
            data: Any = frame.data
            asked.begun.add(data["space"])

    def _notified(self, method: str, params: Any) -> None:
        space = params.get("space", "")
        if not space:
            return
        subscription = self.subscriptions.get(space)
        if subscription is None:
            self._charge(Rule.REVOKED, f"{method} of {space}, which was never asked for")
            return
        if method in WITH_CURSORS:
            cursor = params["cursor"]
            barred = subscription.barred and subscription.cid_asked == subscription.cid
            if barred and cursor > subscription.barred_above:
                self._charge(Rule.REVOKED, f"{method} of {space} after the revocation was answered")
            if cursor < subscription.last:
                self._charge(Rule.CURSORS, f"{method} {cursor} of {space} after {subscription.last}")
            subscription.last = max(cursor, subscription.last)
            subscription.heard.add(cursor)
            if method == "sync" and params["prev"] == cursor:
                subscription.pull_at = max(subscription.pull_at, cursor)

    def _closing(self, frame: Closing) -> None:
        self.closed_with = frame
        if frame.reason == GOODBYE and not self.may_say_goodbye():
            self._charge(Rule.DRAINED, "closed by a drain that was taken back")
        if frame.reason not in OWN_TIME:
            return
        written = {commit.mark for commit in self._tables.journal if commit.kind is Kind.PUSH}
        now = self._clock()
        if now >= self.shut_down_s:
            return
        for asked in self._foreground:
            recent = asked.arrived_s is not None and now - asked.arrived_s < DRAIN_S
            if asked.method == "push" and asked.mark in written and recent:
                self._charge(Rule.DRAINED, f"push {asked.id} is written, and closed without its reply")

    # At the end.

    def bar(self, cid: str) -> None:
        """What rests on this UCAN is over, and its holder hears no more."""
        for subscription in self.subscriptions.values():
            if subscription.cid == cid and not subscription.barred:
                subscription.barred = True
                space = self._tables.spaces[SHARED]
                subscription.barred_above = space.cursor if self.behind() else 0

    def check_settled(self) -> None:
        """Everything has come to rest, and this connection still lives: it must be owed nothing."""
        for asked in (*self._foreground, *self._background):
            self._charge(Rule.ANSWERS, f"{asked.method} {asked.id} was never answered")
        for space, subscription in self.subscriptions.items():
            if not subscription.on or subscription.barred or subscription.asked:
                continue
            missing = announced_missing(
                self._journal_of(space),
                space=space,
                since=subscription.since,
                heard=subscription.heard,
                pull_at=subscription.pull_at,
                own=self.own_mark,
            )
            if missing:
                what = ", ".join(f"{one.kind.name} {one.cursor} of {one.at_s:.6f} s" for one in missing[:5])
                self._charge(Rule.ANNOUNCED, f"{what} in {space} never announced")

    def _journal_of(self, space: str) -> list[Commit]:
        """Where commits to a space are to be found."""
        return self._tables.journal

    def _charge(self, rule: Rule, what: str) -> None:
        self._court.charge(rule, f"connection {self.number} ({self.person.name}): {what}", self._clock())
