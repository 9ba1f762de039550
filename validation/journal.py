"""What a run has left that did not come to its end: its state, and a line per check (docs/validation.md 7.1).

A row that passed may be used again by the run that goes on, as long as all that it rested on is the same. The
folder may be somebody else's, so only what is of the expected form counts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from less_sync.validation.attempt import Row
from less_sync.validation.canonical import compact
from less_sync.validation.matrix import Check
from less_sync.validation.measured import Measured
from less_sync.validation.outcome import PASSED
from less_sync.validation.reading import NotAReport, content
from less_sync.validation.results import CheckEntry, EvidenceFile, check_entry, masked, time_of

JOURNAL: Final = "journal.ndjson"
STATE: Final = "run.json"
STATE_BYTES_MAX: Final = 64 * 1024
LINES_MAX: Final = 20_000
RESUMES_MAX: Final = 100
_RUN_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class State:
    """`run.json`."""

    format: int
    run: str
    started_at: str
    state: str
    """`running`, `finished`, or why its evidence could not be kept."""
    resumes: tuple[str, ...] = ()
    """When it was taken up again."""
    finished_at: str = ""
    decision: str = ""
    exit: int = 0


@dataclass(frozen=True, slots=True)
class Former:
    """A row of an earlier attempt at the same run."""

    digest: str
    """Over all that it rested on."""
    entry: CheckEntry


def read_state(folder: Path) -> State:
    """The state of a run. Raises NotAReport."""
    try:
        state = msgspec.json.decode(content(folder, STATE, most_bytes=STATE_BYTES_MAX), type=State)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise NotAReport(f"{STATE} is not of this format") from None
    if state.format != 1 or len(state.resumes) > RESUMES_MAX or not _RUN_ID.fullmatch(state.run):
        raise NotAReport(f"{STATE} is not of this format")
    return state


def journal_line(row: Row, evidence: EvidenceFile | None, digest: str, mask: Callable[[str], str]) -> bytes:
    """A line of the journal."""
    body: dict[str, Any] = {"digest": digest, "entry": check_entry(row, evidence)}
    return compact(masked(body, mask)) + b"\n"


def read_journal(folder: Path) -> dict[str, Former]:
    """The last row of each check, by its id. A last line that is cut short does not count.

    Raises:
        NotAReport: it is not there, too large, or another line is not of this format.
    """
    lines = content(folder, JOURNAL).split(b"\n")
    if len(lines) > LINES_MAX:
        raise NotAReport(f"{JOURNAL} has more than {LINES_MAX} lines")
    rows = {}
    for line in lines[:-1]:  # behind the last line end there is nothing, or what was cut
        try:
            former = msgspec.json.decode(line, type=Former)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            raise NotAReport(f"{JOURNAL} is not of this format") from None
        rows[former.entry.id] = former
    return rows


def resumed_row(check: Check, former: Former, run: str) -> Row:
    """The row of a check that passed in an earlier attempt; its log and evidence are in the folder."""
    assert former.entry.status == "passed"
    measured = Measured()
    for name, value in former.entry.measured.items():
        measured.number(name, value)
    return Row(
        check,
        PASSED,
        measured,
        attempts=former.entry.attempts,
        started_at=None if former.entry.started_at is None else time_of(former.entry.started_at),
        duration_us=former.entry.duration_us,
        resumed_from=run,
    )
