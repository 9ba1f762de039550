"""What is rendered of a document: its order, its escapes, and hostile text that stays text everywhere."""

import html
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from less_sync.validation.outcome import Outcome, Status
from less_sync.validation.render_junit import junit
from less_sync.validation.render_markdown import code, markdown
from less_sync.validation.render_tsv import escaped, tsv
from less_sync.validation.results import Candidate, InputFact
from less_sync.validation.texts import VOLATILE, Texts, one_line
from tests.validation.reports import BROKEN, FAILED, HOSTILE, ROWS, SKIPPED, SUBJECT, read, results, row

TEXTS: Final = Texts(
    {one.check.id: "asked\nanswered\nfailed: status:503\n" for one in ROWS},
    {one.check.id: one.evidence for one in ROWS},
)
HOSTILE_TEXTS: Final = Texts(
    {"two": f"{HOSTILE.replace(chr(10), ' ')}\nfailed: status:503\n"}, {"two": HOSTILE}
)
SEED_BULLETS: Final = (
    *("Timestamp (UTC)", "Overall", "Total checks", "Passed", "Required failures", "Optional failures"),
    *("Required skipped", "Optional skipped", "Required blocked", "Required errors", "Kind", "Stage", "Mode"),
    *("Candidate", "Incumbent", "Policy digest", "Stable digest"),
)
HEADINGS: Final = (
    *("Why", "Passed after retry", "Optional findings", "Environment", "Overrides", "Check Results"),
    *("Rollback", "Left behind", "Commands"),
)


def unescaped(field: str) -> str:
    """What a field of a table means, written from its description."""
    if field == "-":
        return ""
    if field == "\\-":
        return "-"
    short = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}
    return re.sub(
        r"\\(?:x([0-9a-f]{2})|(.))",
        lambda found: chr(int(found[1], 16)) if found[1] else short[found[2]],
        field,
    )


def stable(text: str) -> str:
    """Without what stands between the marks, and without the lines of marks that have one of their own."""
    return re.sub(f"(?:^ *)?{VOLATILE[0]}.*?{VOLATILE[1]}(?:$\n)?", "", text, flags=re.DOTALL | re.MULTILINE)


# The table.


def test_the_table_begins_with_the_six_columns_that_scripts_know() -> None:
    lines = tsv(read(results())).decode().split("\n")
    assert lines[0] == "check_id\trequired\tstatus\tdescription\tlog_path\tcommand\tlane\ttarget\treason"
    assert lines[1] == (
        "one\trequired\tpassed\tstaging answers healthy\tlogs/one.log\t"
        "less-sync validate --manifest manifest.toml --check one\tservice\tstaging\t\\-"
    )
    assert [line.split("\t")[0] for line in lines[1:-1]] == [one.check.id for one in ROWS]
    assert lines[-1] == ""


def test_fields_are_escaped_as_they_are_described() -> None:
    assert escaped("a\tb\\c\x1b-") == r"a\tb\\c\x1b-"
    assert [escaped(one) for one in ("", "-", "--", "\n\r\x7f", "\x85\u2028")] == [
        "-", r"\-", "--", r"\n\r\x7f", "\x85\u2028",
    ]  # fmt: skip


@given(st.text(max_size=30))
@settings(max_examples=200)
def test_any_text_comes_back_from_a_field(text: str) -> None:
    assert unescaped(escaped(text)) == text
    assert escaped(text)
    assert not {"\t", "\n", "\r"} & set(escaped(text))


