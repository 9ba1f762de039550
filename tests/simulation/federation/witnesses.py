"""What is asked of a server's answers where another server is behind them, or is not."""

from collections.abc import Callable
from typing import Any, Final

from tests.simulation.cast import SHARED
from tests.simulation.federation.system import UNAVAILABLE
from tests.simulation.rules import Rule
from tests.simulation.system import Chunk, Response
from tests.simulation.tables import Commit, Kind, RecordRow, Tables
from tests.simulation.witness import Asked, Witness

NEIGHBOUR_S: Final = 1.0
"""The longest that somebody waits for an answer who has nothing to do with other servers."""
Pulled = dict[str, tuple[object, int]]


class NeighbourWitness(Witness):
    """Of somebody who must not notice what becomes of the wire."""

    def _answered(self, frame: Response) -> None:
        asked = self._by_id.get(frame.id)
        super()._answered(frame)
        if asked is None or asked.arrived_s is None:
            return
        took_s = self._clock() - asked.arrived_s
        if took_s > NEIGHBOUR_S:
            self._charge(Rule.NEIGHBOURS, f"{asked.method} {asked.id} took {took_s:.1f} s")
        if frame.error is not None and frame.error.code == "internal":
            self._charge(Rule.NEIGHBOURS, f"{asked.method} {asked.id} failed")


class EdgeWitness(Witness):
    """Of a member at the edge. `tables` are the home's.

    Args:
        own_tables: the edge's own, for spaces whose home it is.
        untroubled: whether nothing can go wrong between the servers, so that nothing may be told to have.
    """

    def __init__(self, *args: Any, own_tables: Tables, untroubled: Callable[[], bool]) -> None:
        super().__init__(*args)
        self._own_tables = own_tables
        self._untroubled = untroubled
        self.acknowledged: dict[bytes, int] = {}
        """Cursors by mark, of pushes to the shared space."""
        self.pulled: Pulled | None = None
        """What the last whole pull of the shared space brought."""
        self._pulling: dict[str, Pulled] = {}

    def _answered(self, frame: Response) -> None:
        asked = self._by_id.get(frame.id)
        super()._answered(frame)
        if asked is None:
            return
        if frame.error is not None:
            self._check_fault(asked, frame.error.code)
            return
        result: Any = frame.result
        if asked.method == "push":
            self._check_fault(asked, result.get("error", ""))
            if result["ok"] and str(SHARED) in asked.spaces:
                self._acknowledge(asked, result.get("cursor", 0))
        elif asked.method == "pull":
            self.pulled = self._pulling.pop(asked.id, None)
        elif asked.method == "subscribe":
            for row in result.get("errors", ()):
                self._check_fault(asked, row["error"])

    def _check_fault(self, asked: Asked, code: str) -> None:
        may = all(self._may(space, cid) for space, cid in asked.spaces.items())
        if code == "internal" and may and self._untroubled():
            self._charge(Rule.ANSWERS, f"{asked.method} {asked.id} failed, and nothing can have")

    def _acknowledge(self, asked: Asked, cursor: int) -> None:
        written = [one.cursor for one in self._tables.journal if one.mark == asked.mark]
        if written != [cursor]:
            self._charge(
                Rule.ONCE, f"push {asked.id} was told cursor {cursor}, and is at the home under {written}"
            )
        self.acknowledged[asked.mark] = cursor

    def _pulled(self, asked: Asked, result: Any) -> None:
        """As at any server; but a home that cannot be reached is left out."""
        if self._untroubled():
            super()._pulled(asked, result)

    def _chunk(self, frame: Chunk) -> None:
        super()._chunk(frame)
        data: Any = frame.data
        if data.get("space") != str(SHARED):
            return
        if frame.name == "pull.begin":
            self._pulling[frame.id] = {}
        elif frame.name == "pull.record" and frame.id in self._pulling:
            self._pulling[frame.id][data["id"]] = data.get("blob"), data["cursor"]

    def _notified(self, method: str, params: Any) -> None:
        """As at any server; and a change behind a gap, or a frame that nobody takes for one, makes pull."""
        subscription = self.subscriptions.get(params.get("space", ""))
        known = max(subscription.last, subscription.since) if subscription is not None else 0
        super()._notified(method, params)
        if subscription is None:
            return
        if method == "sync" and (params["prev"] == -1 or params["prev"] > known):
            subscription.pull_at = max(subscription.pull_at, params["cursor"])
        elif method == "revoked" and params["reason"] == UNAVAILABLE:
            subscription.on = False
            if self._may(params["space"], subscription.cid):
                self._charge(Rule.TRUTH, "the subscription ended, though nothing is revoked")

    def _journal_of(self, space: str) -> list[Commit]:
        return (self._tables if space == str(SHARED) else self._own_tables).journal

    def check_at_home(self) -> None:
        """What was acknowledged is at the home, once, for good."""
        for mark, cursor in self.acknowledged.items():
            written = [one.cursor for one in self._tables.journal if one.mark == mark]
            if written != [cursor]:
                self._charge(Rule.ONCE, f"what was told to be at {cursor} is at the home under {written}")

    def check_pulled(self) -> None:
        """The last pull, from the beginning, has brought what the home has."""
        rows = self._tables.records.items()
        there = {str(id): _seen(row) for id, row in rows if row.space == SHARED and row.blob is not None}
        if self.pulled is None:
            self._charge(Rule.CONVERGED, "the pull at the end brought nothing")
        elif {id: seen for id, seen in self.pulled.items() if seen[0] is not None} != there:
            self._charge(Rule.CONVERGED, f"{len(self.pulled)} records came, {len(there)} are at the home")


def _seen(row: RecordRow) -> tuple[object, int]:
    return row.blob, row.cursor


def check_journal(journal: list[Commit]) -> list[bytes]:
    """Marks of pushes that were applied twice."""
    seen: set[bytes] = set()
    twice: list[bytes] = []
    for commit in journal:
        if commit.kind is Kind.PUSH:
            if commit.mark in seen:
                twice.append(commit.mark)
            seen.add(commit.mark)
    return twice
