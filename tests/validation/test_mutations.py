"""Whatever is done to a check of a built-in matrix, or left undone, it never leaves a GO.

What lies, and measures what is not so, is no matter of the engine: each procedure has faults of its own that
it has to see (`long/`), and `long/test_catalogue.py` holds that none is without.
"""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import tomli_w

from less_sync.validation.attempt import Row, attempted
from less_sync.validation.catalogue import CATALOGUE
from less_sync.validation.context import Context
from less_sync.validation.decision import Exit, Facts, Reason, decide
from less_sync.validation.inputs import read_inputs
from less_sync.validation.manifest import Declared, ManifestErrors, built_in, declared
from less_sync.validation.matrix import Check, Manifest
from less_sync.validation.measured import Measured
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.people import People
from less_sync.validation.policy import compare
from less_sync.validation.procedure import KINDS, Same
from less_sync.validation.rows import manifest_of
from tests.validation.matrices import run_of

ENVIRONMENT = {
    "STAGING_BASE_URL": "https://staging.example",
    "PROD_BASE_URL": "https://sync.example",
    "PROD_CANDIDATE_BASE_URL": "https://candidate.example",
    "STAGING_INCUMBENT_BASE_URL": "https://before.example",
}
COMPLETE = ("rollback", "selfhost")
"""Kinds whose lanes are all there."""


def builtin(kind: str, base: str | None = None) -> Declared:
    """The kind's manifest, over other rows than the built-in ones."""
    rows = built_in("matrix") if base is None else base
    return declared(
        built_in(kind), f"{kind}.toml", catalogue=CATALOGUE, environment=ENVIRONMENT, base=lambda _name: rows
    )


def matrix(kind: str, made: Declared | None = None, *, stage: str = "before") -> Manifest:
    inputs, problems = read_inputs(ENVIRONMENT if kind != "selfhost" else {}, {})
    assert not problems
    return manifest_of(made or builtin(kind), stage=stage, inputs=inputs, previous=True)


def decision(manifest: Manifest, rows: list[Row], *, loosened: bool = False) -> str:
    facts = Facts(
        baseline=False,
        lanes=manifest.lanes,
        loosened=loosened,
        subject_changed=False,
        interrupted=False,
    )
    return decide(rows, facts).word


def passed(manifest: Manifest) -> list[Row]:
    return [Row(check, PASSED) for check in manifest.checks]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["before", "after"])
def test_all_that_is_built_in_gives_a_go_when_all_of_it_passed_and_its_lanes_are_there(
    kind: str, stage: str
) -> None:
    manifest = matrix(kind, stage=stage)
    assert decision(manifest, passed(manifest)) == ("GO" if kind in COMPLETE else "NO-GO")
    if kind not in COMPLETE:
        present = replace(manifest, lanes=tuple(set(manifest.lanes) - {"parity", "performance"}))
        assert decision(present, passed(manifest)) == "GO"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["before", "after"])
def test_no_status_of_a_required_check_but_passed_leaves_a_go_and_an_optional_one_warns(
    kind: str, stage: str
) -> None:
    manifest = matrix(kind, stage=stage)
    # Of the lanes that are there: that one is missing is a reason of its own.
    lanes = {check.lane for check in manifest.checks if check.required} & set(manifest.lanes)
    facts = Facts(
        baseline=False, lanes=tuple(lanes), loosened=False, subject_changed=False, interrupted=False
    )
    rows = passed(manifest)
    for number, check in enumerate(manifest.checks):
        for status in Status:
            if status is Status.PASSED:
                continue
            rows[number] = Row(check, Outcome(status, "whatever"))
            seen = decide(rows, facts)
            if check.required:
                assert (seen.word, seen.exit) == ("NO-GO", Exit.NO_GO), check.id
                assert seen.reasons == (Reason("required-not-passed", check.id),)
            else:
                assert (seen.word, seen.exit, seen.reasons) == ("GO", Exit.GO, ()), check.id
            assert seen.warned is not check.required
        rows[number] = Row(check, PASSED)