def test_a_shell_that_splits_on_tabs_reads_every_row(tmp_path: Path) -> None:
    checks = [
        row("one", description=HOSTILE),
        row("two", FAILED, description=""),
        row("three", description="-"),
    ]
    (tmp_path / "results.tsv").write_bytes(tsv(read(results(checks))))
    loop = """IFS="$(printf '\\t')"
    while read -r id required status description log command lane target reason extra; do
        printf '%s|%s|%s|%s|%s\\n' "$id" "$required" "$status" "$reason" "$extra"; done < results.tsv"""
    done = subprocess.run(["sh", "-c", loop], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert done.stdout.splitlines() == [
        "check_id|required|status|reason|",
        "one|required|passed|\\-|",
        "two|required|failed|status:503|",
        "three|required|passed|\\-|",
    ]


# The summary.


def test_the_summary_has_its_parts_in_order() -> None:
    text = markdown(read(results()), TEXTS).decode()
    told = "2 of 7 selected checks passed; 1 required check was not selected."
    assert text.startswith(f"# A small one\n\n**Decision: NO-GO** {told}\n\n{VOLATILE[0]}\n- Timestamp (UTC)")
    bullets = re.findall(r"^- ([A-Z][A-Za-z ()]+):", text, re.MULTILINE)
    assert tuple(bullets[: len(SEED_BULLETS)]) == SEED_BULLETS
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == HEADINGS
    assert (
        "| Check | Required | Status | Description | Log |\n|---|---|---|---|---|\n| one | required |" in text
    )
    for part in (
        *("- Overall: failed\n", "- Total checks: 8\n", "- Passed: 2\n", "- Required failures: 1\n"),
        *("- Optional failures: 1\n", "- Required skipped: 1\n", "- Optional skipped: 1\n"),
        *("`CANDIDATE_IMAGE=<unset>`", "`STAGING_ACCESS_TOKEN=[secret]`", "`BACKUP_DIR=backups`"),
        "- two: `less-sync validate --manifest manifest.toml --check two`\n",
        "- two: failed, `status:503`. ",
        "- skipped, `not-selected`: four\n",
        "- said last: `answered`\n",
        "- seven: at attempt 2\n",
    ):
        assert part in text, part


def test_parts_that_have_nothing_to_say_are_left_out() -> None:
    text = markdown(read(results([row("one")], overrides=(), left_behind=())), Texts()).decode()
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == HEADINGS[3:]
    assert "## Left behind\n\nnone\n" in text
    assert "**Decision: GO** The required check passed.\n" in text


def test_a_baseline_says_what_it_would_be_and_that_it_decides_nothing() -> None:
    text = markdown(read(results(baseline=True)), TEXTS).decode()
    assert "\n**Baseline (would be: NO-GO)** Recorded, and nothing decided. " in text
    assert "Decision:" not in text


def test_a_go_says_what_was_not_rehearsed() -> None:
    skipped = Outcome(Status.SKIPPED, "not-applicable:previous")
    text = markdown(read(results([row("one"), row("two", skipped, required=False)])), TEXTS).decode()
    assert (
        "**Decision: GO** The required check passed. The way back was not rehearsed: no --previous.\n" in text
    )


def test_a_no_go_counts_what_did_not_pass() -> None:
    text = markdown(read(results([row("one"), row("two", FAILED), row("three", BROKEN)])), TEXTS).decode()
    assert "**Decision: NO-GO** 2 of 3 required checks did not pass.\n" in text


def test_a_selection_counts_both() -> None:
    text = markdown(read(results([row("one"), row("two", SKIPPED), row("three", SKIPPED)])), TEXTS).decode()
    assert "1 of 1 selected checks passed; 2 required checks were not selected." in text


HOSTILE_RESULTS: Final = results(
    [row("one", description=HOSTILE), row("two", FAILED), row("three")],
    title=HOSTILE,
    inputs=(InputFact("BACKUP_DIR", "env", HOSTILE),),
    subject=replace(SUBJECT, candidate=Candidate(HOSTILE, "", "")),
)


def test_hostile_text_stays_text_in_the_summary() -> None:
    text = markdown(read(HOSTILE_RESULTS), HOSTILE_TEXTS).decode()
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    marks = "".join(VOLATILE)
    tags = set(re.findall(r"<([a-z0-9]+)", page.replace(marks, "")))
    assert tags <= {
        "h1",
        "h2",
        "p",
        "strong",
        "ul",
        "li",
        "code",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert re.findall(r"<h1>(.*?)</h1>", page) == [
        "a|b `c` ``d`` &lt;script&gt;alert(1)&lt;/script&gt; *e* _f_ [g](h) \\ \\u202eevil # no heading"
        "\\u001b[31m\\u0000]]&gt;"
    ]
    assert "\u202e" not in text
    assert "\x1b" not in text
    table = re.search(r"<table>.*</table>", page, re.DOTALL)
    assert table is not None
    assert [line.count("<td>") for line in table[0].split("<tr>")[2:]] == [5, 5, 5]
    assert len(re.findall("&lt;script&gt;", page)) == 5, "title, candidate, log, input and description"


@given(st.text(max_size=40) | st.text("` a<*\\", max_size=12))
@settings(max_examples=150)
def test_a_code_span_shows_any_text_and_ends_behind_it(text: str) -> None:
    page = MarkdownIt("commonmark").render(f"x {code(text)} *y*")
    assert page.endswith(" <em>y</em></p>\n")
    shown = one_line(text)
    assert re.findall("<code>(.*?)</code>", page) == (
        [html.escape(shown, quote=False).replace('"', "&quot;")] if shown.strip() else []
    )


def test_what_is_outside_the_marks_is_the_same_in_an_equal_run() -> None:
    other = [replace(one, duration_us=9, attempts=one.attempts and 1, evidence="") for one in ROWS]
    texts = Texts({one.check.id: "said something else\nx\n" for one in ROWS})
    one = markdown(read(results()), TEXTS).decode()
    two = markdown(
        read(results(other, left_behind=(replace(results().left_behind[0], id="y"),))), texts
    ).decode()
    assert one != two
    assert stable(one) == stable(two)


# The JUnit file.

CHILDREN: Final = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase"],
    "properties": ["property"],
    "testcase": ["skipped", "error", "failure", "system-out"],
}
ATTRIBUTES: Final = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testcase": {"classname", "name", "time"},
    "property": {"name", "value"},
    "skipped": {"message"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
}


def elements(root: ET.Element) -> Iterator[ET.Element]:
    """All of them, each held against the common schema."""
    assert root.attrib.keys() == ATTRIBUTES.get(root.tag, set()), root.tag
    order = CHILDREN.get(root.tag, [])
    places = [order.index(child.tag) for child in root]
    assert places == sorted(places)
    yield root
    for child in root:
        yield from elements(child)


def test_the_junit_file_holds_each_row_under_its_lane() -> None:
    root = ET.fromstring(junit(read(results()), TEXTS))
    assert list(elements(root))
    assert [suite.get("name") for suite in root] == ["service", "auth", "contract", "federation"]
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert list(cases) == [one.check.id for one in ROWS]
    assert cases["one"].attrib == {"classname": "service.staging", "name": "one", "time": "0.004"}
    found = {
        name: [(child.tag, child.get("type"), child.get("message")) for child in case]
        for name, case in cases.items()
    }
    assert found["one"] == []
    assert found["two"][0][:2] == ("failure", "status:503")
    assert found["three"] == [("skipped", None, "optional: failed: status:503"), ("system-out", None, None)]
    assert found["four"][0][:2] == ("failure", "required-skipped")
    assert found["five"][0][:2] == ("error", "needs:one")
    assert found["six"][0][:2] == ("error", "timeout")
    assert found["eight"] == [("skipped", None, "not-applicable:federation")]
    totals = {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert totals == {"tests": "8", "failures": "2", "errors": "2", "skipped": "2"}
    assert {one.get("name"): one.get("value") for one in root[0][0]}["decision"] == "NO-GO"


def test_in_a_baseline_a_required_row_may_be_skipped() -> None:
    root = ET.fromstring(junit(read(results(baseline=True)), TEXTS))
    assert [case[0].tag for case in root.iter("testcase") if case.get("name") == "four"] == ["skipped"]


def test_what_xml_forbids_is_replaced_and_hostile_text_stays_text() -> None:
    texts = Texts({"two": f"{HOSTILE}\ufffe\x0b"})
    root = ET.fromstring(junit(read(replace(HOSTILE_RESULTS, name=HOSTILE)), texts))
    shown = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe]", "\ufffd", f"{HOSTILE}\ufffe\x0b")
    assert [one.text for one in root.iter("system-out")] == [shown]
    assert root.get("name") == shown[:-2]


@given(st.text(max_size=40))
@settings(max_examples=60)
def test_any_text_makes_a_file_that_can_be_parsed(text: str) -> None:
    clean = text.encode(errors="replace").decode()
    told = read(results([row("one", FAILED, description=clean)], title=clean, name=clean))
    texts = Texts({"one": clean})
    assert len(list(ET.fromstring(junit(told, texts)).iter("testcase"))) == 1
    assert markdown(told, texts).decode().count("\n## Check Results\n") == 1


@pytest.mark.parametrize(
    ("us", "text"), [(0, "0.000"), (999, "0.000"), (1_234_567, "1.234"), (61_000_000, "61.000")]
)
def test_times_are_in_seconds(us: int, text: str) -> None:
    root = ET.fromstring(junit(read(results([row("one", row={"duration_us": us})])), Texts()))
    assert root.get("time") == text
