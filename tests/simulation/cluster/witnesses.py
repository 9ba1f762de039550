"""What is asked of a node's notifications where there are others: no gap, nothing twice, and people."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

from tests.simulation.cast import SHARED
from tests.simulation.rules import Rule, announced_missing
from tests.simulation.tables import Commit, Kind
from tests.simulation.witness import Asked, Subscription, Witness

SPACE: Final = str(SHARED)
View = dict[str, bytes]


class MemberWitness(Witness):
    """Of a client of one node."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.node = 0
        self.on_subscribed: Callable[[str], None] = lambda space: None
        self.view: View = {}
        """Who it believes is present in the shared space."""
        self.invited_s = -math.inf
        """When it heard last that something came to its mailbox."""
        self._told: set[tuple[str, int]] = set()

    def _subscribed(self, asked: Asked, result: Any) -> None:
        super()._subscribed(asked, result)
        for row in result["spaces"]:
            if row["id"] == SPACE:
                self.view = {peer["peer"]: peer["data"] for peer in row.get("peers", ())}
            self.on_subscribed(row["id"])

    def left(self, space: str) -> None:
        super().left(space)
        if space == SPACE:
            self.view = {}

    def _notified(self, method: str, params: Any) -> None:
        space = params.get("space", "")
        subscription = self.subscriptions.get(space)
        before = 0 if subscription is None else max(subscription.last, subscription.since)
        super()._notified(method, params)
        if method == "invitation":
            self.invited_s = self._clock()
        if subscription is None:
            return
        if method == "sync":
            self._synced(space, subscription, params["prev"], params["cursor"], before)
        elif method == "presence" and space == SPACE:
            self.view[params["peer"]] = params["data"]
        elif method == "presence.leave" and space == SPACE:
            self.view.pop(params["peer"], None)

    def _synced(self, space: str, subscription: Subscription, prev: int, cursor: int, before: int) -> None:
        """One frame may tell of several commits. What it begins with was told before, or it says to pull."""
        if prev == -1:
            subscription.pull_at = max(subscription.pull_at, cursor)
            return
        if prev >= cursor:
            return
        skipped = [
            one.cursor
            for one in self._journal_of(space)
            if str(one.space) == space
            and before < one.cursor <= prev
            and one.kind is not Kind.REVOKE
            and not one.mark.startswith(self.own_mark)
        ]
        if skipped and subscription.on and not subscription.asked:
            self._charge(Rule.ANNOUNCED, f"sync {cursor} of {space} skips {skipped}")
        if (space, cursor) in self._told:
            self._charge(Rule.CURSORS, f"sync {cursor} of {space} is told twice")
        self._told.add((space, cursor))
        subscription.heard.update(range(prev + 1, cursor + 1))

    # What is owed at a time.

    def listens(self, space: str = SPACE) -> int | None:
        """A number of the subscription to a space that is on and has no question open, or None."""
        subscription = self.subscriptions.get(space)
        alive = self.closed_with is None and not self.ended and not self.behind()
        if subscription is None or not alive or not subscription.on or subscription.asked:
            return None
        revoked = (SHARED, subscription.cid) in self._tables.revoked
        return None if subscription.barred or revoked else subscription.times

    def check_heard(self, commit: Commit, *, within_s: float) -> None:
        """This was committed long enough ago."""
        space = str(commit.space)
        subscription = self.subscriptions[space]
        missing = announced_missing(
            self._not_superseded([commit]),
            space=space,
            since=subscription.since,
            heard=subscription.heard,
            pull_at=subscription.pull_at,
            own=self.own_mark,
        )
        if missing:
            what = f"{commit.kind.name} {commit.cursor} of {commit.at_s:.6f} s in {space}"
            self._charge(Rule.ANNOUNCED, f"{what} is not heard within {within_s} s")

    def check_invited(self, at_s: float, *, within_s: float) -> None:
        """Something came to its mailbox then, long enough ago. What comes together is told once."""
        if self.invited_s < at_s:
            what = f"an invitation of {at_s:.6f} s is not heard of within {within_s} s"
            self._charge(Rule.INVITED, what)

    def _journal_of(self, space: str) -> list[Commit]:
        return self._not_superseded(super()._journal_of(space))

    def _not_superseded(self, commits: Iterable[Commit]) -> list[Commit]:
        """Without pushes whose records were all written again: who has missed them is told of the later state
        alone."""
        there = {(row.space, row.cursor) for row in self._tables.records.values()}
        return [one for one in commits if one.kind is not Kind.PUSH or (one.space, one.cursor) in there]

    def check_view(self, present: View, own: str | None) -> None:
        """At rest: everybody sees whoever is present but himself."""
        there = {peer: data for peer, data in present.items() if peer != own}
        if self.view != there:
            missing, ghosts = len(there.keys() - self.view.keys()), len(self.view.keys() - there.keys())
            what = f"sees {len(self.view)} of {len(there)} others: {missing} missing, {ghosts} ghosts"
            self._charge(Rule.PRESENCE, what)


def is_told(commit: Commit) -> bool:
    """Whether a commit is announced."""
    return commit.kind in (Kind.PUSH, Kind.APPEND)
