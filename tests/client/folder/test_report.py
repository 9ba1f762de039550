"""What people and programs are told."""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import struct
import termios
import threading
from pathlib import Path
from typing import TextIO

import pytest

from less_sync.bins.commands.exit_codes import WORDS
from less_sync.client.folder.errors import INTERRUPTED, DiskFull, ExitCode
from less_sync.client.folder.report import Event, JsonReporter, Kind, Progressed, Summary, TextReporter

SKIP = Event(Kind.SKIPPED, "a\x1b[2J", "symbolic links are not synced")


def test_text_is_plain_without_a_terminal_and_problems_go_to_standard_error() -> None:
    out, err = io.StringIO(), io.StringIO()
    reporter = TextReporter(out, err)
    reporter.progress(Progressed("pushing", 1, 0, 0.1))
    reporter.tell(Event(Kind.PUSHED, "[bold]x[/bold]", size_bytes=3))
    reporter.tell(Event(Kind.CONFLICT, "n.txt", "n (conflict).txt"))
    reporter.tell(SKIP)
    reporter.tell(SKIP)
    reporter.fail(DiskFull("no space left on the disk", "make room"))
    reporter.finish(int(reporter.summary.exit_code))
    assert out.getvalue() == (
        "pushed: [bold]x[/bold]\n"
        "conflict: n.txt changed on both sides; yours is now n (conflict).txt\n"
        "1 pushed, 1 in conflict, both kept, 1 skipped\n"
    )
    assert err.getvalue() == (
        "skipped: a\\x1b[2J: symbolic links are not synced\nError: no space left on the disk\n  make room\n"
    )


HIDE, SHOW, ERASE = "\x1b[?25l", "\x1b[?25h", "\r\x1b[2K"


class Screen:
    """A pseudo terminal, and all that was written to it."""

    def __init__(self) -> None:
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # that is how a terminal ends
            while some := os.read(self._ours, 65_536):
                self._written += some

    def file(self) -> TextIO:
        return open(os.dup(self._theirs), "w")

    def text(self) -> str:
        """All of it, once every file is closed."""
        os.close(self._theirs)
        self._reader.join()
        os.close(self._ours)
        return self._written.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def report_files(reporter: TextReporter, count: int) -> None:
    for done in range(count):
        reporter.progress(Progressed("pushing", done, done * 1_000_000, done / (2 * count)))
        reporter.tell(Event(Kind.PUSHED, f"file {done} {'x' * 100}"))
        reporter.tell(Event(Kind.SKIPPED, f"bad {done}", "no"))
    reporter.finish(int(reporter.summary.exit_code))


@pytest.mark.usefixtures("terminal")
def test_a_bar_stays_up_while_lines_are_printed_above_it() -> None:
    screen = Screen()
    with screen.file() as out, screen.file() as err:
        report_files(TextReporter(out, err, bar_after_s=0), 50)
    text = screen.text()
    assert (text.count(HIDE), text.count(SHOW)) == (1, 1), "raised once and taken down once"
    for done in range(50):
        for line in (f"pushed: file {done} {'x' * 100}\r\n", f"skipped: bad {done}: no\r\n"):
            assert text.count(f"{ERASE}{line}") == 1, "a line takes the bar's place, whole"
    assert text.endswith(f"{SHOW}\r\x1b[1A\x1b[2K50 pushed, 50 skipped\r\n")
    assert re.search(r"49 files, 49\.0 MB, [0-9.]+ [kMG]?B/s .*[0-9]:[0-9]{2}:[0-9]{2}", text)


@pytest.mark.usefixtures("terminal")
def test_lines_that_go_elsewhere_leave_the_bar_alone() -> None:
    screen, out = Screen(), io.StringIO()
    with screen.file() as err:
        report_files(TextReporter(out, err, bar_after_s=0), 5)
    assert out.getvalue().splitlines()[-1] == "5 pushed, 5 skipped"
    assert "pushed:" not in screen.text()


@pytest.mark.usefixtures("terminal")
def test_short_work_raises_no_bar_and_done_work_leaves_none() -> None:
    screen = Screen()
    with screen.file() as out, screen.file() as err:
        report_files(TextReporter(out, err, bar_after_s=60), 5)
        reporter = TextReporter(out, err, bar_after_s=0)
        reporter.progress(Progressed("pulling", 1, 0, 0.5))
        reporter.progress(Progressed("pulling", 2, 0, 1.0))
        reporter.tell(Event(Kind.PULLED, "a"))
    text = screen.text()
    assert (text.count(HIDE), text.count(SHOW)) == (1, 1)
    assert text.index(HIDE) > text.index("5 pushed, 5 skipped")
    assert text.endswith("\x1b[2Kpulled: a\r\n")


