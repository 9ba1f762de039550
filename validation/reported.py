"""A whole run with its report: from a plan to a decision that is signed (docs/validation.md 4.1, 7).

Only what makes the evidence itself doubtful ends a run otherwise than with a report: a folder that cannot be
written, a key that cannot sign. It tidies up even then.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from less_sync.validation.attempt import Row
from less_sync.validation.attest import EvidenceFault, SigningKey
from less_sync.validation.canonical import compact
from less_sync.validation.context import Run
from less_sync.validation.decision import Decision, Exit, Facts, Reason, decide
from less_sync.validation.engine import INTERRUPTED, Engine
from less_sync.validation.facts import When, results_of
from less_sync.validation.journal import Former, read_journal, read_state, resumed_row
from less_sync.validation.matrix import Check
from less_sync.validation.plan import Plan
from less_sync.validation.policy import decides
from less_sync.validation.redact import Redactor
from less_sync.validation.report import SECRET_IN_REPORT, Finished, Report
from less_sync.validation.results import STABLE_OF_SCRATCH, Fingerprint, time_of
from less_sync.validation.running import Examined, Opened, examined, opened
from less_sync.validation.toml_text import manifest_text
from less_sync.validation.tools import Tools


@dataclass(frozen=True, slots=True)
class Asked:
    """How a run is done, which changes nothing about its outcome."""

    parent: Path
    """The folder of all reports of this name."""
    run_id: bytes
    key: Callable[[], SigningKey]
    jobs: int = 4
    out: Path | None = None
    """The report's own folder, which must not exist; else one named after the time, below the parent."""
    resume: Path | None = None
    """The folder of an interrupted run to go on with."""
    path: str = ""
    """Of the report's folder as a reader of the repository finds it; its name is put behind."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to."""

    decision: Decision
    rows: Sequence[Row]
    finished: Finished
    notes: Sequence[str]
    """What was not judged, in words."""


