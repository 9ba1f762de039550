"""What a command tells while it works: a progress bar and lines for people, JSON lines for programs."""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from less_sync.client.folder.errors import INTERRUPTED, ExitCode, FolderError
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

    def words(self, *, nothing: str = "nothing to do") -> str:
        """One line for people."""
        if self.listed is not None:
            return f"{counted(self.listed.files)}, {self.listed.size_bytes:,} bytes"
        parts = [f"{self.counts[kind]} {verb}" for kind, verb in self.verbs.items() if self.counts[kind]]
        if self.counts[Kind.CONFLICT]:
            parts.append(f"{self.counts[Kind.CONFLICT]} in conflict{'' if self.to_do else ', both kept'}")
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped")
        if self.rolled_back:
            parts.append(f"{len(self.rolled_back)} older on the server than seen before")
        return ", ".join(parts) if parts else nothing


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a long work is: files and bytes done so far.

    `part` is the share of the work that is done, from 0 to 1; None when nobody knows how much there is.
    """

    doing: str
    files: int
    size_bytes: int
    part: float | None = None


def counted(files: int) -> str:
    """A number of files in words."""
    return f"{files:,} file{'' if files == 1 else 's'}"


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

    def finish(self, exit_code: int) -> None:
        """Take down the progress bar and report the summary, and how the command ends."""


class JsonReporter:
    """One JSON object per line on standard output: `event`; `path`, `detail`, `bytes` where they apply.

    Paths are exact: what is no text in them are surrogates, as Python decodes names of files.
    """

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

    def finish(self, exit_code: int) -> None:
        """Write the summary."""
        summary = self.summary
        fields: dict[str, object] = {"event": str(Kind.SUMMARY)}
        if summary.listed is not None:
            fields |= {"files": summary.listed.files, "bytes": summary.listed.size_bytes}
        else:
            fields |= {summary.name(kind): count for kind, count in summary.counts.items()}
        fields |= {str(Kind.SKIPPED): len(summary.skipped), str(Kind.ROLLED_BACK): len(summary.rolled_back)}
        self._write(fields | {"exit_code": exit_code})

    def _write(self, fields: Mapping[str, object]) -> None:
        # Undecodable file names become escapes: every line is valid UTF-8.
        print(json.dumps(fields), file=self._out, flush=True)


class _Done(ProgressColumn):
    """Files and bytes done, and the rate so far."""

    def render(self, task: Task) -> Text:
        """Of a task with the fields `files`, `size_bytes` and `bytes_per_s`."""
        files, size_bytes, rate = (int(task.fields[name]) for name in ("files", "size_bytes", "bytes_per_s"))
        parts = [counted(files)]
        if size_bytes:
            parts.append(decimal(size_bytes))
        if rate:
            parts.append(f"{decimal(rate)}/s")
        return Text(", ".join(parts))


class TextReporter:
    """Lines on standard output, problems on standard error, a progress bar when that is a terminal.

    While there is a bar, lines for the same terminal go through it: it is drawn anew below them and stays.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        *,
        to_do: bool = False,
        bar_after_s: float = 0.5,
    ) -> None:
        """No bar is drawn for work that takes less than `bar_after_s`."""
        out, err = out or sys.stdout, err or sys.stderr
        self.summary = Summary(to_do)
        self._out = _console(out)
        self._err = _console(err)
        self._has_bar = err.isatty() and not self._err.is_dumb_terminal
        self._is_one_terminal = _is_one_terminal(out, err)
        self._bar_after_s = bar_after_s
        self._began: tuple[float, int] | None = None
        """When this work was first heard of, and how many bytes were done by then."""
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def tell(self, event: Event) -> None:
        """Print the event."""
        if not self.summary.add(event):
            return
        path, detail = shown(event.path), shown(event.detail)
        match event.kind:
            case Kind.CONFLICT if self.summary.to_do:
                self._print(f"in conflict: {path} changed on both sides; `pull` keeps both versions")
            case Kind.CONFLICT:
                self._print(f"conflict: {path} changed on both sides; yours is now {detail}")
            case Kind.SKIPPED | Kind.UNDECRYPTABLE:
                self._print_problem(f"skipped: {path}: {detail}")
            case Kind.LEFT_OUT:
                self._print_problem(f"left out: {path}: {detail}")
            case Kind.ROLLED_BACK:
                self._print_problem(f"rolled back: {path}: {detail}")
            case kind if kind in self.summary.verbs:
                self._print(f"{self.summary.verbs[kind]}: {path}")
            case Kind.DISCONNECTED:
                self._drop_bar()
                self._print_problem(detail)
            case Kind.WATCHING:
                self._drop_bar()
                self._print(detail)
            case _:
                self._print(detail)

    def progress(self, progressed: Progressed) -> None:
        """Move the bar; nothing where there is no terminal to draw it on."""
        if not self._has_bar:
            return
        if progressed.part is not None and progressed.part >= 1:
            self._drop_bar()
            return
        now_s = time.monotonic()
        if self._began is None:
            self._began = now_s, progressed.size_bytes
        took_s = now_s - self._began[0]
        if took_s < self._bar_after_s:
            return
        if self._bar is None:
            self._bar, self._task = _raised_bar(self._err, progressed)
        self._bar.update(
            self._task,
            description=progressed.doing,
            completed=progressed.part or 0.0,
            total=None if progressed.part is None else 1.0,
            files=progressed.files,
            size_bytes=progressed.size_bytes,
            bytes_per_s=max(0, progressed.size_bytes - self._began[1]) / took_s if took_s else 0,
        )

    def show(self, fields: Mapping[str, object], text: str) -> None:
        """Print the lines."""
        self._print(text)

    def fail(self, error: FolderError) -> None:
        """Print the error and what to do about it."""
        self._drop_bar()
        self._print_problem(f"Error: {shown(str(error))}")
        if error.hint:
            self._print_problem(f"  {shown(error.hint)}")

    def finish(self, exit_code: int) -> None:
        """Print the summary."""
        self._drop_bar()
        if exit_code == INTERRUPTED:
            self._print(f"interrupted: {self.summary.words(nothing='nothing was done')}")
        else:
            self._print(self.summary.words())

    def _print(self, line: str) -> None:
        self._write(self._err if self._is_one_terminal else self._out, line)

    def _print_problem(self, line: str) -> None:
        self._write(self._err, line)

    def _write(self, console: Console, line: str) -> None:
        try:
            if self._bar is not None and console is self._err:
                console.print(line)
            else:  # much less work, which tells for tens of thousands of files
                print(line, file=console.file, flush=True)
        except OSError:
            self._drop_bar()  # it hides the cursor
            raise

    def _drop_bar(self) -> None:
        self._began = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _raised_bar(console: Console, first: Progressed) -> tuple[Progress, TaskID]:
    columns = (TextColumn("{task.description}"), BarColumn(), _Done(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    task = bar.add_task(first.doing, total=1.0, files=first.files, size_bytes=first.size_bytes, bytes_per_s=0)
    bar.start()
    return bar, task


def _console(file: TextIO) -> Console:
    """Prints lines as they are: whole, and without a meaning of brackets and colons in names of files."""
    return Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _is_one_terminal(out: TextIO, err: TextIO) -> bool:
    try:
        return out.isatty() and err.isatty() and os.path.sameopenfile(out.fileno(), err.fileno())
    except OSError:  # a file of Python alone has no number
        return False
