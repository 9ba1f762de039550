"""What `less-sync validate` prints while it runs, and at the end."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from less_sync.bins.commands.database_options import environment_with
from less_sync.bins.errors import print_error
from less_sync.validation.attempt import Row
from less_sync.validation.decision import Decision
from less_sync.validation.outcome import NO_REASON, Status

NOT_SELECTED: Final = "not-selected"
WORST_MAX: Final = 10
_COLORS: Final = {
    Status.PASSED: "32",
    Status.FAILED: "31",
    Status.BLOCKED: "33",
    Status.ERROR: "35",
    Status.SKIPPED: "2",
}


@dataclass(slots=True)
class Told:
    """Prints rows as they finish, and the decision. A bar on standard error, on a terminal alone.

    Args:
        json: lines of JSON instead of text.
        quiet: the decision alone.
        color: whether colours may be used, where standard output is a terminal.
    """

    json: bool = False
    quiet: bool = False
    color: bool = True
    lost: str = field(init=False, default="")
    """Why standard output takes no more: the run goes on, for its report."""
    _bar: Progress = field(init=False)
    _worst: list[str] = field(init=False, default_factory=list)
    """Required checks that failed, told once more at the end: others were blocked by them."""
    _task: TaskID | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.color = self.color and sys.stdout.isatty() and not environment_with().get("NO_COLOR")
        console = Console(stderr=True, no_color=not self.color)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        quiet = self.quiet or self.json or not console.is_terminal
        # Lines pass through the bar, to stand above it, where both are on a terminal: never from a file.
        shared = sys.stdout.isatty()
        self._bar = Progress(*columns, console=console, transient=True, disable=quiet, redirect_stdout=shared)

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._bar.stop()

    def doing(self, what: str, total: int | None = None) -> None:
        """Name what goes on, with how many steps it has."""
        with suppress(OSError):
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(what, total=total)

    def row(self, row: Row) -> None:
        """A check has finished."""
        if self._task is not None:
            with suppress(OSError):
                self._bar.advance(self._task)
        check, outcome = row.check, row.outcome
        if check.required and outcome.status in (Status.FAILED, Status.ERROR):
            self._worst.append(f"{outcome.status}: {check.id}: {outcome.reason}")
            del self._worst[WORST_MAX:]
        if self.json:
            self._json(
                event="check",
                id=check.id,
                status=str(outcome.status),
                reason=outcome.reason,
                required=check.required,
                duration_us=row.duration_us,
            )
        elif not self.quiet and outcome.reason != NOT_SELECTED:
            required = "required" if check.required else "optional"
            reason = "" if outcome.reason == NO_REASON else f": {outcome.reason}"
            self._line(f"[{self._colored(outcome.status)}] {check.id} ({required}){reason}")

    def decision(self, decision: Decision, told: str, folder: str, digest: str, notes: Sequence[str]) -> None:
        """The end: what was not judged, where the report is, and the decision."""
        if self.json:
            self._json(
                event="decision",
                decision=decision.word,
                exit=int(decision.exit),
                folder=folder,
                report_digest=digest,
            )
            return
        if not self.quiet:
            for note in (*self._worst, *notes):
                self._line(note)
            self._line(f"results: {folder}/results.tsv")
            self._line(f"summary: {folder}/SUMMARY.md")
        self._line(f"decision: {told}")

    def _colored(self, status: Status) -> str:
        return f"\x1b[{_COLORS[status]}m{status}\x1b[0m" if self.color else str(status)

    def _json(self, **event: Any) -> None:
        self._line(json.dumps(event, separators=(",", ":")))

    def _line(self, text: str) -> None:
        if self.lost:
            return
        try:
            print(text, flush=True)
        except OSError as gone:  # OutputGone, or the bar's own when the terminal is closed
            self.lost = gone.strerror or str(gone)

    def over(self, code: int) -> int:
        """The exit code of a run that would have this one: a decision that could not be told is no GO."""
        with suppress(OSError):
            if self.lost:
                print_error(f"cannot write to standard output: {self.lost}")
        try:
            sys.stderr.flush()
        except OSError:
            # What is left in the buffer would fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        return code or int(bool(self.lost))


def told(decision: Decision, rows: Sequence[Row], *, narrowed: bool) -> str:
    """The decision in one line, with its reasons in words."""
    if decision.word == "BASELINE":
        return f"BASELINE (would be: {decision.would_be})"
    if decision.word == "GO":
        optional = sum(not row.check.required and row.outcome.status is not Status.PASSED for row in rows)
        return (
            f"GO (with warnings: {_checks(optional, 'optional')} did not pass)" if decision.warned else "GO"
        )
    required = [row for row in rows if row.check.required and row.outcome.status is not Status.PASSED]
    not_selected = [row for row in required if row.outcome.reason == NOT_SELECTED]
    if narrowed:
        selected = [row for row in rows if row.outcome.reason != NOT_SELECTED]
        passed = sum(row.outcome.status is Status.PASSED for row in selected)
        words = f"{passed} of {len(selected)} selected checks passed"
        parts = [words, f"{_checks(len(not_selected), 'required')} were not selected"]
        return f"NO-GO ({'; '.join(parts)})"
    parts = [one.code for one in decision.reasons if one.code != "required-not-passed"]
    if required:
        parts.append(f"{_checks(len(required), 'required')} did not pass")
    return f"NO-GO ({'; '.join(parts)})"


def _checks(count: int, kind: str) -> str:
    return f"{count} {kind} check{'' if count == 1 else 's'}"
