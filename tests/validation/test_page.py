"""The page: self-contained, readable by everybody, hostile text in it text, and bounded."""

import itertools
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from less_sync.validation import render_html
from less_sync.validation.render_html import PAGE_BYTES_MAX, page
from less_sync.validation.results import Candidate, InputFact
from less_sync.validation.texts import Texts
from tests.validation.reports import FAILED, HOSTILE, ROWS, SUBJECT, read, results, row
from tests.validation.test_render import TEXTS, stable

VOID: Final = {"meta", "br"}
CSS: Final = (Path(render_html.__file__).parent / "report.css").read_text()
CONTRAST_MIN: Final = 4.5


class Tree(HTMLParser):
    """All elements in order, each with its path, attributes and text; ends have to match."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str], str]] = []
        self.texts: list[str] = []
        self.comments: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin one."""
        self.found.append((tag, {name: value or "" for name, value in attrs}, "/".join(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """End one."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text of the innermost."""
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        """A comment."""
        self.comments.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of each element of this name."""
        return [attributes for name, attributes, _ in self.found if name == tag]


@cache
def tree() -> Tree:
    return Tree(page(read(results()), TEXTS).decode())


def test_its_policy_comes_first_and_nothing_is_loaded_or_run() -> None:
    inside = [(tag, attributes) for tag, attributes, path in tree().found if path.endswith("/head")]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert inside[0] == ("meta", {"http-equiv": "Content-Security-Policy", "content": policy})
    tags = {tag for tag, _, _ in tree().found}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "svg", "input"}
    attributes = {name for _, one, _ in tree().found for name in one}
    assert not {name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")}
    assert all(one["href"].startswith("#check-") for one in tree().all("a"))
    assert not re.search(r"url\(|@import|expression", CSS)


def test_the_decision_comes_first_and_what_did_not_pass_next() -> None:
    source = page(read(results()), TEXTS).decode()
    assert re.findall("<h2[^>]*>(.*?)</h2>", source) == [
        *("Why", "Passed after retry", "Optional findings", "Checks", "What was judged", "Inputs"),
        *("Overrides", "Rollback", "Left behind", "Digests", "Evidence", "About this report"),
    ]
    told = source.index("2 of 7 selected checks passed")
    assert source.index('<strong class="word">NO-GO') < told < source.index(">Why<")


def test_it_can_be_read_by_everybody() -> None:
    found = tree()
    assert found.all("html") == [{"lang": "en"}]
    assert len(found.all("h1")) == 1
    levels = [int(tag[1]) for tag, _, _ in found.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(now - before <= 1 for before, now in itertools.pairwise(levels))
    assert all(one.get("scope") in ("col", "row") for one in found.all("th"))
    assert len(found.all("caption")) == len(found.all("table")) == 4
    ids = [one["id"] for _, one, _ in found.found if "id" in one]
    assert len(ids) == len(set(ids))
    assert {one["href"][1:] for one in found.all("a")} <= set(ids)
    assert all(one["aria-labelledby"] in ids for one in found.all("section"))
    assert len(found.all("summary")) == len(found.all("details")) == len(ROWS)
    assert {"header", "main", "footer", "title"} <= {tag for tag, _, _ in found.found}
    assert all(one.get("tabindex") == "0" and one.get("aria-label") for one in found.all("pre"))
    assert any(one.get("name") == "viewport" for one in found.all("meta"))


def test_each_status_is_a_word_and_a_sign() -> None:
    source = page(read(results()), TEXTS).decode()
    for sign, word in zip(
        "\u2713\u2717!\u25a0\u2013", ("passed", "failed", "error", "blocked", "skipped"), strict=True
    ):
        assert f'<span aria-hidden="true">{sign}</span>{word}</span>' in source


def _colours(block: str) -> dict[str, tuple[float, ...]]:
    found = re.findall(r"--([a-z-]+): #([0-9a-f]{6});", block)
    return {name: tuple(int(value[i : i + 2], 16) / 255 for i in (0, 2, 4)) for name, value in found}


def _contrast(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    """By WCAG 2.1, 1.4.3."""

    def light(colour: tuple[float, ...]) -> float:
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(one), light(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_contrast_is_enough_in_every_scheme(scheme: str) -> None:
    blocks = {
        name: CSS.index(mark)
        for name, mark in (("light", ":root"), ("dark", "dark) {"), ("print", "@media print"))
    }
    start = blocks[scheme]
    colours = _colours(CSS[start : CSS.index("}", CSS.index(":root", start))])
    pairs = [
        (ink, ground)
        for ink in ("ink", "quiet", "link", "good", "bad", "warn")
        for ground in ("ground", "card", "soft")
    ]
    pairs += [(tone, f"{tone}-soft") for tone in ("good", "bad", "warn")]
    pairs += [("ink", f"{tone}-soft") for tone in ("good", "bad", "warn")]
    poor = {pair: _contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < CONTRAST_MIN} == {}


def test_hostile_text_stays_text() -> None:
    told = read(
        results(
            [row("one", description=HOSTILE), row("two", FAILED)],
            title=HOSTILE,
            inputs=(InputFact("BACKUP_DIR", "env", HOSTILE),),
            subject=replace(SUBJECT, candidate=Candidate(HOSTILE, '"><b>', "</style><script>")),
        )
    )
    texts = Texts({"two": f"{HOSTILE}\nlast\n"}, {"two": f"</pre><!-- /volatile -->{HOSTILE}"})
    source = page(told, texts).decode()
    found = Tree(source)
    assert {tag for tag, _, _ in found.found} <= {tag for tag, _, _ in tree().found}
    assert set(found.comments) == {" volatile ", " /volatile "}
    assert not {"\u202e", "\x1b", "\x00"} & set(source)
    assert sum("<script>alert(1)</script>" in text for text in found.texts) >= 6


def test_evidence_is_shown_as_far_as_the_page_goes_and_what_failed_first() -> None:
    rows = [row(f"c{number}", FAILED if number == 199 else row("x").outcome) for number in range(200)]
    texts = Texts({}, {one.check.id: f"{one.check.id} {'<' * 100_000}" for one in rows})
    source = page(read(results(rows)), texts)
    assert PAGE_BYTES_MAX * 0.9 < len(source) <= PAGE_BYTES_MAX
    assert b"c199 &lt;" in source
    assert b"(the first 64 KiB; all of it in <code>evidence/c199.txt</code>)" in source
    assert source.count(b"<details>") == 200


def test_what_is_outside_the_marks_is_the_same_in_an_equal_run() -> None:
    other = [replace(one, duration_us=9, attempts=one.attempts and 1) for one in ROWS]
    one = page(read(results()), TEXTS).decode()
    two = page(read(results(other)), Texts({one.check.id: "other\nx\n" for one in ROWS})).decode()
    assert one != two
    assert stable(one) == stable(two)


def test_a_baseline_says_what_it_would_be() -> None:
    source = page(read(results(baseline=True)), TEXTS).decode()
    assert '<strong class="word">BASELINE <small>(would be: NO-GO)</small></strong>' in source
