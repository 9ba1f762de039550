"""What the rows of a matrix come to: one decision, by a table whose first line that applies counts. Pure.

There is no score: a matrix is the conjunction of its required checks (docs/validation.md 5.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from less_sync.validation.attempt import Row
from less_sync.validation.outcome import Status

Word = Literal["GO", "NO-GO", "BASELINE"]


class Exit(IntEnum):
    """Exit codes of `less-sync validate`, and of its sub-commands."""

    GO = 0
    NO_GO = 1
    USAGE = 2
    INTERRUPTED = 3
    EVIDENCE = 4
    NOT_VERIFIED = 5


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is no GO."""

    code: str
    """`required-not-passed`, `lane-missing:LANE`, `empty-matrix`, `policy-loosened`, `subject-changed` …"""
    check_id: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What beside the rows a decision rests on."""

    baseline: bool
    lanes: Sequence[str]
    """Those that have to have a required row."""
    loosened: bool
    """Looser than the built-in manifest, and nobody accepted that."""
    subject_changed: bool
    interrupted: bool
    evidence_fault: str = ""
    """`secret-in-report`, `disk-full` …"""


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of a run."""

    word: Word
    would_be: Literal["GO", "NO-GO"]
    """The same as of a gate."""
    exit: Exit
    reasons: tuple[Reason, ...]
    """In the order of the matrix."""
    warned: bool
    """A GO with optional checks that did not pass, or something that was not judged."""

    @property
    def overall(self) -> Literal["passed", "failed"]:
        """`passed` when as a gate it would be a GO."""
        return "passed" if self.would_be == "GO" else "failed"


def decide(rows: Sequence[Row], facts: Facts) -> Decision:
    """Apply the table."""
    reasons = _reasons(rows, facts)
    would_be: Literal["GO", "NO-GO"] = "NO-GO" if reasons else "GO"
    warned = any(not row.check.required and row.outcome.status is not Status.PASSED for row in rows)

    def decision(word: Word, code: Exit, *more: Reason) -> Decision:
        return Decision(word, "NO-GO" if more else would_be, code, (*more, *reasons), warned)

    if facts.evidence_fault:
        return decision("NO-GO", Exit.EVIDENCE, Reason(facts.evidence_fault))
    if facts.interrupted and any(_undecided(row) for row in rows):
        return decision("NO-GO", Exit.INTERRUPTED, Reason("interrupted"))
    if facts.baseline:
        return decision("BASELINE", Exit.GO)
    return decision(would_be, Exit.NO_GO if reasons else Exit.GO)


def _reasons(rows: Sequence[Row], facts: Facts) -> tuple[Reason, ...]:
    """Lines 5 to 8 of the table: each alone rules a GO out."""
    required = [row for row in rows if row.check.required]
    reasons: list[Reason] = []
    if not required:
        reasons.append(Reason("empty-matrix"))
    there = {row.check.lane for row in required}
    reasons += [Reason(f"lane-missing:{lane}") for lane in facts.lanes if lane not in there]
    if facts.loosened:
        reasons.append(Reason("policy-loosened"))
    reasons += [
        Reason("required-not-passed", row.check.id)
        for row in required
        if row.outcome.status is not Status.PASSED
    ]
    if facts.subject_changed:
        reasons.append(Reason("subject-changed"))
    return tuple(reasons)


def _undecided(row: Row) -> bool:
    return row.check.required and row.outcome.reason == "interrupted"
