"""Whether a report is what it claims to be, and may be acted on (docs/validation.md 7.7).

Demands are made in a fixed order, and the first that is not met is named: each rests on those before it. A
report is somebody else's input. What it says of addresses and commands is compared, never used.
"""

import hashlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from less_sync.validation import attest
from less_sync.validation.attest import NotSigned, signed_payload
from less_sync.validation.fingerprint import changed
from less_sync.validation.index import INDEX, INDEX_BYTES_MAX, index_line
from less_sync.validation.journal import read_state
from less_sync.validation.manifest import MANIFEST_BYTES_MAX
from less_sync.validation.reading import NAMES, NotAReport, content, listed, texts_of
from less_sync.validation.renderings import rendered
from less_sync.validation.repository import GitFault, Repository, object_id
from less_sync.validation.results import (
    SCRATCH_ADDRESS,
    CheckEntry,
    Document,
    EvidenceFile,
    Fingerprint,
    NotADocument,
    counts_of,
    evidence_path,
    log_path,
    plain_of,
    read_document,
    stable_digest,
    time_of,
)

DEMANDS: Final = (
    *("format", "files", "further-files", "signature", "render", "decision", "policy", "age"),
    *("committed", "candidate", "kind", "stage", "live"),
)
"""In the order in which they are made."""
CLOCKS_S: Final = 300
"""By how much a report may be younger than now: machines' clocks differ."""
CANDIDATE_HEAD: Final = "HEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a report has to be."""

    go: bool = True
    """A GO that may be acted on. Else it has to be genuine alone: `format` to `render`."""
    trusted: Mapping[str, bytes]
    """Public keys by id."""
    builtin_policy: Callable[[str], str]
    """The digest of the built-in policy of a kind, empty where there is none."""
    now: datetime
    policy: str = ""
    """A digest that is accepted besides."""
    max_age_s: int | None = None
    """In place of the report's own `valid_for_s`, and never more than it."""
    candidate: str = ""
    """`HEAD`, a commit, a version or an image that it has to be about."""
    kind: str = ""
    stage: str = ""
    repository: Callable[[Path], Repository] | None = None
    """Finds the work tree around a folder. Without one nothing can be committed."""
    live: Mapping[str, Fingerprint] | None = None
    """Of the targets as they are now, by name, taken from the addresses of whoever verifies."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The demand that is not met, empty if all are."""

    demand: str = ""
    told: str = ""
    document: Document | None = field(default=None, repr=False)
    keyid: str = ""
    report_digest: str = ""

    @property
    def met(self) -> bool:
        """Whether all are."""
        return not self.demand


class _Unmet(Exception):
    """A demand is not met; the text says how."""


@dataclass(slots=True)
class _Verifying:
    """What has been learnt of the report so far."""

    folder: Path
    wanted: Wanted
    document: Document | None = None
    sums: bytes = b""
    keyid: str = ""

    @property
    def known(self) -> Document:
        assert self.document is not None
        return self.document

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sums).hexdigest()


def verify(folder: Path, wanted: Wanted) -> Verdict:
    """Make all demands of a report, in order, up to the first that is not met."""
    about = _Verifying(folder, wanted)
    for name, demand in _demands(wanted):
        try:
            demand(about)
        except (_Unmet, NotAReport, NotADocument, NotSigned, GitFault) as error:
            return Verdict(name, str(error), about.document, about.keyid, about.digest if about.sums else "")
    return Verdict("", "", about.document, about.keyid, about.digest)


def _demands(wanted: Wanted) -> Iterator[tuple[str, Callable[[_Verifying], None]]]:
    yield "format", _format
    yield "files", _files
    yield "further-files", _further
    yield "signature", _signature
    yield "render", _render
    if not wanted.go:
        return
    yield "decision", _decision
    yield "policy", _policy
    yield "age", _age
    yield "committed", _committed
    yield from (("candidate", _candidate), ("kind", _kind), ("stage", _stage), ("live", _live))


def _format(about: _Verifying) -> None:
    about.document = read_document(content(about.folder, "results.json"))
    state = read_state(about.folder)
    if state.state != "finished":
        raise _Unmet(f"the run did not come to its end: {state.state[:64]}")
    if state.decision != about.document.decision:
        raise _Unmet("run.json and results.json name two decisions")


