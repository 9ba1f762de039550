"""What a report is made of: the facts of a run, and the document that all its renderings come from. Pure.

`Results` is what the runner knows. `document` makes plain JSON of it, `read_document` takes such JSON, which
may be somebody else's, and gives it back typed: exactly the keys of docs/validation.md 7.2 and no other.
"""

import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from less_sync.validation.attempt import Row
from less_sync.validation.canonical import canonical
from less_sync.validation.decision import Reason, Word
from less_sync.validation.inputs import Source
from less_sync.validation.matrix import Check, Mode, Stage
from less_sync.validation.outcome import Status
from less_sync.validation.policy import Change
from less_sync.validation.procedure import Value

FORMAT: Final = 1
DOCUMENT_BYTES_MAX: Final = 4 * 1024 * 1024
ROWS_MAX: Final = 2000
SECRET_VALUE: Final = "[secret]"
"""What stands for the value of a secret input."""
SCRATCH_ADDRESS: Final = "scratch:"
"""Begins the address of a server that the run starts itself, whatever its port."""

_TIMES: Final = "%Y-%m-%dT%H:%M:%SZ"
_ID: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
"""A check's: it names files, too."""
_ID_CHARS_MAX: Final = 64
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HALF: Final = re.compile("[\ud800-\udfff]")
"""Half of a character beyond 16 bits; alone it has no UTF-8."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which policy was applied, and how it differs from the built-in one."""

    digest: str
    builtin_digest: str
    accepted: bool
    """By its digest, on the command line."""
    looser: tuple[Change, ...] = ()
    tighter: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """The server that shall take over."""

    version: str = ""
    commit: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The one now in service."""

    kind: str = ""
    version: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """Of one database: the migrations recorded in it, and a digest of what is there."""

    versions: tuple[int, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells one target from another, as far as it could be seen; empty where it could not."""

    kind: str = ""
    """By probe: `less-sync`, `rust`, `go`."""
    build: str = ""
    schema: Schema = Schema()
    base_url: str = ""
    final_url: str = ""
    """After redirects."""
    addresses: tuple[str, ...] = ()
    tls_key_sha256: str = ""
    tls_chain_sha256: tuple[str, ...] = ()
    jwks_sha256: str = ""
    system_identifier: str = ""
    database: str = ""
    process_start: str = ""


STABLE_OF_SCRATCH: Final = ("kind", "build", "schema")
"""What of a scratch server's fingerprint is the same in another run."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A target at the start and at the end of a run."""

    start: Fingerprint
    end: Fingerprint


@dataclass(frozen=True, slots=True)
class Backup:
    """The backup that was judged by."""

    manifest_sha256: str
    created_at: str
    age_s: int


@dataclass(frozen=True, slots=True)
class Subject:
    """What a decision is about: if one of these changes, it is void."""

    candidate: Candidate = Candidate()
    incumbent: Incumbent = Incumbent()
    schema: Mapping[str, Schema] = field(default_factory=dict)
    """By database."""
    fingerprints: Mapping[str, Seen] = field(default_factory=dict)
    """By target."""
    backup: Backup | None = None


@dataclass(frozen=True, slots=True)
class InputFact:
    """An input or an override: where it came from, and its value, None where it is not set."""

    name: str
    source: Source
    value: str | None


@dataclass(frozen=True, slots=True)
class Reference:
    """A file that the manifest refers to."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Something that could not be removed, and all that it takes to try again."""

    target: str
    kind: str
    id: str
    person: str = "owner"
    """Who can remove it, by the name that runs give them."""
    space: str = ""
    """Of a grant."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """The way back."""

    command: str = ""
    target_image: str = ""
    dry_run_status: int | None = None
    references: tuple[Reference, ...] = ()
    acknowledged_losses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What differs between two runs of the same."""

    id: str
    """32 hex digits."""
    jobs: int
    started_at: str
    finished_at: str
    tool_version: str
    python: str
    platform: str
    host_clock_offset_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the facts and the document have in common."""

    name: str
    title: str
    kind: str
    stage: Stage
    mode: Mode
    decision: Word
    would_be: Literal["GO", "NO-GO"]
    overall: Literal["passed", "failed"]
    decision_reasons: tuple[Reason, ...]
    policy: Policy
    subject: Subject
    inputs: tuple[InputFact, ...] = ()
    overrides: tuple[InputFact, ...] = ()
    references: tuple[Reference, ...] = ()
    left_behind: tuple[LeftBehind, ...] = ()
    rollback: Rollback = Rollback()
    run: RunFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Head):
    """What a run came to, as its runner knows it."""

    checks: tuple[Row, ...]
    """In the manifest's order, those that did not run too."""


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """What a check exchanged, as it was written."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckEntry:
    """One row of the document."""

    id: str
    lane: str
    target: str
    uses: str
    required: bool
    status: Status
    reason: str
    description: str
    command: str
    log_path: str
    criteria: Mapping[str, Value]
    """The parameters in force."""
    measured: Mapping[str, int]
    attempts: int
    resumed_from: str = ""
    started_at: str | None
    duration_us: int
    evidence: EvidenceFile | None


@dataclass(frozen=True, slots=True)
class Split:
    """How many rows, by whether they are required."""

    required: int
    optional: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows have which status."""

    total: int
    passed: int
    failed: Split
    skipped: Split
    blocked: Split
    error: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Head):
    """`results.json`."""

    format: int
    checks: tuple[CheckEntry, ...]
    counts: Counts
    stable_digest: str
    volatile: tuple[str, ...]