@dataclass(slots=True)
class Hand:
    """By which a run is interrupted: the first time checks come to their ends, the second time it is cut."""

    engine: Engine | None = None
    task: "asyncio.Task[object] | None" = None
    loop: asyncio.AbstractEventLoop | None = None
    """In which the run goes on, for `signalled`."""
    pulls: int = 0
    listening: Callable[[], None] = lambda: None
    """Called when the first check is about to begin."""

    def signalled(self) -> None:
        """Interrupt the run out of a signal's handler. Before the run and behind it nothing is to be cut."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.pull)

    def pull(self) -> None:
        """Interrupt the run."""
        if self.engine is not None and not self.pulls:
            self.engine.interrupt()
        elif self.task is not None:
            self.task.cancel()
        self.pulls += 1


@dataclass(slots=True)
class _Writing:
    """The report of a run while it goes on."""

    report: Report
    plan: Plan
    hear: Callable[[Row], None]
    hand: Hand
    former: Mapping[str, Former] = field(default_factory=dict)
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict)
    fault: EvidenceFault | None = None
    former_run: str = ""
    since: datetime | None = None
    """Rows that are older are not used again."""

    def row(self, row: Row) -> None:
        """Keep a row, on disk, and tell of it. A report that cannot be kept interrupts the run."""
        if not row.resumed_from and self.fault is None:
            try:
                self.report.append(row, self._digest(row.check))
            except EvidenceFault as fault:
                self.fault = fault
                if self.hand.engine is not None:
                    self.hand.engine.interrupt()
        self.hear(row)

    def begun(self, engine: Engine, fingerprints: Mapping[str, Fingerprint]) -> Callable[[Check], Row | None]:
        self.hand.engine = engine
        self.hand.listening()
        if self.hand.pulls:
            engine.interrupt()
        self.fingerprints = fingerprints
        return self._again

    def _again(self, check: Check) -> Row | None:
        """A row of the interrupted run that may be used: it passed, on the same ground, not long ago."""
        former = self.former.get(check.id)
        if former is None or former.entry.status != "passed" or former.digest != self._digest(check):
            return None
        started_at = former.entry.started_at
        if started_at is None or self.since is None or time_of(started_at) < self.since:
            return None
        return resumed_row(check, former, self.former_run)

    def _digest(self, check: Check) -> str:
        """Over all that a row rests on: the policy, the row itself, and what stood at its target."""
        seen = self.fingerprints.get(check.target)
        plain = {} if seen is None else msgspec.to_builtins(seen)
        spec = self.plan.manifest.targets.get(check.target)
        if spec is not None and spec.scratch:
            plain = {name: plain[name] for name in STABLE_OF_SCRATCH if name in plain}
        for volatile in ("addresses", "process_start"):
            plain.pop(volatile, None)
        body = {"policy": self.plan.policy, "check": decides(check), "target": plain}
        return hashlib.sha256(compact(body)).hexdigest()


async def run_reported(
    plan: Plan, asked: Asked, tools: Tools, *, hear: Callable[[Row], None], hand: Hand
) -> Ended:
    """Run the matrix and write its report.

    Raises:
        EvidenceFault: it cannot be kept or signed; the folder is that of an aborted run.
        InputProblem, Broken: see `opened`.
        NotAReport: there is no run to go on with.
        FileExistsError: the report's folder is there already.
    """
    began_at = asked.now()
    redactor = Redactor()
    hand.task = asyncio.current_task()
    writing, run_id = _writing(plan, asked, redactor, hear, hand, began_at)
    made: Opened | None = None
    try:
        async with opened(plan, run_id, tools, redactor) as made:
            found = await examined(made, plan, jobs=asked.jobs, hear=writing.row, begun=writing.begun)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if hand.pulls != 1 or hand.engine is not None or task is None:
            raise
        task.uncancel()  # interrupted before the first check: all of them are told as such
        found = Examined([Row(check, INTERRUPTED) for check in plan.manifest.checks], {}, (), True)
    if writing.fault is not None:
        raise writing.fault
    return _ended(plan, asked, tools, writing, run_id, None if made is None else made.run, found, began_at)


def _writing(
    plan: Plan,
    asked: Asked,
    redactor: Redactor,
    hear: Callable[[Row], None],
    hand: Hand,
    began_at: datetime,
) -> tuple[_Writing, bytes]:
    """The report's folder, new or that of the run that is gone on with, and the run's id."""
    if asked.resume is not None:
        state, former = read_state(asked.resume), read_journal(asked.resume)
        report = Report.reopened(asked.resume, began_at, redactor=redactor)
        since = began_at - timedelta(seconds=plan.manifest.valid_for_s)
        writing = _Writing(report, plan, hear, hand, former, former_run=state.run, since=since)
        run_id = bytes.fromhex(state.run)
    else:
        run_id = asked.run_id
        if asked.out is not None:
            report = Report.at(asked.out, began_at, redactor=redactor, run_id=run_id.hex())
        else:
            report = Report.create(asked.parent, began_at, redactor=redactor, run_id=run_id.hex())
        writing = _Writing(report, plan, hear, hand)
    writing.report.manifest(manifest_text(plan.declared))
    return writing, run_id


def _ended(
    plan: Plan,
    asked: Asked,
    tools: Tools,
    writing: _Writing,
    run_id: bytes,
    run: Run | None,
    found: Examined,
    began_at: datetime,
) -> Ended:
    facts = Facts(
        baseline=plan.baseline,
        lanes=plan.manifest.lanes,
        loosened=bool(plan.looser) and not plan.accepted,
        subject_changed=bool(found.changes),
        interrupted=found.interrupted,
    )
    decision = decide(found.rows, facts)
    results = results_of(
        plan,
        run_id,
        run,
        found.rows,
        decision,
        fingerprints=found.fingerprints,
        jobs=asked.jobs,
        when=When(began_at, asked.now()),
        tools=tools,
    )
    path = f"{asked.path}/{writing.report.folder.name}" if asked.path else ""
    finished = writing.report.finish(
        results,
        asked.key,
        path=path,
        exit_of=lambda one: int(decision.exit if one.decision == decision.word else Exit.EVIDENCE),
    )
    if finished.secrets_found:
        reasons = (Reason(SECRET_IN_REPORT), *decision.reasons)
        decision = Decision("NO-GO", "NO-GO", Exit.EVIDENCE, reasons, decision.warned)
    return Ended(decision, found.rows, finished, _notes(plan, found, run))


def _notes(plan: Plan, found: Examined, run: Run | None) -> list[str]:
    """What was not judged, what changed, and what is left, in words."""
    notes = [f"changed while it was looked at: {one.replace(':', ', ')}" for one in found.changes]
    left = () if run is None else run.scratch.left
    notes += [f"left on the server of SCRATCH_DATABASE_URL, drop it: {name}" for name in left]
    if plan.manifest.kind == "selfhost":
        if any(check.not_applicable == "previous" for check in plan.manifest.checks):
            notes.append("way back: not rehearsed, no --previous")
        if "production" not in plan.manifest.targets:
            told = "see less-sync doctor, or give PROD_BASE_URL"
            notes.append(f"the running server's settings and proxy: {told}")
    return notes
