"""The decision table, line by line, and that nothing but passed required checks makes a GO."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.validation.attempt import Row
from less_sync.validation.decision import Exit, Facts, Reason, decide
from less_sync.validation.outcome import PASSED, Outcome, Status
from tests.validation.matrices import check

GATE = Facts(baseline=False, lanes=("service",), loosened=False, subject_changed=False, interrupted=False)
STATUSES = [status for status in Status if status is not Status.PASSED]


def facts(**changes: Any) -> Facts:
    return Facts(**{name: getattr(GATE, name) for name in Facts.__slots__} | changes)


def row(
    outcome: Outcome = PASSED, *, name: str = "health", required: bool = True, lane: str = "service"
) -> Row:
    return Row(check(name, required=required, lane=lane), outcome)


FAILED = Outcome(Status.FAILED, "status:503")
INTERRUPTED = Outcome(Status.ERROR, "interrupted")


@pytest.mark.parametrize(
    ("rows", "given_facts", "word", "would_be", "code", "reasons"),
    [
        ([row()], GATE, "GO", "GO", 0, []),
        ([row(), row(FAILED, name="hsts", required=False)], GATE, "GO", "GO", 0, []),
        ([row(FAILED)], GATE, "NO-GO", "NO-GO", 1, [Reason("required-not-passed", "health")]),
        ([], GATE, "NO-GO", "NO-GO", 1, [Reason("empty-matrix"), Reason("lane-missing:service")]),
        (
            [row(required=False)],
            facts(lanes=()),
            "NO-GO",
            "NO-GO",
            1,
            [Reason("empty-matrix")],
        ),
        (
            [row()],
            facts(lanes=("service", "parity")),
            "NO-GO",
            "NO-GO",
            1,
            [Reason("lane-missing:parity")],
        ),
        ([row()], facts(loosened=True), "NO-GO", "NO-GO", 1, [Reason("policy-loosened")]),
        ([row()], facts(subject_changed=True), "NO-GO", "NO-GO", 1, [Reason("subject-changed")]),
        (
            [row(INTERRUPTED)],
            facts(interrupted=True),
            "NO-GO",
            "NO-GO",
            3,
            [Reason("interrupted"), Reason("required-not-passed", "health")],
        ),
        ([row()], facts(interrupted=True), "GO", "GO", 0, []),
        (
            [row()],
            facts(evidence_fault="secret-in-report"),
            "NO-GO",
            "NO-GO",
            4,
            [Reason("secret-in-report")],
        ),
        ([row()], facts(baseline=True), "BASELINE", "GO", 0, []),
        (
            [row(FAILED)],
            facts(baseline=True),
            "BASELINE",
            "NO-GO",
            0,
            [Reason("required-not-passed", "health")],
        ),
        (
            [row()],
            facts(baseline=True, evidence_fault="disk-full"),
            "NO-GO",
            "NO-GO",
            4,
            [Reason("disk-full")],
        ),
        (
            [row(INTERRUPTED)],
            facts(baseline=True, interrupted=True),
            "NO-GO",
            "NO-GO",
            3,
            [Reason("interrupted"), Reason("required-not-passed", "health")],
        ),
    ],
)
def test_the_first_line_of_the_table_that_applies_decides(
    rows: list[Row], given_facts: Facts, word: str, would_be: str, code: int, reasons: list[Reason]
) -> None:
    decision = decide(rows, given_facts)
    assert (decision.word, decision.would_be, decision.exit) == (word, would_be, Exit(code))
    assert list(decision.reasons) == reasons
    assert decision.overall == ("passed" if would_be == "GO" else "failed")


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.data())
def test_one_required_check_that_did_not_pass_never_leaves_a_go(
    required: list[bool], data: st.DataObject
) -> None:
    rows = [row(name=f"check-{n}", required=one) for n, one in enumerate(required)]
    before = decide(rows, GATE)
    assert (before.word == "GO") == any(required)
    n = data.draw(st.integers(0, len(rows) - 1))
    outcome = Outcome(data.draw(st.sampled_from(STATUSES)), "whatever")
    rows[n] = Row(rows[n].check, outcome)
    after = decide(rows, GATE)
    assert after.word == ("NO-GO" if required[n] else before.word)
    assert after.warned == (not required[n])


def test_a_go_is_one_with_warnings_when_an_optional_check_did_not_pass() -> None:
    assert not decide([row()], GATE).warned
    assert decide([row(), row(FAILED, name="hsts", required=False)], GATE).warned
