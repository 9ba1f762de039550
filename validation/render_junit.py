"""`junit.xml`: the same rows for the pages of build servers. Pure.

Those show what was skipped as harmless. So in a gate a required row that was skipped is a failure, and an
optional one that failed is shown as skipped, with its log (docs/validation.md 7.2).
"""

import re
from collections.abc import Sequence
from typing import Final

from less_sync.validation import wording
from less_sync.validation.results import CheckEntry, Document
from less_sync.validation.texts import Texts

LOG_CHARS_MAX: Final = 16 * 1024
"""Of one log, before they are escaped."""
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""By XML 1.0, section 2.2."""
_MARKS: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}
_SPACES: Final = {"\t": "&#9;", "\n": "&#10;"}


def junit(document: Document, texts: Texts) -> bytes:
    """The whole file."""
    lanes: dict[str, list[CheckEntry]] = {}
    for entry in document.checks:
        lanes.setdefault(entry.lane, []).append(entry)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append(f"<testsuites name={_attribute(document.name)} {_totals(document.checks, document)}>")
    for lane, entries in lanes.items():
        lines.append(f" <testsuite name={_attribute(lane)} {_totals(entries, document)}>")
        lines.append("  <properties>")
        lines += [
            f"   <property name={_attribute(name)} value={_attribute(value)}/>"
            for name, value in (
                ("decision", document.decision),
                ("policy_digest", document.policy.digest),
                ("stable_digest", document.stable_digest),
            )
        ]
        lines.append("  </properties>")
        for entry in entries:
            lines += _case(entry, document, texts)
        lines.append(" </testsuite>")
    lines.append("</testsuites>")
    return ("\n".join(lines) + "\n").encode()


def _text(text: str) -> str:
    text = _FORBIDDEN.sub("\ufffd", text)
    return "".join(_MARKS.get(char, char) for char in text)


def _attribute(text: str) -> str:
    return f'"{"".join(_SPACES.get(char, char) for char in _text(text))}"'


def _seconds(microseconds: int) -> str:
    milliseconds = max(0, microseconds) // 1000
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"


def _outcome(entry: CheckEntry, document: Document) -> str:
    """The element of a row: `failure`, `error`, `skipped`; empty for one that passed."""
    if entry.status == "passed":
        return ""
    if not entry.required:
        return "skipped"
    if entry.status == "skipped":
        return "failure" if document.mode == "gate" else "skipped"
    return "failure" if entry.status == "failed" else "error"


def _totals(entries: Sequence[CheckEntry], document: Document) -> str:
    kinds = [_outcome(entry, document) for entry in entries]
    took = _seconds(sum(entry.duration_us for entry in entries))
    counts = f'tests="{len(kinds)}" failures="{kinds.count("failure")}" errors="{kinds.count("error")}"'
    return f'{counts} skipped="{kinds.count("skipped")}" time="{took}"'


def _case(entry: CheckEntry, document: Document, texts: Texts) -> list[str]:
    kind = _outcome(entry, document)
    where = _attribute(f"{entry.lane}.{entry.target}")
    head = f'  <testcase classname={where} name={_attribute(entry.id)} time="{_seconds(entry.duration_us)}"'
    if not kind:
        return [f"{head}/>"]
    told = f"{entry.reason}: {wording.next_step(entry)}"
    if kind == "skipped":
        optional = f"optional: {entry.status}: {entry.reason}"
        message = entry.reason if entry.required or entry.status == "skipped" else optional
        element = f"   <skipped message={_attribute(message)}/>"
    else:
        what = "required-skipped" if entry.status == "skipped" else entry.reason
        element = f"   <{kind} type={_attribute(what)} message={_attribute(told)}/>"
    log = texts.logs.get(entry.id, "")[:LOG_CHARS_MAX]
    out = [f"   <system-out>{_text(log)}</system-out>"] if log and entry.status != "skipped" else []
    return [f"{head}>", element, *out, "  </testcase>"]