class NotADocument(Exception):
    """The bytes are no results document of this format; worded without their content."""


VOLATILE_MEMBERS: Final = (
    "/run",
    *(
        f"/checks/*/{name}"
        for name in ("started_at", "duration_us", "attempts", "measured", "evidence", "resumed_from")
    ),
    "/subject/fingerprints/*/*/addresses",
    "/subject/fingerprints/*/*/process_start",
    "/subject/backup/age_s",
    "/left_behind/*/id",
    "/left_behind/*/space",
)
"""What may differ between two equal runs: paths in the document, `*` for any (docs/validation.md 7.6)."""
VOLATILE_FILES: Final = (
    *("logs/", "evidence/", "run.json", "journal.ndjson", "SHA256SUMS", "attestation.dsse.json"),
    "SUMMARY.md between <!-- volatile --> and <!-- /volatile -->",
    "report.html between <!-- volatile --> and <!-- /volatile -->",
    "junit.xml time and system-out",
)


def document(
    results: Results,
    evidence: Mapping[str, EvidenceFile] | None = None,
    *,
    mask: Callable[[str], str] = lambda text: text,
) -> dict[str, Any]:
    """Plain JSON of what a run came to.

    Args:
        evidence: by check, as it was written.
        mask: applied to every text, before any digest is made.
    """
    kept = evidence or {}
    head = {name: getattr(results, name) for name in Head.__dataclass_fields__ if name != "decision_reasons"}
    plain: dict[str, Any] = msgspec.to_builtins(head)
    plain["format"] = FORMAT
    plain["decision_reasons"] = [_reason(one) for one in results.decision_reasons]
    plain["inputs"] = sorted(plain["inputs"], key=lambda one: one["name"])
    plain["checks"] = [check_entry(row, kept.get(row.check.id)) for row in results.checks]
    counts = counts_of((row.outcome.status, row.check.required) for row in results.checks)
    plain["counts"] = msgspec.to_builtins(counts)
    plain = masked(plain, mask)
    plain["volatile"] = [*VOLATILE_MEMBERS, *_volatile_of_scratch(plain), *VOLATILE_FILES]
    plain["stable_digest"] = stable_digest(plain)
    return plain


def check_entry(row: Row, evidence: EvidenceFile | None) -> dict[str, Any]:
    """A row of the document, also of the journal."""
    check = row.check
    entry = {
        "id": check.id,
        "lane": check.lane,
        "target": check.target,
        "uses": check.procedure.name,
        "required": check.required,
        "status": row.outcome.status.value,
        "reason": row.outcome.reason,
        "description": check.description,
        "command": command_of(check),
        "log_path": log_path(check.id),
        "criteria": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in check.parameters.items()
        },
        "measured": row.measured.shown,
        "attempts": row.attempts,
        "started_at": None if row.started_at is None else row.started_at.strftime(_TIMES),
        "duration_us": row.duration_us,
        "evidence": None if evidence is None else msgspec.to_builtins(evidence),
    }
    return entry | ({"resumed_from": row.resumed_from} if row.resumed_from else {})


def time_text(moment: datetime) -> str:
    """A moment in UTC, as reports write it."""
    return moment.strftime(_TIMES)


def time_of(text: str) -> datetime:
    """A moment as reports write it. Raises ValueError."""
    return datetime.strptime(text, _TIMES).replace(tzinfo=UTC)


def log_path(check_id: str) -> str:
    """Where the log of a check is, in the folder."""
    return f"logs/{check_id}.log"


def evidence_path(check_id: str) -> str:
    """Where its exchanges are."""
    return f"evidence/{check_id}.txt"


