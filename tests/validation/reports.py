"""Runs that never were, for tests of what is made of them: rows, facts and texts, also hostile ones."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from less_sync.validation.attempt import Row
from less_sync.validation.canonical import canonical
from less_sync.validation.decision import Decision, Facts, decide
from less_sync.validation.matrix import Check
from less_sync.validation.measured import Measured
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.results import (
    Backup,
    Candidate,
    Document,
    Fingerprint,
    Incumbent,
    InputFact,
    LeftBehind,
    Policy,
    Reference,
    Results,
    Rollback,
    RunFacts,
    Schema,
    Seen,
    Subject,
    document,
    read_document,
)
from tests.validation.matrices import check

MOMENT: Final = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
HOSTILE: Final = (
    "a|b `c` ``d`` <script>alert(1)</script> *e* _f_ [g](h) \\ \u202eevil\n# no heading\x1b[31m\x00]]>"
)
FAILED: Final = Outcome(Status.FAILED, "status:503")
SKIPPED: Final = Outcome(Status.SKIPPED, "not-selected")
BLOCKED: Final = Outcome(Status.BLOCKED, "needs:one")
BROKEN: Final = Outcome(Status.ERROR, "timeout")


def row(name: str, outcome: Outcome = PASSED, /, *, row: dict[str, Any] | None = None, **changes: Any) -> Row:
    """One finished check; `row` changes the row, all else the check."""
    measured = Measured()
    measured.number("slowest_ms", 5)
    one: Check = check(name, **changes)
    made = Row(
        one, outcome, measured, (f"asked {name}", "answered"), f"#1 1 0 ms\n> GET /{name}\n", 1, MOMENT, 4321
    )
    return replace(made, **(row or {}))


ROWS: Final = (
    row("one", lane="service", target="staging", description="staging answers healthy"),
    row("two", FAILED, lane="service", target="production"),
    row("three", FAILED, lane="auth", required=False),
    row("four", SKIPPED, lane="auth", row={"lines": (), "evidence": "", "attempts": 0, "started_at": None}),
    row("five", BLOCKED, lane="contract"),
    row("six", BROKEN, lane="contract"),
    row("seven", lane="contract", row={"attempts": 2}),
    row("eight", Outcome(Status.SKIPPED, "not-applicable:federation"), lane="federation", required=False),
)
SUBJECT: Final = Subject(
    candidate=Candidate("1.5.0", "0123abcd", "sha256:" + "ab" * 32),
    incumbent=Incumbent("rust", "0.9.1"),
    schema={"staging": Schema((1, 2, 101), "cd" * 32)},
    fingerprints={
        "production": Seen(
            Fingerprint(kind="rust", base_url="https://sync.example", addresses=("192.0.2.1",)),
            Fingerprint(kind="rust", base_url="https://sync.example", addresses=("192.0.2.2",)),
        ),
        "staging": Seen(
            Fingerprint(kind="less-sync", base_url="scratch:staging", process_start="1"),
            Fingerprint(kind="less-sync", base_url="scratch:staging", process_start="1"),
        ),
    },
    backup=Backup("ef" * 32, "2026-05-04T02:00:00Z", 3721),
)
RUN: Final = RunFacts(
    "00" * 16, 4, "2026-05-04T03:02:01Z", "2026-05-04T03:04:01Z", "1.5.0", "3.11.7", "Linux", 3
)


def results(rows: Sequence[Row] = ROWS, *, baseline: bool = False, **changes: Any) -> Results:
    """What a run came to, decided by its rows."""
    decision: Decision = decide(
        rows, Facts(baseline=baseline, lanes=(), loosened=False, subject_changed=False, interrupted=False)
    )
    made = Results(
        name="small",
        title="A small one",
        kind="selfhost",
        stage="before",
        mode="baseline" if baseline else "gate",
        decision=decision.word,
        would_be=decision.would_be,
        overall=decision.overall,
        decision_reasons=decision.reasons,
        policy=Policy("12" * 32, "12" * 32, accepted=False),
        subject=SUBJECT,
        inputs=(
            InputFact("STAGING_ACCESS_TOKEN", "env", "[secret]"),
            InputFact("CANDIDATE_IMAGE", "default", None),
            InputFact("BACKUP_DIR", "option", "backups"),
        ),
        overrides=(InputFact("targets.staging.base_url", "option", "https://staging.example"),),
        references=(Reference("rollback", "docs/operations.md", "34" * 32),),
        left_behind=(LeftBehind("staging", "space", "27a85a0d-1427-4541-bd5b-ed246a4b2e5f"),),
        rollback=Rollback(
            "/opt/less-sync/rollback",
            "sha256:56",
            0,
            (Reference("rollback", "docs/operations.md", "34" * 32),),
            ("presence",),
        ),
        run=RUN,
        checks=tuple(rows),
    )
    return replace(made, **changes)


def read(results: Results) -> Document:
    """The document of a run as it is read back."""
    return read_document(canonical(document(results)))
