"""`report.html`: the whole report as one page that loads nothing and runs nothing. Pure.

The decision comes first, then what did not pass, then everything by which it can be followed up. A status
is a word and a sign, not a colour alone. Whatever came from a target is escaped, characters that are not
seen are written out, and evidence is shown as far as the page's 8 MiB go (docs/validation.md 7.2).
"""

import html
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from less_sync.validation import wording
from less_sync.validation.render_markdown import TOGETHER
from less_sync.validation.render_tsv import required_word
from less_sync.validation.results import CheckEntry, Document, InputFact, evidence_path
from less_sync.validation.texts import VOLATILE, Texts, one_line, visible

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
EVIDENCE_BYTES_MAX: Final = 64 * 1024
"""Of one check, before it is escaped."""
LOG_BYTES_MAX: Final = 16 * 1024
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_SIGNS: Final = {
    "passed": ("good", "\u2713"),
    "failed": ("bad", "\u2717"),
    "error": ("bad", "!"),
    "blocked": ("warn", "\u25a0"),
    "skipped": ("none", "\u2013"),
}
_TONES: Final = {"GO": "good", "NO-GO": "bad", "BASELINE": "warn"}


@cache
def _style() -> str:
    return (Path(__file__).parent / "report.css").read_text()


def page(document: Document, texts: Texts) -> bytes:
    """The whole file."""
    title = _text(f"{document.decision}: {document.title}")
    head = (
        f'<head>\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_style()}</style>\n</head>\n"
    )
    parts = [
        "<!DOCTYPE html>\n",
        f'<html lang="en">\n{head}<body>\n',
        *(*_header(document), "<main>\n"),
        *(*_unmet(document, texts), *_more(document, texts), *_lanes(document, texts)),
        *_facts(document),
    ]
    end = ["</main>\n", *_footer(document), "</body>\n</html>\n"]
    left = PAGE_BYTES_MAX - sum(len(part.encode()) for part in (*parts, *end))
    return "".join([*parts, *_evidence(document, texts, left), *end]).encode()


def _text(text: str) -> str:
    return html.escape(one_line(text))


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>" if text else '<span class="quiet">unknown</span>'


def _volatile(text: str) -> str:
    return f"{VOLATILE[0]}{text}{VOLATILE[1]}"


def _mark(status: str) -> str:
    tone, sign = _SIGNS[status]
    return f'<span class="mark {tone}"><span aria-hidden="true">{sign}</span>{status}</span>'


def _header(document: Document) -> Iterable[str]:
    word: str = document.decision
    if document.decision == "BASELINE":
        word = f"{word} <small>(would be: {document.would_be})</small>"
    yield f"<header>\n<h1><bdi>{_text(document.title)}</bdi></h1>\n"
    yield (
        f'<div class="card verdict {_TONES[document.decision]}"><p><strong class="word">{word}</strong></p>'
        f'<p class="told">{_text(wording.sentence(document))}</p></div>\n'
    )
    counts = document.counts
    yield '<dl class="card counts">\n'
    yield _count("Checks", counts.total, "")
    yield _count("Passed", counts.passed, "")
    for name in ("failed", "error", "blocked", "skipped"):
        split = getattr(counts, name)
        note = f"{split.required} required" if split.required else "optional"
        count = split.required + split.optional
        yield _count(name.capitalize(), count, note if count else "")
    yield "</dl>\n</header>\n"


def _count(name: str, value: int, note: str) -> str:
    small = f" <small>{note}</small>" if note else ""
    return f"<div><dt>{name}</dt><dd{'' if value else ' class=zero'}>{value}{small}</dd></div>\n"


def _unmet(document: Document, texts: Texts) -> Iterable[str]:
    unmet = wording.unmet(document)
    general = [reason.code for reason in document.decision_reasons if not reason.check_id]
    if not unmet and not general:
        return
    yield '<section aria-labelledby="why">\n<h2 id="why">Why</h2>\n<ul class="why">\n'
    for one in general:
        yield f'<li class="card bad"><h3>{_text(wording.reason_words(one))}</h3><p>{_code(one)}</p></li>\n'
    yield from (_card(entry, texts) for entry in unmet if entry.reason not in TOGETHER)
    for reason in TOGETHER:
        ids = [entry.id for entry in unmet if entry.reason == reason]
        if ids:
            listed = "".join(f"<code>{_text(one)}</code>" for one in ids)
            heading = "Not selected" if reason == TOGETHER[0] else "Switched off"
            yield f'<li class="card none"><h3>{heading}: {len(ids)} required</h3>'
            yield f'<p class="ids">{listed}</p></li>\n'
    yield "</ul>\n</section>\n"


