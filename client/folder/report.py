"""What a command tells while it works: a progress bar and lines for people, JSON lines for programs."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from less_sync.client.folder.errors import ExitCode, FolderError
from less_sync.client.folder.paths import shown


class Kind(StrEnum):
    """What happened; the `event` of a JSON line.

    LEFT_OUT is what is never synced, such as a symbolic link: named, and no reason for an exit code.
    ROLLED_BACK is a record of which the server shows an older version than this device has seen.
    """

    PUSHED = "pushed"
    PULLED = "pulled"
    DELETED_HERE = "deleted_here"
    DELETED_THERE = "deleted_on_server"
    CONFLICT = "conflict"
    SKIPPED = "skipped"
    LEFT_OUT = "left_out"
    UNDECRYPTABLE = "undecryptable"
    ROLLED_BACK = "rolled_back"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    WATCHING = "watching"
    NOTE = "note"
    SUMMARY = "summary"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `detail`: a reason, or the name of the conflict copy."""

    kind: Kind
    path: str = ""
    detail: str = ""
    size_bytes: int | None = None


_DONE: Final = {
    Kind.PUSHED: "pushed",
    Kind.PULLED: "pulled",
    Kind.DELETED_HERE: "deleted here",
    Kind.DELETED_THERE: "deleted on the server",
}
_TO_DO: Final = {
    Kind.PUSHED: "to push",
    Kind.PULLED: "to pull",
    Kind.DELETED_HERE: "to delete here",
    Kind.DELETED_THERE: "to delete on the server",
}
_COUNTED: Final = (Kind.PUSHED, Kind.PULLED, Kind.DELETED_HERE, Kind.DELETED_THERE, Kind.CONFLICT)


@dataclass(frozen=True, slots=True)
class Amount:
    """So many files and bytes."""

    files: int
    size_bytes: int