def command_of(check: Check) -> str:
    """How to repeat one check; of a custom one also what it runs, its secrets by their names."""
    command = f"less-sync validate --manifest manifest.toml --check {check.id}"
    argv = check.parameters.get("argv")
    return f"{command} # {' '.join(map(_word, argv))}" if isinstance(argv, tuple) else command


def _word(word: str) -> str:
    parts = _REFERENCE.split(word)
    literals, names = parts[::2], parts[1::2]
    if not names:
        return shlex.quote(word)
    told = [shlex.quote(literals[0]) if literals[0] else ""]
    for name, literal in zip(names, literals[1:], strict=True):
        told += [f'"${name}"', shlex.quote(literal) if literal else ""]
    return "".join(told)


def _reason(reason: Reason) -> dict[str, str]:
    return {"code": reason.code} | ({"check_id": reason.check_id} if reason.check_id else {})


def counts_of(rows: Iterable[tuple[Status, bool]]) -> Counts:
    """How many there are, of (status, whether it is required)."""
    found = Counter(rows)

    def split(status: Status) -> Split:
        return Split(found[status, True], found[status, False])

    return Counts(
        total=found.total(),
        passed=found[Status.PASSED, True] + found[Status.PASSED, False],
        failed=split(Status.FAILED),
        skipped=split(Status.SKIPPED),
        blocked=split(Status.BLOCKED),
        error=split(Status.ERROR),
    )


def masked(value: Any, mask: Callable[[str], str]) -> Any:
    """The same with every text masked, and halves of characters replaced: they have no UTF-8."""
    match value:
        case str():
            return mask(_HALF.sub("\ufffd", value))
        case Mapping():
            return {key: masked(one, mask) for key, one in value.items()}
        case list() | tuple():
            return [masked(one, mask) for one in value]
        case _:
            return value


def _volatile_of_scratch(plain: Mapping[str, Any]) -> list[str]:
    names = [name for name in Fingerprint.__dataclass_fields__ if name not in STABLE_OF_SCRATCH]
    return [
        f"/subject/fingerprints/{target}/*/{name}"
        for target, seen in sorted(plain["subject"]["fingerprints"].items())
        if seen["start"]["base_url"].startswith(SCRATCH_ADDRESS)
        for name in names
    ]


def stable_digest(plain: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the document without what it declares volatile, and without this digest."""
    stable: Any = {name: one for name, one in plain.items() if name != "stable_digest"}
    for path in plain["volatile"]:
        if path.startswith("/"):
            stable = _without(stable, path[1:].split("/"))
    return hashlib.sha256(canonical(stable)).hexdigest()


def _without(value: Any, path: list[str]) -> Any:
    name, rest = path[0], path[1:]
    if isinstance(value, list):
        return [_without(one, rest) for one in value] if name == "*" and rest else value
    if not isinstance(value, Mapping):
        return value
    if not rest:
        return {} if name == "*" else {key: one for key, one in value.items() if key != name}
    return {key: _without(one, rest) if name in ("*", key) else one for key, one in value.items()}


def read_document(content: bytes) -> Document:
    """Read `results.json`, which may be somebody else's.

    It is refused unless it is, byte for byte, what would be written of what was understood: so it holds no
    other key, no key twice, no fraction and no second spelling.

    Raises:
        NotADocument: it is not one of this format.
    """
    if len(content) > DOCUMENT_BYTES_MAX:
        raise NotADocument(f"results.json has more than {DOCUMENT_BYTES_MAX} bytes")
    try:
        read = msgspec.json.decode(content, type=Document)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise NotADocument(f"results.json is not of this format: {type(error).__name__}") from None
    if read.format != FORMAT:
        raise NotADocument("results.json has a format that this release does not know")
    ids = [entry.id for entry in read.checks]
    if len(ids) > ROWS_MAX or len(set(ids)) < len(ids):
        raise NotADocument("results.json has too many rows, or one twice")
    if not all(_ID.fullmatch(one) and len(one) <= _ID_CHARS_MAX for one in ids):
        raise NotADocument("results.json names a check that none can be called")
    try:
        same = canonical(plain_of(read)) == content
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise NotADocument("results.json is not written as this release writes it")
    return read


def plain_of(read: Document) -> dict[str, Any]:
    """The plain JSON of a document that was read."""
    plain: dict[str, Any] = msgspec.to_builtins(read)
    plain["decision_reasons"] = [_reason(one) for one in read.decision_reasons]
    for entry in plain["checks"]:
        if not entry["resumed_from"]:
            del entry["resumed_from"]
    return masked(plain, lambda text: text)  # type: ignore[no-any-return]  # a mapping stays one
