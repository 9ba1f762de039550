"""What a report says in words: the decision in one sentence, and what to do about a row. Pure."""

from typing import Final

from less_sync.validation.results import CheckEntry, Document

_FIRST: Final = ("failed", "error", "blocked", "skipped")
NOT_REHEARSED: Final = "The way back was not rehearsed: no --previous."

_REASONS: Final = {
    "empty-matrix": "the matrix has no required check",
    "policy-loosened": "the policy is looser than the built-in one, and nobody accepted it",
    "subject-changed": "a target changed while it was looked at",
    "interrupted": "the run was interrupted",
    "secret-in-report": "a secret was found in this report, which cannot be trusted as evidence",
}
_NEXT: Final = {
    "not-selected": "Run the matrix without --lane and --check.",
    "switched-off": "Unset the RUN_ variable that is 0, and run again.",
    "not-applicable": "Nothing to do as long as the declaration is right.",
    "input": "Give the input that is named here, and run again.",
    "identity": "Give a token or key of the identity that is named here.",
    "needs": "Look at the check that is named here first.",
    "no-data": "There was nothing to look at: see that there is, and run again.",
    "rate-limited": "Wait until the server's limit is over, and run again.",
    "no-planted-space": "Run less-sync validate plant, and declare production_space_exists.",
    "scratch": "The server could not be started: its log says why. Look at the backup first.",
    "disk": "Make room for two copies of the backup.",
    "timeout": "Look at the log for where it waited; the limit is timeout_s of the manifest.",
    "interrupted": "Run again and let it come to its end.",
    "not-measured": "This is a fault of less-sync: please report it with this folder.",
    "no-criterion": "This is a fault of less-sync: please report it with this folder.",
    "internal": "This is a fault of less-sync: please report it with this folder.",
    "write-refused": "The check wanted to write where it may only read; nothing was sent.",
    "command-not-found": "Install the command, or name it with its path.",
    "unreachable": "See that the address is right and the server runs.",
    "deadline": "The server answers too slowly: look at its load and at the proxy before it.",
    "status": "Look at the server's own log at the time of this check.",
    "generator-saturated": "Run on a machine that is less busy.",
    "no-backup": "Make a backup by less-sync backup, and give its folder by --backup.",
    "incomplete": "Let less-sync backup come to its end, or make another backup.",
    "damaged": "Make another backup, and see where this one was damaged.",
    "unreadable": "Run as a user who may read the backup.",
    "restore-failed": "Its log has what less-sync restore said of the backup.",
    "postgres": "Its log has why the private Postgres did not start; or give SCRATCH_DATABASE_URL.",
    "scratch-database": "Give a role with CREATEDB in SCRATCH_DATABASE_URL, or do without it.",
    "database-gone": "The database server went away in the middle: see its log, and the room it has.",
    "not-started": "Its log has what the server said last: see its command and its version.",
    "not-healthy": "Its log has what the server said last: see its command and its version.",
    "own-clock": "Set the clock of this machine.",
}
_NEXT_BY_STATUS: Final = {
    "failed": "Read its log and evidence, mend the target, and run again.",
    "skipped": "Run it.",
    "blocked": "Supply what it needs, and run again.",
    "error": "Read its log, and run again.",
}


def sentence(document: Document) -> str:
    """Why the decision is what it is."""
    told = _why_not(document) if document.decision_reasons else _why(document)
    if document.decision == "BASELINE":
        return f"Recorded, and nothing decided. As a gate: {told[0].lower()}{told[1:]}"
    return told


def _why(document: Document) -> str:
    required = sum(entry.required for entry in document.checks)
    parts = [f"All {required} required checks passed." if required != 1 else "The required check passed."]
    warnings = [entry for entry in findings(document) if not entry.reason.startswith("not-applicable")]
    if warnings:
        parts.append(f"{_many(len(warnings), 'optional check')} did not.")
    if any(entry.reason == "not-applicable:previous" for entry in document.checks):
        parts.append(NOT_REHEARSED)
    return " ".join(parts)


def _why_not(document: Document) -> str:
    codes = [reason.code for reason in document.decision_reasons if not reason.check_id]
    parts = list(dict.fromkeys(_code(code) for code in codes))
    bad = [entry for entry in unmet(document) if entry.reason != "not-selected"]
    left_out = [entry for entry in unmet(document) if entry.reason == "not-selected"]
    required = sum(entry.required for entry in document.checks)
    if left_out:
        chosen = [entry for entry in document.checks if entry.reason != "not-selected"]
        passed = sum(entry.status == "passed" for entry in chosen)
        parts.append(f"{passed} of {len(chosen)} selected checks passed")
        were = "was" if len(left_out) == 1 else "were"
        parts.append(f"{_many(len(left_out), 'required check')} {were} not selected")
    elif bad:
        parts.append(f"{len(bad)} of {_many(required, 'required check')} did not pass")
    text = "; ".join(parts) or "no reason was recorded"
    return f"{text[0].upper()}{text[1:]}."


def _code(code: str) -> str:
    kind, _, rest = code.partition(":")
    if kind == "lane-missing":
        return f"the lane {rest} has no required check"
    return _REASONS.get(code, f"the evidence cannot be trusted ({code})")


def reason_words(code: str) -> str:
    """A reason of a decision as a sentence."""
    text = _code(code)
    return f"{text[0].upper()}{text[1:]}."


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def unmet(document: Document) -> list[CheckEntry]:
    """Required rows that did not pass: first what failed, last what was only waiting for something else."""
    rows = [entry for entry in document.checks if entry.required and entry.status != "passed"]
    return sorted(rows, key=lambda entry: _FIRST.index(entry.status))


def findings(document: Document) -> list[CheckEntry]:
    """Optional rows that did not pass."""
    return [entry for entry in document.checks if not entry.required and entry.status != "passed"]


def retried(document: Document) -> list[CheckEntry]:
    """Rows that passed, but not at once."""
    return [entry for entry in document.checks if entry.status == "passed" and entry.attempts > 1]


def next_step(entry: CheckEntry) -> str:
    """What to do about a row that did not pass."""
    kind, _, rest = entry.reason.partition(":")
    if kind == "scratch" and rest:
        kind = rest.partition(":")[0]
    return _NEXT.get(kind) or _NEXT_BY_STATUS.get(entry.status, "")


def candidate_parts(document: Document) -> list[tuple[str, str]]:
    """What is known of the candidate, named."""
    one = document.subject.candidate
    return [(name, value) for name in ("version", "commit", "image") if (value := getattr(one, name))]


def incumbent_parts(document: Document) -> list[tuple[str, str]]:
    """What is known of the incumbent, named."""
    one = document.subject.incumbent
    return [(name, value) for name in ("kind", "version", "image") if (value := getattr(one, name))]


def way_back_times(document: Document) -> list[tuple[str, str, int]]:
    """(check, name, value) of what restoring and rolling back took."""
    return [
        (entry.id, name, value)
        for entry in document.checks
        for name, value in sorted(entry.measured.items())
        if name.startswith(("restore_", "rollback_", "migrate_", "switch_"))
        and name.endswith(("_ms", "_us", "_s"))
    ]


def input_text(name: str, value: str | None) -> str:
    """`NAME=value`; of one that is not set, `NAME=<unset>`."""
    return f"{name}={'<unset>' if value is None else value}"