def _files(about: _Verifying) -> None:
    about.sums = content(about.folder, attest.SUMS)
    expected = _expected(about.sums)
    there = listed(about.folder).sizes
    for path, digest in expected.items():
        if path not in there:
            raise _Unmet(f"{path} is missing")
        if hashlib.sha256(content(about.folder, path)).hexdigest() != digest:
            raise _Unmet(f"{path} is not as it was written")
    for name in NAMES:
        if name not in expected and name not in (attest.SUMS, "attestation.dsse.json"):
            raise _Unmet(f"{attest.SUMS} does not list {name}")


def _expected(sums: bytes) -> dict[str, str]:
    """Digests by path. The list must be exactly what would be written of them."""
    found = {}
    for line in sums.decode(errors="replace").splitlines():
        digest, _, path = line.partition("  ")
        found[path] = digest
    if attest.sums(found) != sums:
        raise _Unmet(f"{attest.SUMS} is not written as reports have it")
    return found


def _further(about: _Verifying) -> None:
    there = listed(about.folder)
    unknown = {*there.foreign, *there.sizes} - {*_expected(about.sums), attest.SUMS, "attestation.dsse.json"}
    paths = {path for one in about.known.checks for path in (log_path(one.id), evidence_path(one.id))}
    unknown |= {path for path in there.sizes if "/" in path and path not in paths}
    if unknown:
        raise _Unmet(f"{min(unknown)!r} does not belong to a report")


def _signature(about: _Verifying) -> None:
    payload, about.keyid = signed_payload(
        content(about.folder, "attestation.dsse.json"), about.wanted.trusted
    )
    manifest = hashlib.sha256(content(about.folder, "manifest.toml")).hexdigest()
    path = _sums_path(payload, about)
    same = attest.statement(about.known, sums_sha256=about.digest, sums_path=path, manifest_sha256=manifest)
    if payload != same:
        raise _Unmet("what was signed is not this report")


def _sums_path(payload: bytes, about: _Verifying) -> str:
    """Where the statement says that the list is: the only part of it that is not in the report."""
    path = attest.subject_name(payload)
    if not path.endswith(f"/{attest.SUMS}") or ".." in path.split("/"):
        raise _Unmet("what was signed is no report")
    return path


def _render(about: _Verifying) -> None:
    told = about.known
    plain = plain_of(told)
    if stable_digest(plain) != told.stable_digest:
        raise _Unmet("the stable digest is another")
    if counts_of((one.status, one.required) for one in told.checks) != told.counts:
        raise _Unmet("the counts are others")
    there = listed(about.folder).sizes
    for one in told.checks:
        _row(about.folder, one, there=evidence_path(one.id) in there)
    for name, data in rendered(told, texts_of(about.folder, told)).items():
        if content(about.folder, name) != data:
            raise _Unmet(f"{name} is not what results.json gives")


def _row(folder: Path, entry: CheckEntry, *, there: bool) -> None:
    """Whether the files of a row are where it says and what it says."""
    if entry.log_path != log_path(entry.id):
        raise _Unmet(f"{entry.id} has its log elsewhere")
    if entry.evidence is None:
        same = not there
    else:
        data = content(folder, evidence_path(entry.id)) if there else b""
        path, digest = evidence_path(entry.id), hashlib.sha256(data).hexdigest()
        same = entry.evidence == EvidenceFile(path, digest, len(data)) and there
    if not same:
        raise _Unmet(f"the evidence of {entry.id} is not what results.json says")


def _decision(about: _Verifying) -> None:
    told = about.known
    if told.mode != "gate":
        raise _Unmet(f"it is a {told.mode}, which decides nothing")
    if told.decision != "GO" or told.would_be != "GO" or told.overall != "passed":
        raise _Unmet(f"the decision is {told.decision}")
    if told.decision_reasons:
        raise _Unmet("it is a GO with reasons against it")
    required = [one for one in told.checks if one.required]
    if not required:
        raise _Unmet("no check was required")
    for one in required:
        if one.status != "passed":
            raise _Unmet(f"{one.id} is required and {one.status}")
    lanes = _manifest(about).get("lanes", [])
    for lane in lanes if isinstance(lanes, list) else []:
        if lane not in {one.lane for one in required}:
            raise _Unmet("a lane that has to have a required check has none")
    for name, seen in told.subject.fingerprints.items():
        if changed(seen.start, seen.end):
            raise _Unmet(f"target {name} changed during the run")


