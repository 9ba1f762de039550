"""One check, from its first attempt to its status (docs/validation.md 4.1 and 5.1).

Tried again only where the row says so, nothing was measured and no byte of an answer came; never a write.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import asyncpg

from less_sync.validation.context import Context, Run
from less_sync.validation.generated import Stream
from less_sync.validation.judge import judge
from less_sync.validation.matrix import Check
from less_sync.validation.measured import Measured
from less_sync.validation.outcome import NO_ROOM, Blocked, Broken, CheckEnd, NotReached, Outcome, Status
from less_sync.validation.procedure import Place

_GONE: Final = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one check: a row of the report."""

    check: Check
    outcome: Outcome
    measured: Measured = field(default_factory=Measured)
    lines: tuple[str, ...] = ()
    """Its log."""
    evidence: str = ""
    attempts: int = 0
    started_at: datetime | None = None
    """None: it was not run."""
    duration_us: int = 0
    resumed_from: str = ""
    """The run in which it passed, when that was an earlier one."""


class Exclusives:
    """Names of which one check at a time has hold.

    A check takes all of its own at once, sorted, so none waits in a circle.
    """

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    async def taken(self, names: tuple[str, ...], stack: AsyncExitStack) -> None:
        """Wait for all of them; the stack lets them go."""
        for name in sorted(names):
            await stack.enter_async_context(self._locks.setdefault(name, asyncio.Lock()))


async def attempted(
    check: Check,
    run: Run,
    *,
    exclusives: Exclusives | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Row:
    """Run a check and judge it. Whatever it raises becomes its status; cancelling it alone goes through."""
    started_at, began_s = now(), time.monotonic()
    context = Context(check, run, Stream(run.id, check.id))
    attempts, outcome = 1, _missing(check, run)
    if outcome is None:
        async with AsyncExitStack() as stack:
            if exclusives is not None:
                await exclusives.taken(check.exclusive, stack)
            began_s = time.monotonic()
            attempts, outcome = await _attempts(context)
    context.say(f"{outcome.status}: {outcome.reason}")
    return Row(
        check,
        outcome,
        context.measured,
        tuple(context.lines),
        context.evidence.text,
        attempts,
        started_at,
        int((time.monotonic() - began_s) * 1_000_000),
    )


def _missing(check: Check, run: Run) -> Outcome | None:
    """What the check asks for and does not have."""
    procedure = check.procedure
    for name in procedure.inputs:
        if run.inputs.value(name) is None:
            return Outcome(Status.BLOCKED, f"input:{name}")
    for capability in procedure.capabilities:
        if not run.people.can(check.target, capability):
            told = "issuer:mint" if capability == "mint" else capability
            return Outcome(Status.BLOCKED, f"identity:{told}")
    return None


async def _attempts(context: Context) -> tuple[int, Outcome]:
    check = context.check
    retry = None if check.procedure.writes else check.retry
    times = 1 if retry is None else 1 + retry.times
    window = check.procedure.place is Place.WINDOW
    attempt = 0
    try:
        async with asyncio.timeout(None if window else check.timeout_s):
            while True:
                attempt += 1
                context.measured = Measured()
                end = await _once(context, attempt)
                again = retry is not None and isinstance(end, NotReached) and end.step in retry.on
                if not again or attempt >= times or context.measured.pairs or context.measured.numbers:
                    return attempt, _judged(context, end)
                assert retry is not None
                context.say(f"attempt {attempt} reached nobody: {end}")
                await asyncio.sleep(retry.pause_s)
    except TimeoutError:
        return attempt, _judged(context, Broken("timeout"))


async def _once(context: Context, attempt: int) -> CheckEnd | None:
    context.evidence.attempt = attempt
    context.stream = Stream(context.run.id, context.check.id)
    try:
        await context.check.procedure.run(context)
    except CheckEnd as end:
        for line in end.lines:
            context.say(line)
        return end
    except TimeoutError as error:
        context.say(f"timed out: {error!r}")
        return Broken("timeout")
    except Exception as error:
        unforeseen = _unforeseen(error)
        context.say(f"{unforeseen.outcome.reason}: {type(error).__name__}: {error}")
        return unforeseen
    return None


def _unforeseen(error: Exception) -> CheckEnd:
    """What no check provides for: a full disk, a database server that went away; else its own fault."""
    full = isinstance(error, OSError) and error.errno in NO_ROOM
    if full or isinstance(error, asyncpg.DiskFullError):
        return Blocked("disk")
    if isinstance(error, asyncpg.QueryCanceledError):
        return Broken("timeout")
    return Broken("database-gone" if isinstance(error, _GONE) else "internal")


def _judged(context: Context, end: CheckEnd | None) -> Outcome:
    check = context.check
    return judge(check.procedure.criteria, check.parameters, context.measured, end)
