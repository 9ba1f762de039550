"""Folders of reports, written as a run writes them, and work trees that they are committed in."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from less_sync.validation.attempt import Row
from less_sync.validation.attest import SigningKey, envelope, statement, sums
from less_sync.validation.canonical import canonical
from less_sync.validation.compare import render_again
from less_sync.validation.index import append_index, index_line
from less_sync.validation.redact import Redactor
from less_sync.validation.report import Finished, Report
from less_sync.validation.repository import Repository
from less_sync.validation.results import Candidate, Subject, read_document, stable_digest
from less_sync.validation.verify import Wanted
from tests.validation.reports import MOMENT, SUBJECT, results, row

KEY: Final = SigningKey(bytes(range(32)))
MANIFEST: Final = 'format = 1\nkind = "selfhost"\nlanes = ["service"]\nvalid_for_s = 3600\n'
GOOD: Final = (
    row("service-staging-health", lane="service", target="staging"),
    row("service-staging-hsts", lane="service", target="staging", row={"evidence": ""}),
    row("auth-staging-share", lane="auth", target="staging"),
)
ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin:/usr/local/bin"}


def written(
    parent: Path,
    rows: Sequence[Row] = GOOD,
    *,
    redactor: Redactor | None = None,
    manifest: str = MANIFEST,
    key: Callable[[], SigningKey] = lambda: KEY,
    finishing: Sequence[Row] | None = None,
    **changes: Any,
) -> Finished:
    """A whole report; `finishing`: the order in which rows came."""
    report = Report.create(parent, MOMENT, redactor=redactor or Redactor(), run_id="00" * 16)
    report.manifest(manifest)
    for one in finishing or rows:
        report.append(one, "digest")
    return report.finish(results(rows, **changes), key)


def wanted(**changes: Any) -> Wanted:
    """What a GO of this folder has to be, a minute after it was made."""
    environment = lambda folder: Repository.around(folder, ENVIRONMENT)  # noqa: E731
    made: dict[str, Any] = {
        "trusted": {KEY.keyid: KEY.public},
        "builtin_policy": lambda kind: "12" * 32 if kind == "selfhost" else "",
        "now": MOMENT + timedelta(seconds=180),
        "repository": environment,
    }
    return Wanted(**made | changes)


def git(tree: Path, *words: str) -> str:
    """Run git in a work tree."""
    who = ("-c", "user.name=Test", "-c", "user.email=test@example")
    done = subprocess.run(["git", *who, *words], cwd=tree, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def work_tree(tree: Path) -> str:
    """A repository with one commit; the commit."""
    tree.mkdir()
    git(tree, "init", "-q", "-b", "main")
    git(tree, "config", "user.name", "Test")
    git(tree, "config", "user.email", "test@example")
    (tree / "server.py").write_text("1\n")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "one")
    return git(tree, "rev-parse", "HEAD")


def subject_of(commit: str) -> Subject:
    """A candidate of this commit."""
    return Subject(
        Candidate("1.5.0", commit, ""), SUBJECT.incumbent, {}, SUBJECT.fingerprints, SUBJECT.backup
    )


def committed(tree: Path, **changes: Any) -> Finished:
    """A report that is committed with its line in the index."""
    commit = work_tree(tree)
    done = written(tree / "docs" / "reports" / "small", subject=subject_of(commit), **changes)
    indexed(done)
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "two")
    return done


def indexed(done: Finished) -> None:
    """Put the line of a report into the index."""
    append_index(
        done.folder.parent, index_line(done.document, done.folder.name, done.report_digest, done.keyid)
    )


def resign(folder: Path) -> None:
    """Digest and sign a folder as it is now: what somebody who has the key could make of a report."""
    outside = ("SHA256SUMS", "attestation.dsse.json")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in outside]
    digests = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    made = sums(digests)
    payload = statement(
        read_document((folder / "results.json").read_bytes()),
        sums_sha256=hashlib.sha256(made).hexdigest(),
        sums_path="docs/reports/small/x/SHA256SUMS",
        manifest_sha256=digests["manifest.toml"],
    )
    (folder / "SHA256SUMS").write_bytes(made)
    (folder / "attestation.dsse.json").write_bytes(envelope(payload, KEY))


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change `results.json`, and all that depends on it, so that it is well-formed and signed."""
    plain = json.loads((folder / "results.json").read_bytes())
    change(plain)
    plain["stable_digest"] = stable_digest(plain)
    (folder / "results.json").write_bytes(canonical(plain))
    render_again(folder)
    resign(folder)
