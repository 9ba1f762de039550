"""Small matrices of made-up procedures, for tests of the engine alone: no server, no network."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from less_sync.validation.attempt import Row
from less_sync.validation.catalogue import table
from less_sync.validation.context import Context, Run
from less_sync.validation.engine import Engine
from less_sync.validation.inputs import Inputs
from less_sync.validation.matrix import NO_TARGET, Check, Manifest
from less_sync.validation.outcome import Outcome
from less_sync.validation.people import People
from less_sync.validation.procedure import AtMost, Looser, Parameter, Procedure, Same
from less_sync.validation.redact import Redactor
from less_sync.validation.scratch import Scratch

Work = Callable[[Context], Awaitable[None]]


async def passing(context: Context) -> None:
    """Measure what has to be measured."""
    context.measured.same("answer", 42, 42, "answer")
    context.measured.number("slowest_ms", 5)


def procedure(name: str, run: Work = passing, **changes: object) -> Procedure:
    """One with a pair and a limit to keep."""
    made = Procedure(
        name=name,
        lane="service",
        run=run,
        description=f"what {name} is for",
        criteria=(Same("answer"), AtMost("slowest_ms", "deadline_ms", "deadline")),
        parameters={
            "deadline_ms": Parameter(3000, Looser.UP),
            "times": Parameter(5, Looser.DOWN),
            "word": Parameter("x", Looser.ANY),
            "where": Parameter("here", Looser.NEVER),
            "strict": Parameter(True, Looser.ANY),
        },
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields of a procedure


def check(
    name: str, run: Work = passing, *, of: Mapping[str, object] | None = None, **changes: object
) -> Check:
    """A row of it; `of` changes the procedure."""
    one = procedure(name, run, **(of or {}))
    made = Check(
        id=name,
        lane=one.lane,
        procedure=one,
        target=NO_TARGET,
        required=True,
        parameters={key: parameter.default for key, parameter in one.parameters.items()},
        timeout_s=one.timeout_s,
        description=one.description,
        exclusive=tuple(one.exclusive),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the fields of a check


def run_of(*checks: Check) -> Run:
    """A run without any target."""
    manifest = Manifest(
        kind="selfhost",
        name="small",
        title="A small one",
        valid_for_s=60,
        lanes=(),
        features={},
        references={},
        targets={},
        identities={},
        metrics={},
        acknowledged_losses=(),
        one_image=False,
        checks=checks,
    )
    return Run(
        id=bytes(16),
        kind="selfhost",
        stage="before",
        manifest=manifest,
        inputs=Inputs({}),
        redactor=Redactor(),
        scratch=Scratch(),
        people=People({}, {}),
        targets={},
    )


def engine_of(
    *checks: Check,
    jobs: int = 4,
    preset: Callable[[Check], Row | None] = lambda _check: None,
    hear: Callable[[Row], None] = lambda _row: None,
) -> Engine:
    """An engine over a run of these."""
    return Engine(run_of(*checks), checks, jobs=jobs, preset=preset, hear=hear)


async def outcomes(checks: Sequence[Check], **options: object) -> dict[str, str]:
    """`status:reason` by id of one whole run."""
    rows = await engine_of(*checks, **options).rows()  # type: ignore[arg-type]  # those of engine_of
    return {row.check.id: told(row.outcome) for row in rows}


def told(outcome: Outcome) -> str:
    """An outcome as tests write it."""
    return f"{outcome.status}:{outcome.reason}"


CATALOGUE = table([procedure("health"), procedure("headers"), procedure("slow", timeout_s=900)])
