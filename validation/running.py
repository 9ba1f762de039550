"""What a run looks at, connected and taken apart again, and its rows (docs/validation.md 4.1).

Whatever happens to a check, the run goes on and tidies up. Whoever wants a report of it: `reported.py`.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from less_sync.validation.assembly import people_of, register_secrets, target_of
from less_sync.validation.attempt import Row
from less_sync.validation.catalogue import CATALOGUE
from less_sync.validation.context import Context, Run
from less_sync.validation.engine import Engine
from less_sync.validation.fingerprint import changed, fingerprint
from less_sync.validation.generated import Stream
from less_sync.validation.matrix import Check
from less_sync.validation.outcome import Blocked, CheckEnd, Outcome, Status
from less_sync.validation.plan import Plan
from less_sync.validation.procedure import Procedure, Same
from less_sync.validation.redact import Redactor
from less_sync.validation.results import Fingerprint, Seen
from less_sync.validation.scratch import Scratch, scratch_plan
from less_sync.validation.targets import Target
from less_sync.validation.tools import Tools
from less_sync.validation.trust import verifier


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why nothing at a target can be tried."""

    outcome: Outcome
    lines: tuple[str, ...]


@dataclass(slots=True)
class Opened:
    """A run whose targets can be looked at."""

    run: Run
    unavailable: dict[str, Unavailable] = field(default_factory=dict)
    """By target."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a run found."""

    rows: Sequence[Row]
    fingerprints: Mapping[str, Seen]
    """By target."""
    changes: Sequence[str]
    """What was not the same at the end: `TARGET:MEMBER`."""
    interrupted: bool


@asynccontextmanager
async def opened(plan: Plan, run_id: bytes, tools: Tools, redactor: Redactor) -> AsyncIterator[Opened]:
    """Connect everything; servers that the run starts itself are running, and are gone afterwards.

    Raises:
        InputProblem: a key that was given is none.
        Broken: a command cannot be split into words.
    """
    manifest = plan.manifest
    register_secrets(plan.inputs, redactor)
    scratching = scratch_plan(tools, run_id, plan.inputs, manifest.features, redactor)
    async with AsyncExitStack() as stack:
        scratch = await stack.enter_async_context(Scratch(scratching))
        targets: dict[str, Target] = {}
        made = Opened(
            Run(
                id=run_id,
                kind=manifest.kind,
                stage=plan.stage,
                manifest=manifest,
                inputs=plan.inputs,
                redactor=redactor,
                scratch=scratch,
                people=people_of(manifest, plan.inputs, redactor, scratch.minter),
                targets=targets,
                verifier=verifier(CATALOGUE, tools.environment),
                version=tools.version,
            )
        )
        looked_at = {check.target for check in manifest.checks if plan.preset(check) is None}
        for name, spec in manifest.targets.items():
            if not spec.scratch and spec.base_url:
                targets[name] = target_of(spec, plan.inputs, tools)
                stack.push_async_callback(targets[name].close)
            elif spec.scratch and name in looked_at:
                lines: list[str] = []
                try:
                    targets[name] = (await scratch.staging(lines.append)).target
                except CheckEnd as end:
                    # The server was not examined: what went wrong is the row of whoever examines that.
                    outcome = Outcome(Status.BLOCKED, f"scratch:{end.outcome.reason}")
                    made.unavailable[name] = Unavailable(outcome, (*lines, *end.lines))
        yield made


async def examined(
    made: Opened,
    plan: Plan,
    *,
    jobs: int,
    hear: Callable[[Row], None],
    begun: Callable[[Engine, Mapping[str, Fingerprint]], Callable[[Check], Row | None]],
) -> Examined:
    """All rows, and whether what was looked at stayed the same meanwhile.

    Args:
        begun: is given the engine, to interrupt it, and how the targets look; it gives the rows of an earlier
            attempt that may be used again.
    """
    run = made.run
    former: Callable[[Check], Row | None] = lambda _check: None  # noqa: E731  # until the engine is there

    def preset(check: Check) -> Row | None:
        decided = plan.preset(check)
        missing = made.unavailable.get(check.target)
        if decided is not None:
            return Row(check, decided)
        if missing is not None:
            told = f"{missing.outcome.status}: {missing.outcome.reason}"
            return Row(check, missing.outcome, lines=(*missing.lines, told))
        return former(check)

    before = await fingerprints(run)
    engine = Engine(run, plan.manifest.checks, jobs=jobs, preset=preset, hear=hear)
    former = begun(engine, before)
    rows = await engine.rows()
    after = await fingerprints(run)
    changes = [f"{name}:{member}" for name in before for member in changed(before[name], after[name])]
    seen = {name: Seen(before[name], after[name]) for name in before}
    return Examined(rows, seen, changes, engine.interrupted)


async def fingerprints(run: Run) -> dict[str, Fingerprint]:
    """How all targets look now."""
    return {name: await fingerprint(looking(run, name)) for name in run.targets}


def looking(run: Run, target: str) -> Context:
    """For looking at a target outside of any check."""
    return Context(replace(_LOOK, target=target), run, Stream(run.id, _LOOK.id))


async def _judges_nothing(_context: Context) -> None:
    raise Blocked("not-a-check")


_FINGERPRINT: Final = Procedure(
    "fingerprint", "service", _judges_nothing, "what exactly was looked at", (Same("nothing"),)
)
_LOOK: Final = Check(
    id="fingerprint",
    lane="service",
    procedure=_FINGERPRINT,
    target="",
    required=False,
    parameters={},
    timeout_s=60,
    description=_FINGERPRINT.description,
    exclusive=(),
)