def _manifest(about: _Verifying) -> dict[str, object]:
    try:
        return tomllib.loads(content(about.folder, "manifest.toml", most_bytes=MANIFEST_BYTES_MAX).decode())
    except (ValueError, RecursionError):
        raise _Unmet("manifest.toml cannot be read") from None


def _policy(about: _Verifying) -> None:
    policy = about.known.policy
    here = about.wanted.builtin_policy(about.known.kind)
    if policy.digest == about.wanted.policy:
        return
    if policy.looser and not policy.accepted:
        raise _Unmet("the policy is looser than the built-in one")
    if policy.digest != here and not policy.accepted:
        raise _Unmet("the policy is not the built-in one of this release, and nobody accepted it")


def _age(about: _Verifying) -> None:
    valid_for_s = _manifest(about).get("valid_for_s")
    if not isinstance(valid_for_s, int):
        raise _Unmet("manifest.toml does not say how long a GO may be used")
    if about.wanted.max_age_s is not None:
        valid_for_s = min(valid_for_s, about.wanted.max_age_s)
    try:
        finished_at = time_of(about.known.run.finished_at)
    except ValueError:
        raise _Unmet("it does not say when it ended") from None
    age_s = (about.wanted.now - finished_at).total_seconds()
    if age_s > valid_for_s:
        raise _Unmet(f"it is {age_s:.0f} s old, and may be used for {valid_for_s} s")
    if age_s < -CLOCKS_S:
        raise _Unmet("it ended in the future")


def _committed(about: _Verifying) -> None:
    if about.wanted.repository is None:
        raise _Unmet("it is in no work tree")
    repository = about.wanted.repository(about.folder)
    known = repository.committed_files(about.folder)
    for path in listed(about.folder).sizes:
        if path not in known:
            raise _Unmet(f"{path} is not committed at HEAD")
        committed = known.pop(path)
        if object_id(content(about.folder, path), like=committed) != committed:
            raise _Unmet(f"{path} is not the same at HEAD")
    if known:
        raise _Unmet(f"at HEAD there is also {min(known)!r}")
    index = repository.committed(about.folder.resolve().parent / INDEX, most_bytes=INDEX_BYTES_MAX)
    entry = index_line(about.known, about.folder.resolve().name, about.digest, about.keyid)
    if entry.rstrip(b"\n") not in index.split(b"\n"):
        raise _Unmet(f"{INDEX} has no line of it at HEAD")


def _candidate(about: _Verifying) -> None:
    asked, one = about.wanted.candidate, about.known.subject.candidate
    if not asked:
        return
    if asked != CANDIDATE_HEAD:
        if asked not in (one.version, one.commit, one.image):
            raise _Unmet(f"it is about {one.version or 'an unknown version'}")
        return
    if about.wanted.repository is None:
        raise _Unmet("it is in no work tree")
    others = about.wanted.repository(about.folder).changed_outside_reports(one.commit)
    if others:
        raise _Unmet(f"HEAD is another candidate: it differs in {others[0]!r}")


def _kind(about: _Verifying) -> None:
    if about.wanted.kind not in ("", about.known.kind):
        raise _Unmet(f"its kind is {about.known.kind}")


def _stage(about: _Verifying) -> None:
    if about.wanted.stage not in ("", about.known.stage):
        raise _Unmet(f"its stage is {about.known.stage}")


def _live(about: _Verifying) -> None:
    live = about.wanted.live
    for name, seen in about.known.subject.fingerprints.items() if live is not None else ():
        if seen.end.base_url.startswith(SCRATCH_ADDRESS):
            continue
        now = live.get(name) if live is not None else None
        if now is None:
            raise _Unmet(f"target {name} has no address here")
        if others := changed(seen.end, now):
            raise _Unmet(f"target {name} is not as it was: {', '.join(others)}")