def test_nothing_that_others_named_reaches_the_terminal_as_it_is() -> None:
    out, err = io.StringIO(), io.StringIO()
    reporter = TextReporter(out, err)
    reporter.tell(Event(Kind.PUSHED, ":smile: [red]"))
    reporter.tell(Event(Kind.CONFLICT, "a\x1b[2J", "b\x1b[2J"))
    reporter.tell(Event(Kind.DISCONNECTED, detail="closed: \x1b]0;title\x07"))
    reporter.tell(Event(Kind.NOTE, detail="note\x1b[2J"))
    reporter.fail(DiskFull("no\x1b[2J", "hint\x1b[2J"))
    assert "\x1b" not in out.getvalue() + err.getvalue()
    assert out.getvalue().startswith("pushed: :smile: [red]\n")


def test_a_command_that_was_interrupted_does_not_say_that_there_was_nothing_to_do() -> None:
    out = io.StringIO()
    reporter = TextReporter(out, io.StringIO())
    reporter.finish(INTERRUPTED)
    reporter.tell(Event(Kind.PUSHED, "a"))
    reporter.finish(INTERRUPTED)
    assert out.getvalue().splitlines() == [
        "interrupted: nothing was done",
        "pushed: a",
        "interrupted: 1 pushed",
    ]


def test_json_is_one_object_per_line_also_for_names_that_are_no_text() -> None:
    out = io.StringIO()
    reporter = JsonReporter(out)
    reporter.progress(Progressed("pushing", 1, 0, 0.1))
    reporter.tell(Event(Kind.PUSHED, "\udce9\n", size_bytes=3))
    reporter.tell(SKIP)
    reporter.fail(DiskFull("no space", "make room"))
    reporter.finish(int(reporter.summary.exit_code))
    lines = [json.loads(line) for line in out.getvalue().encode().splitlines()]
    assert lines[0] == {"event": "pushed", "path": "\udce9\n", "bytes": 3}
    assert lines[1]["detail"] == "symbolic links are not synced"
    assert lines[2] == {"event": "error", "detail": "no space", "hint": "make room", "exit_code": 7}
    assert lines[3] == {
        "event": "summary",
        "pushed": 1,
        "pulled": 0,
        "deleted_here": 0,
        "deleted_on_server": 0,
        "conflict": 0,
        "skipped": 1,
        "rolled_back": 0,
        "exit_code": 3,
    }


def test_json_gives_exact_paths_which_look_alike_in_text() -> None:
    out, text, err = io.StringIO(), io.StringIO(), io.StringIO()
    json_reporter, text_reporter = JsonReporter(out), TextReporter(text, err)
    for path in ("a\n", "a\\n", "\udce9"):
        json_reporter.tell(Event(Kind.SKIPPED, path, "no"))
        text_reporter.tell(Event(Kind.SKIPPED, path, "no"))
    assert [json.loads(line)["path"] for line in out.getvalue().splitlines()] == ["a\n", "a\\n", "\udce9"]
    assert err.getvalue().splitlines() == ["skipped: a\\n: no", "skipped: a\\n: no", "skipped: \\udce9: no"]
    assert text_reporter.summary.words() == "3 skipped"


def test_the_exit_code_is_that_of_the_worst_file() -> None:
    summary = Summary()
    codes = [summary.exit_code]
    for event in (SKIP, Event(Kind.UNDECRYPTABLE, "b", "no")):
        summary.add(event)
        codes.append(summary.exit_code)
    assert codes == [ExitCode.OK, ExitCode.SKIPPED, ExitCode.KEY_MISMATCH]


def test_a_file_that_was_skipped_and_then_done_is_not_counted_as_skipped() -> None:
    summary = Summary()
    summary.add(SKIP)
    summary.add(Event(Kind.PUSHED, SKIP.path))
    assert (summary.exit_code, summary.words()) == (ExitCode.OK, "1 pushed")


def test_the_documentation_lists_every_exit_code_and_event() -> None:
    text = (Path(__file__).parents[3] / "docs" / "folder-format.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert listed == {130, *map(int, ExitCode)}
    assert all(f"`{kind}`" in text for kind in Kind)
    assert set(ExitCode) <= WORDS.keys()
