"""What is asked of a node's notifications where there are others: no gap, nothing twice, and people."""

from collections.abc import Iterable
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
        self.view: View = {}
        """Who it believes is present in the shared space."""
        self._told: set[tuple[str, int]] = set()

    def _subscribed(self, asked: Asked, result: Any) -> None:
        super()._subscribed(asked, result)
        for row in result["spaces"]:
            if row["id"] == SPACE:
                self.view = {peer["peer"]: peer["data"] for peer in row.get("peers", ())}

    def left(self, space: str) -> None:
        super().left(space)
        if space == SPACE:
            self.view = {}

    def _notified(self, method: str, params: Any) -> None:
        space = params.get("space", "")
        subscription = self.subscriptions.get(space)
        before = 0 if subscription is None else max(subscription.last, subscription.since)
        super()._notified(method, params)
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

    def listens(self) -> int | None:
        """A number of the subscription to the shared space that is on and has no question open, or None."""
        subscription = self.subscriptions.get(SPACE)
        alive = self.closed_with is None and not self.ended and not self.behind()
        if subscription is None or not alive or not subscription.on or subscription.asked:
            return None
        return None if subscription.barred else subscription.times

    def check_heard(self, commits: Iterable[Commit], *, within_s: float) -> None:
        """These were committed long enough ago."""
        subscription = self.subscriptions[SPACE]
        missing = announced_missing(
            list(commits),
            space=SPACE,
            since=subscription.since,
            heard=subscription.heard,
            pull_at=subscription.pull_at,
            own=self.own_mark,
        )
        if missing:
            what = ", ".join(f"{one.kind.name} {one.cursor} of {one.at_s:.6f} s" for one in missing[:5])
            self._charge(Rule.ANNOUNCED, f"{what} not heard within {within_s} s")

    def check_view(self, present: View, own: str | None) -> None:
        """At rest: everybody sees whoever is present but himself."""
        there = {peer: data for peer, data in present.items() if peer != own}
        if self.view != there:
            missing, ghosts = len(there.keys() - self.view.keys()), len(self.view.keys() - there.keys())
            what = f"sees {len(self.view)} of {len(there)} others: {missing} missing, {ghosts} ghosts"
            self._charge(Rule.PRESENCE, what)


def is_told(commit: Commit) -> bool:
    """Whether a commit is announced in the shared space."""
    return commit.space == SHARED and commit.kind in (Kind.PUSH, Kind.APPEND)
