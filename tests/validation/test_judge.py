"""A measurement becomes a status in one place, and nothing passes that was not measured."""

import asyncio
import errno
import itertools

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.validation.attempt import attempted
from less_sync.validation.context import Context
from less_sync.validation.judge import judge
from less_sync.validation.measured import Measured
from less_sync.validation.outcome import (
    Blocked,
    Broken,
    CheckEnd,
    Faulty,
    NotReached,
    Outcome,
    Status,
    slug,
)
from less_sync.validation.procedure import AtLeast, AtMost, Same
from tests.validation.matrices import check, outcomes, passing, run_of, told

CRITERIA = (Same("body"), AtMost("slow_ms", "limit_ms", "deadline"), AtLeast("found", "least", "too-few"))
PARAMETERS = {"limit_ms": 10, "least": 2}


def measured(*, body: bool | None = True, slow_ms: int | None = 10, found: int | None = 2) -> Measured:
    made = Measured()
    if body is not None:
        made.same("body", b"as it must be", b"as it must be" if body else b"another", "body")
    if slow_ms is not None:
        made.number("slow_ms", slow_ms)
    if found is not None:
        made.number("found", found)
    return made


@pytest.mark.parametrize(
    ("made", "end", "outcome"),
    [
        (measured(), None, "passed:-"),
        (measured(body=False), None, "failed:body"),
        (measured(slow_ms=11), None, "failed:deadline"),
        (measured(found=1), None, "failed:too-few"),
        (measured(body=None), None, "error:not-measured:body"),
        (measured(slow_ms=None), None, "error:not-measured:slow_ms"),
        (measured(body=None, found=1), None, "failed:too-few"),
        (measured(), Faulty("closed", 4003), "failed:closed:4003"),
        (measured(body=False), Faulty("closed", 4003), "failed:body"),
        (measured(), Blocked("input", "PROD_DATABASE_URL"), "blocked:input:PROD_DATABASE_URL"),
        (Measured(), Broken("timeout"), "error:timeout"),
        (Measured(), NotReached("dns"), "failed:unreachable:dns"),
    ],
)
def test_the_first_criterion_that_does_not_hold_is_the_reason(
    made: Measured, end: CheckEnd | None, outcome: str
) -> None:
    assert told(judge(CRITERIA, PARAMETERS, made, end)) == outcome


def test_a_criterion_that_rests_on_no_sample_is_blocked_for_want_of_data() -> None:
    made = measured(body=None)
    made.no_samples("body")
    assert told(judge(CRITERIA, PARAMETERS, made)) == "blocked:no-data"
    made = measured()
    made.number("found", 7, samples=0)
    assert told(judge(CRITERIA, PARAMETERS, made)) == "blocked:no-data"
    made.number("slow_ms", 11)
    assert told(judge(CRITERIA, PARAMETERS, made)) == "failed:deadline"


def test_without_criteria_nothing_passes() -> None:
    assert told(judge((), {}, measured())) == "error:no-criterion"


@given(st.lists(st.sampled_from(["body", "slow_ms", "found"]), max_size=3))
def test_only_what_measured_every_criterion_passes(names: list[str]) -> None:
    made = measured(**dict.fromkeys(names))
    passed = judge(CRITERIA, PARAMETERS, made).status is Status.PASSED
    assert passed == (not names)


def test_a_reason_holds_nothing_that_could_break_a_report() -> None:
    assert slug("refused", "push", "a b\n<c>`|") == "refused:push:a?b??c???"
    assert slug("status", 503) == "status:503"
    assert len(slug("name", "x" * 1000)) < 100
    with pytest.raises(AssertionError):
        Outcome(Status.PASSED, "with a reason")


async def test_whatever_a_procedure_does_instead_of_measuring_it_does_not_pass() -> None:
    """The same is asked of every procedure of the catalogue, in test_mutations.py."""

    async def nothing(_: Context) -> None:
        pass

    async def raising(_: Context) -> None:
        raise RuntimeError("what a bug raises")

    async def ending(_: Context) -> None:
        raise Faulty("closed", 1006)

    async def waiting(_: Context) -> None:
        await asyncio.sleep(60)

    async def half(context: Context) -> None:
        context.measured.number("slowest_ms", 1)

    async def else_measured(context: Context) -> None:
        context.measured.same("question", 42, 42, "answer")
        context.measured.number("fastest_ms", 1)

    found = await outcomes(
        [
            check("nothing", nothing),
            check("raising", raising),
            check("ending", ending),
            check("waiting", waiting, timeout_s=0),
            check("half", half),
            check("else-measured", else_measured),
            check("passing", passing),
        ]
    )
    assert found == {
        "nothing": "error:not-measured:answer",
        "raising": "error:internal",
        "ending": "failed:closed:1006",
        "waiting": "error:timeout",
        "half": "error:not-measured:answer",
        "else-measured": "error:not-measured:answer",
        "passing": "passed:-",
    }


def test_the_order_of_measuring_makes_no_difference_to_passing() -> None:
    for order in itertools.permutations(["a", "b", "c"]):
        made = Measured()
        for name in order:
            made.same(name, 1, 1, name)
        assert judge([Same("a"), Same("b"), Same("c")], {}, made).status is Status.PASSED


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "blocked:disk"),
        (OSError(errno.EFBIG, "File too large"), "blocked:disk"),
        (asyncpg.DiskFullError("could not extend file"), "blocked:disk"),
        (asyncpg.ConnectionDoesNotExistError("connection was closed"), "error:database-gone"),
        (asyncpg.CannotConnectNowError("in recovery mode"), "error:database-gone"),
        (asyncpg.QueryCanceledError("statement timeout"), "error:timeout"),
        (OSError(errno.ENOENT, "No such file or directory"), "error:internal"),
        (ValueError("a fault of the check's own"), "error:internal"),
    ],
)
async def test_what_no_check_provides_for_is_told_apart(error: Exception, outcome: str) -> None:
    async def failing(_context: Context) -> None:
        raise error

    one = check("one", failing)
    row = await attempted(one, run_of(one))
    assert told(row.outcome) == outcome
    assert str(error) in row.lines[0]


async def test_what_ends_a_check_may_say_why_in_its_log() -> None:
    async def failing(_context: Context) -> None:
        raise Broken("postgres").saying("the disk is full", "make room")

    one = check("one", failing)
    row = await attempted(one, run_of(one))
    assert row.lines == ("the disk is full", "make room", "error: postgres")
