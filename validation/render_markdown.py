"""`SUMMARY.md`: the decision first, then why, then everything by which it can be followed up. Pure.

What a target said stands in code spans whose fence is longer than any run of back-ticks in it; everywhere
else the characters that Markdown reads have a backslash (docs/validation.md 7.2).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from less_sync.validation import wording
from less_sync.validation.render_tsv import required_word
from less_sync.validation.results import CheckEntry, Document, InputFact
from less_sync.validation.texts import VOLATILE, Texts, one_line

_ESCAPED: Final = re.compile(r"[\\|`*_\[\]<]")
_TICKS: Final = re.compile("`+")
TOGETHER: Final = ("not-selected", "switched-off")
"""Reasons whose rows are told in one line: they are no news of a target."""


def markdown(document: Document, texts: Texts) -> bytes:
    """The whole file."""
    lines = [f"# {plain(document.title)}", "", *_decision(document), "", *_numbers(document)]
    lines += _section("Why", _why(document, texts), or_none=False)
    lines += _retried(document)
    lines += _section("Optional findings", _findings(document, texts), or_none=False)
    lines += _section("Environment", _inputs(document.inputs))
    lines += _section("Overrides", _inputs(document.overrides))
    lines += ["", "## Check Results", "", *_table(document)]
    lines += _section("Rollback", _rollback(document))
    lines += _section("Left behind", _left_behind(document))
    commands = (f"- {plain(entry.id)}: {code(entry.command)}" for entry in document.checks)
    lines += _section("Commands", list(commands))
    return ("\n".join(lines) + "\n").encode()


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in a cell or a line."""
    return _ESCAPED.sub(lambda found: f"\\{found[0]}", one_line(text))


def code(text: str) -> str:
    """A code span, whatever the text. In a cell of a table it would still need its bars escaped."""
    shown = one_line(text)
    if not shown.strip():
        return '""'
    longest = max((len(run) for run in _TICKS.findall(shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest or shown[0] == shown[-1] == " " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _volatile(lines: Iterable[str], indent: str = "") -> list[str]:
    return [f"{indent}{VOLATILE[0]}", *(f"{indent}{line}" for line in lines), f"{indent}{VOLATILE[1]}"]


def _section(title: str, lines: Sequence[str], *, or_none: bool = True) -> list[str]:
    if not lines and not or_none:
        return []
    return ["", f"## {title}", "", *(lines or ["none"])]


def _decision(document: Document) -> list[str]:
    told = plain(wording.sentence(document))
    if document.decision == "BASELINE":
        return [f"**Baseline (would be: {document.would_be})** {told}"]
    return [f"**Decision: {document.decision}** {told}"]


def _numbers(document: Document) -> list[str]:
    counts, policy = document.counts, document.policy
    accepted = ", looser than the built-in one and accepted" if policy.looser and policy.accepted else ""
    same = ", the built-in one" if policy.digest == policy.builtin_digest else accepted
    return [
        *_volatile([f"- Timestamp (UTC): {document.run.started_at}"]),
        f"- Overall: {document.overall}",
        f"- Total checks: {counts.total}",
        f"- Passed: {counts.passed}",
        f"- Required failures: {counts.failed.required}",
        f"- Optional failures: {counts.failed.optional}",
        f"- Required skipped: {counts.skipped.required}",
        f"- Optional skipped: {counts.skipped.optional}",
        f"- Required blocked: {counts.blocked.required}",
        f"- Required errors: {counts.error.required}",
        f"- Kind: {plain(document.kind)}",
        f"- Stage: {document.stage}",
        f"- Mode: {document.mode}",
        f"- Candidate: {_named(wording.candidate_parts(document))}",
        f"- Incumbent: {_named(wording.incumbent_parts(document))}",
        f"- Policy digest: {code(policy.digest)}{same}",
        f"- Stable digest: {code(document.stable_digest)}",
    ]


def _named(parts: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {code(value)}" for name, value in parts) or "unknown"


def _why(document: Document, texts: Texts) -> list[str]:
    general = [reason.code for reason in document.decision_reasons if not reason.check_id]
    lines = [f"- {code(one)}: {plain(wording.reason_words(one))}" for one in general]
    for reason in TOGETHER:
        ids = [plain(entry.id) for entry in wording.unmet(document) if entry.reason == reason]
        if ids:
            lines.append(f"- skipped, {code(reason)}: {', '.join(ids)}")
    for entry in wording.unmet(document):
        if entry.reason not in TOGETHER:
            lines += _row(entry, texts)
    return lines


def _findings(document: Document, texts: Texts) -> list[str]:
    return [line for entry in wording.findings(document) for line in _row(entry, texts)]


def _row(entry: CheckEntry, texts: Texts) -> list[str]:
    lines = [f"- {plain(entry.id)}: {entry.status}, {code(entry.reason)}. {plain(wording.next_step(entry))}"]
    last = texts.last_line(entry.id)
    return [*lines, *_volatile([f"- said last: {code(last)}"], indent="  ")] if last else lines


def _retried(document: Document) -> list[str]:
    lines = [f"- {plain(entry.id)}: at attempt {entry.attempts}" for entry in wording.retried(document)]
    return _volatile(_section("Passed after retry", lines)) if lines else []


def _inputs(inputs: Sequence[InputFact]) -> list[str]:
    return [f"- {code(wording.input_text(one.name, one.value))} ({one.source})" for one in inputs]


def _table(document: Document) -> list[str]:
    rows = [
        [entry.id, required_word(required=entry.required), entry.status, entry.description, entry.log_path]
        for entry in document.checks
    ]
    return [
        "| Check | Required | Status | Description | Log |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(map(plain, row))} |" for row in rows),
    ]


def _rollback(document: Document) -> list[str]:
    back = document.rollback
    status = "not run" if back.dry_run_status is None else f"exit {back.dry_run_status}"
    losses = ", ".join(map(plain, back.acknowledged_losses)) or "none"
    lines = [
        f"- Command: {code(back.command) if back.command else 'none'}",
        f"- Dry run: {status}",
        f"- Target image: {code(back.target_image) if back.target_image else 'unknown'}",
        *(
            f"- Reference {plain(one.name)}: {code(one.path)}, sha256 {code(one.sha256)}"
            for one in back.references
        ),
        f"- Acknowledged losses: {losses}",
    ]
    times = wording.way_back_times(document)
    measured = [f"- {plain(check_id)}: {plain(name)} = {value}" for check_id, name, value in times]
    return [*lines, *_volatile(measured)] if measured else lines


def _left_behind(document: Document) -> list[str]:
    lines = [f"- {plain(one.target)}: {plain(one.kind)} {code(one.id)}" for one in document.left_behind]
    return _volatile(lines) if lines else []