@dataclass(slots=True)
class Summary:
    """What was done in all; with `to_do`, what would be."""

    to_do: bool = False
    listed: Amount | None = None
    counts: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))
    skipped: dict[str, str] = field(default_factory=dict)
    undecryptable: set[str] = field(default_factory=set)
    rolled_back: set[str] = field(default_factory=set)

    def add(self, event: Event) -> bool:
        """Count an event; False for a skipped file that was named before with the same reason."""
        if event.kind in self.counts:
            self.counts[event.kind] += 1
            self.skipped.pop(event.path, None)
        elif event.kind in (Kind.SKIPPED, Kind.UNDECRYPTABLE):
            if self.skipped.get(event.path) == event.detail:
                return False
            self.skipped[event.path] = event.detail
            if event.kind is Kind.UNDECRYPTABLE:
                self.undecryptable.add(event.path)
        elif event.kind is Kind.ROLLED_BACK:
            if event.path in self.rolled_back:
                return False
            self.rolled_back.add(event.path)
        return True

    @property
    def exit_code(self) -> ExitCode:
        """10 when the server went back, 4 when a record did not decrypt, 3 for what was skipped, else 0."""
        if self.rolled_back:
            return ExitCode.ROLLED_BACK
        if self.undecryptable:
            return ExitCode.KEY_MISMATCH
        return ExitCode.SKIPPED if self.skipped else ExitCode.OK

    @property
    def verbs(self) -> Mapping[Kind, str]:
        """What is said of each kind of change."""
        return _TO_DO if self.to_do else _DONE

    def name(self, kind: Kind) -> str:
        """The `event` of a JSON line, in the words of the text."""
        return _TO_DO[kind].replace(" ", "_") if self.to_do and kind in _TO_DO else str(kind)

    def words(self) -> str:
        """One line for people."""
        if self.listed is not None:
            return f"{self.listed.files:,} files, {self.listed.size_bytes:,} bytes"
        parts = [f"{self.counts[kind]} {verb}" for kind, verb in self.verbs.items() if self.counts[kind]]
        if self.counts[Kind.CONFLICT]:
            parts.append(f"{self.counts[Kind.CONFLICT]} in conflict{'' if self.to_do else ', both kept'}")
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped")
        if self.rolled_back:
            parts.append(f"{len(self.rolled_back)} older on the server than seen before")
        return ", ".join(parts) if parts else "nothing to do"


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a long work is: files and bytes done so far.

    `part` is the share of the work that is done, from 0 to 1; None when nobody knows how much there is.
    """

    doing: str
    files: int
    size_bytes: int
    part: float | None = None


class Reporter(Protocol):
    """Receives events and progress."""

    summary: Summary

    def tell(self, event: Event) -> None:
        """Report one event."""

    def progress(self, progressed: Progressed) -> None:
        """Say how far a long work is."""

    def show(self, fields: Mapping[str, object], text: str) -> None:
        """Report what is no event of a file: lines for people, or an object for programs."""

    def fail(self, error: FolderError) -> None:
        """Report what stopped the command."""

    def finish(self) -> None:
        """Take down the progress bar and report the summary."""


class JsonReporter:
    """One JSON object per line on standard output: `event`; `path`, `detail`, `bytes` where they apply."""

    def __init__(self, out: TextIO | None = None, *, to_do: bool = False) -> None:
        self.summary = Summary(to_do)
        self._out = out or sys.stdout

    def tell(self, event: Event) -> None:
        """Write the event."""
        if self.summary.add(event):
            fields: dict[str, object] = {"event": self.summary.name(event.kind)}
            if event.path:
                fields["path"] = event.path
            if event.detail:
                fields["detail"] = event.detail
            if event.size_bytes is not None:
                fields["bytes"] = event.size_bytes
            self._write(fields)

    def progress(self, progressed: Progressed) -> None:
        """Programs count events."""

    def show(self, fields: Mapping[str, object], text: str) -> None:
        """Write the object."""
        self._write(fields)

    def fail(self, error: FolderError) -> None:
        """Write the error with its exit code."""
        fields: dict[str, object] = {"event": str(Kind.ERROR), "detail": str(error)}
        self._write(fields | {"hint": error.hint, "exit_code": int(error.exit_code)})

    def finish(self) -> None:
        """Write the summary."""
        summary = self.summary
        counts: dict[str, object] = {summary.name(kind): count for kind, count in summary.counts.items()}
        if summary.listed is not None:
            counts = {"files": summary.listed.files, "bytes": summary.listed.size_bytes}
        skipped: dict[str, object] = {"skipped": len(summary.skipped), "exit_code": int(summary.exit_code)}
        self._write({"event": str(Kind.SUMMARY)} | counts | skipped)

    def _write(self, fields: Mapping[str, object]) -> None:
        # Undecodable file names become escapes: every line is valid UTF-8.
        print(json.dumps(fields), file=self._out, flush=True)


class TextReporter:
    """Lines on standard output, problems on standard error, a progress bar when that is a terminal."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, *, to_do: bool = False) -> None:
        self.summary = Summary(to_do)
        self._out = Console(file=out or sys.stdout, highlight=False, markup=False, soft_wrap=True)
        self._err = Console(file=err or sys.stderr, highlight=False, markup=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def tell(self, event: Event) -> None:
        """Print the event."""
        if not self.summary.add(event):
            return
        path = shown(event.path)
        match event.kind:
            case Kind.CONFLICT if self.summary.to_do:
                self._print(f"in conflict: {path} changed on both sides; `pull` keeps both versions")
            case Kind.CONFLICT:
                self._print(f"conflict: {path} changed on both sides; yours is now {shown(event.detail)}")
            case Kind.SKIPPED | Kind.UNDECRYPTABLE:
                self._err_print(f"skipped: {path}: {shown(event.detail)}")
            case Kind.LEFT_OUT:
                self._err_print(f"left out: {path}: {shown(event.detail)}")
            case Kind.ROLLED_BACK:
                self._err_print(f"rolled back: {path}: {shown(event.detail)}")
            case kind if kind in self.summary.verbs:
                self._print(f"{self.summary.verbs[kind]}: {path}")
            case Kind.DISCONNECTED:
                self._err_print(event.detail)
            case _:
                self._print(event.detail)

    def progress(self, progressed: Progressed) -> None:
        """Move the bar; nothing where there is no terminal to draw it on."""
        if not self._err.is_terminal:
            return
        part = progressed.part
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[files]} files"),
                TimeElapsedColumn(),
                console=self._err,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(progressed.doing, total=1.0, files=progressed.files)
        assert self._task is not None
        total = None if part is None else 1.0
        self._bar.update(
            self._task,
            description=progressed.doing,
            completed=part or 0.0,
            total=total,
            files=progressed.files,
        )
        if part is not None and part >= 1:
            self._drop_bar()

    def show(self, fields: Mapping[str, object], text: str) -> None:
        """Print the lines."""
        self._print(text)

    def fail(self, error: FolderError) -> None:
        """Print the error and what to do about it."""
        self._drop_bar()
        self._err_print(f"Error: {error}")
        if error.hint:
            self._err_print(f"  {error.hint}")

    def finish(self) -> None:
        """Print the summary."""
        self._drop_bar()
        self._print(self.summary.words())

    def _print(self, line: str) -> None:
        self._out.print(line)

    def _err_print(self, line: str) -> None:
        self._err.print(line)

    def _drop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None
