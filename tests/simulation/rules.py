"""What must hold whatever happens. Each rule has a name, so that a run can look for some alone."""

from dataclasses import dataclass, field
from enum import StrEnum

from tests.simulation.tables import Commit, Kind


class Rule(StrEnum):
    """One kind of promise. README-like notes on adding one stand in `tests/simulation/__init__.py`."""

    ANSWERS = "answers"  # each request has one answer, unless its connection ended
    ORDER = "order"  # answers leave in the promised order, chunks before them, nothing after a close frame
    ANNOUNCED = "announced"  # whoever listens hears of what was committed, or its connection ends
    CURSORS = "cursors"  # notifications of a space leave in cursor order, whatever their kind
    REVOKED = "revoked"  # nothing of a space is heard after the access to it was revoked
    DRAINED = "drained"  # replies of written pushes leave before the server closes at its own time; a drain
    # closes all in its time, and nobody once it was taken back
    RATES = (
        "rates"  # what is limited never outnumbers its slots; where all outcomes are known, they are equal
    )
    ZERO = "zero"  # when all is over nothing is left: subscriptions, slots, tasks, timers
    MEMORY = "memory"  # what waits is bounded
    FAULTS = "faults"  # no exception is lost or logged as unexpected
    FILES = "files"  # content and key of a file are of one upload, and what was acknowledged is there
    TRUTH = "truth"  # a fault of storage is never told as a refusal, or as a space that is not there
    ONCE = "once"  # what a client of an edge was told is written is at the home, once, under that cursor
    CONVERGED = "converged"  # once the weather is good, what an edge's client pulls is what the home has
    PRESENCE = "presence"  # whoever listens sees who is present at any node, and nobody long after they left
    INVITED = "invited"  # every connection of a mailbox hears that something came to it, at whichever node
    NEIGHBOURS = "neighbours"  # whoever uses no space of another server is answered in time


ALL = frozenset(Rule)


@dataclass(frozen=True, slots=True)
class Violation:
    """One promise that was broken."""

    rule: Rule
    what: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.rule} at {self.at_s:.6f} s: {self.what}"


@dataclass(slots=True)
class Court:
    """Collects violations of the rules it is to look at."""

    rules: frozenset[Rule] = ALL
    violations: list[Violation] = field(default_factory=list)

    def charge(self, rule: Rule, what: str, at_s: float) -> None:
        """Note that a promise was broken."""
        if rule in self.rules:
            self.violations.append(Violation(rule, what, at_s))


def announced_missing(
    journal: list[Commit], *, space: str, since: int, heard: set[int], pull_at: int, own: bytes
) -> list[Commit]:
    """The commits in a space, above cursor `since`, that a subscriber has not heard of.

    Args:
        heard: cursors of the notifications that reached it.
        pull_at: the highest cursor at which it was told to pull.
        own: how the marks of its own requests begin: their answers tell.
    """
    return [
        commit
        for commit in journal
        if commit.kind in (Kind.PUSH, Kind.APPEND, Kind.FILE)
        and str(commit.space) == space
        and commit.cursor > since
        and commit.cursor > pull_at
        and commit.cursor not in heard
        and not commit.mark.startswith(own)
    ]