def mutated(kind: str, row: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Declared:
    """The kind's manifest over rows of which each required one was changed, or left out."""
    required = {check.id for check in builtin(kind).checks if check.required}
    document = tomllib.loads(built_in("matrix"))
    rows = [row(dict(one)) if one["id"] in required else one for one in document["checks"]]
    document["checks"] = [one for one in rows if one is not None]
    for one in document["checks"]:
        one.pop("needs", None)  # of rows that are gone
    return builtin(kind, tomli_w.dumps(document))


@pytest.mark.parametrize("kind", KINDS)
def test_a_required_check_that_is_dropped_renamed_or_made_optional_is_looser(kind: str) -> None:
    before = builtin(kind)
    required = [check for check in before.checks if check.required]
    for check in required:
        others = [one for one in before.checks if one is not check]
        for mutant in ([], [replace(check, id=f"{check.id}-x")], [replace(check, required=False)]):
            looser, _ = compare(before, replace(before, checks=[*others, *mutant]))
            assert [one.check_id for one in looser] == [check.id]
    ids = {check.id for check in required}
    for made in (
        mutated(kind, lambda _row: None),
        mutated(kind, lambda row: row | {"id": f"x-{row['id'][:60]}"}),
        mutated(kind, lambda row: row | {"required": False}),
    ):
        assert {one.check_id for one in compare(before, made)[0]} == ids
    manifest = matrix(kind)
    assert decision(manifest, passed(manifest), loosened=True) == "NO-GO"


@pytest.mark.parametrize("kind", KINDS)
def test_a_procedure_that_is_renamed_or_gone_is_told_before_anything_runs(kind: str) -> None:
    renamed = {f"{name}-x": one for name, one in CATALOGUE.items()}
    with pytest.raises(ManifestErrors) as caught:
        declared(built_in(kind), "changed.toml", catalogue=renamed, environment=ENVIRONMENT)
    told = "\n".join(caught.value.problems)
    for check in builtin(kind).checks:
        assert f"check {check.id}: uses: there is no procedure '{check.procedure.name}'" in told


async def returns_at_once(_context: Context) -> None:
    pass


async def raises(_context: Context) -> None:
    raise RuntimeError("a bug")


async def measures_nothing_but_says_so(context: Context) -> None:
    for criterion in context.check.procedure.criteria:
        if isinstance(criterion, Same):
            context.measured.no_samples(criterion.name)
        else:
            context.measured.number(criterion.name, 0, samples=0)


async def measures_something_else(context: Context) -> None:
    context.measured = Measured()
    context.measured.same("something-else", 1, 1, "something-else")
    context.measured.number("something_else_ms", 0)


@pytest.mark.parametrize(
    "mutant", [returns_at_once, raises, measures_nothing_but_says_so, measures_something_else]
)
@pytest.mark.parametrize("name", sorted(CATALOGUE))
async def test_no_procedure_passes_that_does_not_measure(
    name: str, mutant: Callable[[Context], object]
) -> None:
    procedure = replace(
        CATALOGUE[name],
        run=mutant,  # type: ignore[arg-type]  # a coroutine function, as all mutants are
        inputs=(),
        capabilities=(),
    )
    check = Check(
        id=name,
        lane=procedure.lane,
        procedure=procedure,
        target="none",
        required=True,
        parameters={key: one.default for key, one in procedure.parameters.items()},
        timeout_s=procedure.timeout_s,
        description=procedure.description,
        exclusive=(),
    )
    run = run_of(check)
    run.people = People({}, {})
    run.others_done.set()
    row = await attempted(check, run)
    assert row.outcome.status is not Status.PASSED
    manifest = replace(run.manifest, lanes=())
    assert decision(manifest, [row]) == "NO-GO"


@pytest.mark.parametrize(
    ("kind", "stage", "rows", "required"),
    [
        ("cutover", "before", 107, 98),
        ("cutover", "after", 107, 100),
        ("upgrade", "before", 110, 101),
        ("upgrade", "after", 110, 103),
        ("rollback", "before", 70, 61),
        ("rollback", "after", 70, 63),
        ("decommission", "before", 108, 99),
        ("decommission", "after", 108, 101),
        ("selfhost", "before", 83, 78),
        ("selfhost", "after", 83, 79),
    ],
)
def test_the_built_in_matrices_have_the_rows_that_they_had(
    kind: str, stage: str, rows: int, required: int
) -> None:
    """So that none is lost unseen: who changes a number here has looked at why."""
    checks = matrix(kind, stage=stage).checks
    assert (len(checks), sum(check.required for check in checks)) == (rows, required)


def test_a_drill_is_required_only_with_staging_s_hook_and_the_last_backup_is_an_hour_old_at_most() -> None:
    def required(**environment: str) -> bool:
        inputs, _ = read_inputs(ENVIRONMENT | environment, {})
        made = manifest_of(builtin("cutover"), stage="before", inputs=inputs, previous=True)
        (drill,) = [check for check in made.checks if check.procedure.name == "drill"]
        return drill.required

    assert (required(), required(STAGING_CANARY_HOOK="hook")) == (False, True)
    ages = {
        kind: check.parameters["age_h"]
        for kind in KINDS
        for check in matrix(kind).checks
        if check.procedure.name == "backup-fresh"
    }
    assert ages == {"cutover": 24, "upgrade": 24, "decommission": 1, "selfhost": 24}