def _card(entry: CheckEntry, texts: Texts) -> str:
    tone = _SIGNS[entry.status][0]
    last = texts.last_line(entry.id)
    said = _volatile(f'<p class="said">Said last: <code>{_text(last)}</code></p>') if last else ""
    return (
        f'<li class="card {tone}"><h3>{_linked(entry)}</h3><p>{_mark(entry.status)} {_code(entry.reason)}</p>'
        f"<p><bdi>{_text(entry.description)}</bdi></p><p>{_text(wording.next_step(entry))}</p>{said}</li>\n"
    )


def _linked(entry: CheckEntry) -> str:
    return f'<a href="#check-{_text(entry.id)}">{_text(entry.id)}</a>'


def _more(document: Document, texts: Texts) -> Iterable[str]:
    retried = wording.retried(document)
    if retried:
        rows = "".join(f"<li>{_linked(one)}: at attempt {one.attempts}</li>\n" for one in retried)
        yield _volatile(
            f'<section aria-labelledby="retried">\n<h2 id="retried">Passed after retry</h2>\n'
            f'<ul class="card pairs">\n{rows}</ul>\n</section>\n'
        )
    findings = wording.findings(document)
    if findings:
        yield '<section aria-labelledby="findings">\n<h2 id="findings">Optional findings</h2>\n'
        yield f'<ul class="why">\n{"".join(_card(one, texts) for one in findings)}</ul>\n</section>\n'


def _lanes(document: Document, texts: Texts) -> Iterable[str]:
    lanes: dict[str, list[CheckEntry]] = {}
    for entry in document.checks:
        lanes.setdefault(entry.lane, []).append(entry)
    yield '<section aria-labelledby="checks">\n<h2 id="checks">Checks</h2>\n'
    for lane, entries in lanes.items():
        passed = sum(entry.status == "passed" for entry in entries)
        yield f'<div class="card lane"><table>\n<caption>{_text(lane)} '
        yield f'<span class="quiet">{passed} of {len(entries)} passed</span></caption>\n'
        yield '<thead><tr><th scope="col">Check</th><th scope="col" class="state">Status</th>'
        yield '<th scope="col" class="took">Took</th></tr></thead>\n<tbody>\n'
        yield from (_row(entry) for entry in entries)
        yield "</tbody>\n</table></div>\n"
    yield "</section>\n"


def _row(entry: CheckEntry) -> str:
    reason = "" if entry.reason == "-" else f'<span class="reason">{_code(entry.reason)}</span>'
    optional = "" if entry.required else f' <span class="reason quiet">{required_word(required=False)}</span>'
    name = f'<span class="id">{_linked(entry)}</span>'
    return (
        f'<tr><th scope="row">{name}<span class="quiet"><bdi>{_text(entry.description)}</bdi></span></th>'
        f"<td>{_mark(entry.status)}{optional}{reason}</td>"
        f'<td class="took">{_volatile(_took(entry.duration_us))}</td></tr>\n'
    )


def _took(duration_us: int) -> str:
    if duration_us >= 1_000_000:
        return f"{duration_us // 1_000_000}.{duration_us // 100_000 % 10} s"
    return f"{duration_us // 1000} ms" if duration_us else ""


def _facts(document: Document) -> Iterable[str]:
    subject, policy, back = document.subject, document.policy, document.rollback
    unknown = '<span class="quiet">unknown</span>'
    same = " (the built-in one)" if policy.digest == policy.builtin_digest else ""
    yield from _pairs(
        "subject",
        "What was judged",
        [
            ("Kind", _text(f"{document.kind}, {document.stage} the switch, as a {document.mode}")),
            ("Candidate", _parts(wording.candidate_parts(document)) or unknown),
            ("Incumbent", _parts(wording.incumbent_parts(document)) or unknown),
            *(
                [
                    (
                        "Backup",
                        f"<code>{_text(subject.backup.manifest_sha256)}</code>, made "
                        f"{_text(subject.backup.created_at)}",
                    )
                ]
                if subject.backup is not None
                else []
            ),
            *((f"Target {name}", _code(seen.start.base_url)) for name, seen in subject.fingerprints.items()),
        ],
    )
    yield _list("inputs", "Inputs", document.inputs)
    yield _list("overrides", "Overrides", document.overrides)
    losses = ", ".join(map(_text, back.acknowledged_losses)) or "none"
    times = [
        (f"{check_id}: {name}", _volatile(str(value)))
        for check_id, name, value in wording.way_back_times(document)
    ]
    yield from _pairs(
        "rollback",
        "Rollback",
        [
            ("Command", _code(back.command)),
            ("Target image", _code(back.target_image)),
            *((f"Reference {one.name}", f"{_code(one.path)} {_code(one.sha256)}") for one in back.references),
            ("Acknowledged losses", losses),
            *times,
        ],
    )
    if document.left_behind:
        rows = [(f"{one.target}: {one.kind}", _volatile(_code(one.id))) for one in document.left_behind]
        yield from _pairs("left", "Left behind", rows)
    digests = [
        ("Policy", f"{_code(policy.digest)}{same}"),
        ("Results, the stable part", _code(document.stable_digest)),
    ]
    yield from _pairs("digests", "Digests", digests)


