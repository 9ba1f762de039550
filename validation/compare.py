"""Two reports side by side, and one rendered anew (docs/validation.md 7.7)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from less_sync.validation.keeping import kept_or_fault, write_file
from less_sync.validation.reading import NotAReport, content, texts_of
from less_sync.validation.renderings import rendered
from less_sync.validation.results import CheckEntry, Document, read_document
from less_sync.validation.texts import one_line


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same in two reports."""

    lines: tuple[str, ...]
    """In words, rows in the order of the second report."""
    same_outcome: bool
    """The same decision, and of each row the same status and reason."""


def document_of(folder: Path) -> Document:
    """The document of a report.

    Raises:
        NotAReport: it has none that can be read.
        NotADocument: it is not of this format.
    """
    return read_document(content(folder, "results.json"))


def render_again(folder: Path) -> list[str]:
    """Write all that is rendered anew; the names of what is not as it was.

    Raises:
        NotAReport, NotADocument: as `document_of`.
        EvidenceFault: it cannot be written.
    """
    document = document_of(folder)
    others = []
    for name, data in rendered(document, texts_of(folder, document)).items():
        try:
            same = content(folder, name) == data
        except NotAReport:
            same = False
        if not same:
            others.append(name)
            with kept_or_fault(name):
                write_file(folder / name, data)
    return others


def difference(one: Document, other: Document) -> Difference:
    """What changed from one report to another."""
    outcome = [*_decisions(one, other), *_outcomes(one, other)]
    more = [*_subjects(one, other), *_policies(one, other), *_measured(one, other)]
    return Difference(tuple(map(one_line, (*outcome, *more))), not outcome)


def _decisions(one: Document, other: Document) -> Iterator[str]:
    for name in ("kind", "stage", "mode", "decision", "would_be"):
        before, now = getattr(one, name), getattr(other, name)
        if before != now:
            yield f"{name}: {before} -> {now}"


def _by_id(document: Document) -> Mapping[str, CheckEntry]:
    return {entry.id: entry for entry in document.checks}


def _outcomes(one: Document, other: Document) -> Iterator[str]:
    before, now = _by_id(one), _by_id(other)
    for check_id in before:
        if check_id not in now:
            yield f"{check_id}: no longer there"
    for check_id, entry in now.items():
        former = before.get(check_id)
        if former is None:
            yield f"{check_id}: new, {entry.status}"
        elif (told := _outcome(former)) != _outcome(entry):
            yield f"{check_id}: {told} -> {_outcome(entry)}"


def _outcome(entry: CheckEntry) -> str:
    kind = "required" if entry.required else "optional"
    return f"{kind} {entry.status}" if entry.reason == "-" else f"{kind} {entry.status} ({entry.reason})"


def _subjects(one: Document, other: Document) -> Iterator[str]:
    before, now = (dict(_flat(document.subject)) for document in (one, other))
    for path in sorted({*before, *now}):
        if before.get(path) != now.get(path):
            yield f"subject {path}: {before.get(path, 'none')} -> {now.get(path, 'none')}"


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _flat(member, f"{path}/{name}" if path else name)
    elif value not in ("", None, [], ()):
        yield path, str(value)


def _policies(one: Document, other: Document) -> Iterator[str]:
    if one.policy.digest != other.policy.digest:
        yield f"policy: {one.policy.digest} -> {other.policy.digest}"
    before, now = _by_id(one), _by_id(other)
    for check_id, entry in now.items():
        former = before.get(check_id)
        for name, value in entry.criteria.items() if former is not None else ():
            if former is not None and former.criteria.get(name) != value:
                yield f"{check_id}: {name} {former.criteria.get(name)} -> {value}"


def _measured(one: Document, other: Document) -> Iterator[str]:
    before = _by_id(one)
    for check_id, entry in _by_id(other).items():
        former = before.get(check_id)
        for name, value in sorted(entry.measured.items()) if former is not None else ():
            if former is not None and former.measured.get(name) != value:
                yield f"{check_id}: {name} {former.measured.get(name, 'none')} -> {value}"
