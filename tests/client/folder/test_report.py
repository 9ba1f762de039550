"""What people and programs are told."""

import io
import json
import re
from pathlib import Path

from less_sync.bins.commands.exit_codes import WORDS
from less_sync.client.folder.errors import DiskFull, ExitCode
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
    reporter.finish()
    assert out.getvalue() == (
        "pushed: [bold]x[/bold]\n"
        "conflict: n.txt changed on both sides; yours is now n (conflict).txt\n"
        "1 pushed, 1 in conflict, both kept, 1 skipped\n"
    )
    assert err.getvalue() == (
        "skipped: a\\x1b[2J: symbolic links are not synced\nError: no space left on the disk\n  make room\n"
    )


def test_a_terminal_gets_a_bar_that_is_taken_down() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, err = io.StringIO(), Terminal()
    reporter = TextReporter(out, err)
    for done in range(5):
        reporter.progress(Progressed("pushing", done, 0, done / 10))
    reporter.finish()
    assert "pushing" in err.getvalue()
    assert out.getvalue() == "nothing to do\n"


def test_json_is_one_object_per_line_also_for_names_that_are_no_text() -> None:
    out = io.StringIO()
    reporter = JsonReporter(out)
    reporter.progress(Progressed("pushing", 1, 0, 0.1))
    reporter.tell(Event(Kind.PUSHED, "\udce9\n", size_bytes=3))
    reporter.tell(SKIP)
    reporter.fail(DiskFull("no space", "make room"))
    reporter.finish()
    lines = [json.loads(line) for line in out.getvalue().encode().splitlines()]
    assert lines[0] == {"event": "pushed", "path": "\udce9\n", "bytes": 3}
    assert lines[1]["detail"] == "symbolic links are not synced"
    assert lines[2] == {"event": "error", "detail": "no space", "hint": "make room", "exit_code": 7}
    assert (lines[3]["pushed"], lines[3]["skipped"], lines[3]["exit_code"]) == (1, 1, 3)


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