def _parts(parts: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {_code(value)}" for name, value in parts)


def _pairs(anchor: str, title: str, pairs: Iterable[tuple[str, str]]) -> Iterable[str]:
    """A list of terms; the second of each pair is HTML already."""
    yield f'<section aria-labelledby="s-{anchor}">\n<h2 id="s-{anchor}">{title}</h2>\n'
    yield '<dl class="card facts">\n'
    yield from (f"<dt>{_text(name)}</dt><dd>{told}</dd>\n" for name, told in pairs)
    yield "</dl>\n</section>\n"


def _list(anchor: str, title: str, inputs: Sequence[InputFact]) -> str:
    rows = "".join(
        f"<li><code>{_text(wording.input_text(one.name, one.value))}</code> "
        f'<span class="quiet">{one.source}</span></li>\n'
        for one in inputs
    )
    return (
        f'<section aria-labelledby="s-{anchor}">\n<h2 id="s-{anchor}">{title}</h2>\n'
        f'<ul class="card pairs">\n{rows or "<li class=quiet>none</li>"}</ul>\n</section>\n'
    )


def _evidence(document: Document, texts: Texts, left_bytes: int) -> Iterable[str]:
    """Each check's log and exchanges; what did not pass is shown first as long as there is room."""
    yield '<section aria-labelledby="evidence">\n<h2 id="evidence">Evidence</h2>\n'
    yield '<p class="paper">The exchanges of each check are in the folder of this report.</p>\n'
    left_bytes -= 1024
    shown: dict[str, str] = {}
    for entry in sorted(document.checks, key=lambda one: one.status == "passed"):
        block = _block(entry, texts)
        if len(block.encode()) > left_bytes:
            block = _block(entry, Texts())
        left_bytes -= len(block.encode())
        shown[entry.id] = block if left_bytes >= 0 else ""
    yield '<div class="card screen">\n'
    yield from (shown[entry.id] for entry in document.checks)
    yield "</div>\n</section>\n"


def _block(entry: CheckEntry, texts: Texts) -> str:
    log = _pre("Log", texts.logs.get(entry.id, ""), LOG_BYTES_MAX, entry.log_path)
    exchanges = _pre(
        "Exchanges", texts.evidence.get(entry.id, ""), EVIDENCE_BYTES_MAX, evidence_path(entry.id)
    )
    measured = ", ".join(f"{name} {value}" for name, value in sorted(entry.measured.items()))
    numbers = f"<h4>Measured</h4>\n<p>{_text(measured)}</p>\n" if measured else ""
    criteria = ", ".join(f"{name} {value}" for name, value in sorted(entry.criteria.items()))
    limits = f"<h4>Criteria</h4>\n<p>{_text(criteria)}</p>\n" if criteria else ""
    return (
        f"<details><summary><h3>{_text(entry.id)}</h3> {_mark(entry.status)}</summary>\n"
        f'<div id="check-{_text(entry.id)}">\n'  # inside: browsers open what they are sent into
        f"<h4>Repeat</h4>\n<p>{_code(entry.command)}</p>\n{limits}"
        f"{_volatile(f'{numbers}{log}{exchanges}')}</div></details>\n"
    )


def _pre(title: str, text: str, most_bytes: int, path: str) -> str:
    if not text:
        return ""
    content = text.encode()
    shown = content[:most_bytes].decode(errors="ignore")
    cut = len(content) - len(shown.encode())
    note = f" (the first {most_bytes // 1024} KiB; all of it in <code>{_text(path)}</code>)" if cut else ""
    safe = html.escape(visible(shown))
    return f'<h4>{title}{note}</h4>\n<pre tabindex="0" aria-label="{title}">{safe}</pre>\n'


def _footer(document: Document) -> Iterable[str]:
    run = document.run
    told = f"Run {run.id}, from {run.started_at} to {run.finished_at}, less-sync {run.tool_version}"
    yield f'<footer>\n<h2 class="quiet">About this report</h2>\n<p>{_volatile(_text(told))}</p>\n'
    yield "<p>Whether it is genuine: <code>less-sync validate verify</code> and the path of its folder.</p>\n"
    yield "</footer>\n"
