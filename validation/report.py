"""Writes the folder of a report: the only place where anything of a run is written (docs/validation.md 7.1).

The order is what makes it trustworthy. A folder begins as `running` and stays so until the very last step:
one whose `run.json` does not say `finished` is an aborted run, whatever else is in it. What a check said is
written when it has ended, and its line in the journal is synced, so that a run can be taken up again. At the
end everything is rendered, looked through once more for secrets, digested and signed. Should that fail,
nothing is left that could be read as a decision.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from less_sync.validation import attest
from less_sync.validation.attempt import Row
from less_sync.validation.attest import EvidenceFault, SigningKey
from less_sync.validation.canonical import canonical
from less_sync.validation.decision import Reason
from less_sync.validation.evidence import EVIDENCE_BYTES_MAX
from less_sync.validation.journal import JOURNAL, STATE, journal_line, read_state
from less_sync.validation.keeping import append_line, kept_or_fault, make_folder, make_folders, write_file
from less_sync.validation.reading import FOLDER_BYTES_MAX, NotAReport, content, listed, texts_of
from less_sync.validation.redact import Redactor
from less_sync.validation.renderings import RENDERED, rendered
from less_sync.validation.results import (
    DOCUMENT_BYTES_MAX,
    Document,
    EvidenceFile,
    Results,
    document,
    evidence_path,
    log_path,
    read_document,
    time_text,
)
from less_sync.validation.texts import Texts, visible

RESULTS: Final = "results.json"
MANIFEST: Final = "manifest.toml"
ATTESTATION: Final = "attestation.dsse.json"
LOG_BYTES_MAX: Final = 256 * 1024
"""Of one check."""
TEXTS_BYTES_MAX: Final = 36 * 1024 * 1024
"""Of all logs and evidence: the rest of the folder's 64 MiB is for what is rendered."""
FOLDERS_OF_ONE_SECOND_MAX: Final = 1000
SECRET_IN_REPORT: Final = "secret-in-report"
NOTE: Final = "A secret was found in this file, so it was left out.\n"
_FULL: Final = "(%d bytes more are not kept: %s)\n"


@dataclass(frozen=True, slots=True)
class Finished:
    """A report that is complete."""

    folder: Path
    results: Results
    """As decided in the end: a secret that was found makes a NO-GO of any decision."""
    document: Document
    report_digest: str
    """SHA-256, in hex, of `SHA256SUMS`."""
    keyid: str
    secrets_found: tuple[str, ...]
    """`PATH: WHAT` each; with any of them the exit code is 4."""


class Report:
    """The folder of one run, while it is written. Made by `create`, `at` or `reopened`."""

    def __init__(
        self,
        folder: Path,
        redactor: Redactor,
        head: dict[str, Any],
        *,
        texts_bytes_max: int = TEXTS_BYTES_MAX,
    ) -> None:
        self.folder = folder
        self._texts_bytes_max = texts_bytes_max
        self._redactor = redactor
        self._head = head
        self._texts_bytes = 0

    @classmethod
    def create(cls, parent: Path, timestamp: datetime, *, redactor: Redactor, run_id: str) -> "Report":
        """A new folder, named after the moment; `-2`, `-3` behind it when the name is taken.

        Raises:
            EvidenceFault: it cannot be made or written.
        """
        name = timestamp.strftime("%Y%m%dT%H%M%SZ")
        for number in range(1, FOLDERS_OF_ONE_SECOND_MAX):
            folder = parent / (name if number == 1 else f"{name}-{number}")
            with suppress(FileExistsError):
                return cls._made(folder, timestamp, redactor, run_id)
        raise EvidenceFault(
            "not-writable", f"{parent} has {FOLDERS_OF_ONE_SECOND_MAX} folders of this second"
        )

    @classmethod
    def at(cls, folder: Path, timestamp: datetime, *, redactor: Redactor, run_id: str) -> "Report":
        """A new folder of this very name.

        Raises:
            FileExistsError: it is there already.
            EvidenceFault: as `create`.
        """
        return cls._made(folder, timestamp, redactor, run_id)

    @classmethod
    def _made(cls, folder: Path, timestamp: datetime, redactor: Redactor, run_id: str) -> "Report":
        make_folders(folder.parent)
        make_folder(folder)
        for name in ("logs", "evidence"):
            make_folder(folder / name)
        head = {"format": 1, "run": run_id, "started_at": time_text(timestamp)}
        made = cls(folder, redactor, head | {"resumes": []})
        made._state("running")
        made._write(JOURNAL, b"")
        return made

    @classmethod
    def reopened(cls, folder: Path, moment: datetime, *, redactor: Redactor) -> "Report":
        """The folder of an interrupted run, to go on with it; `journal.read_journal` has its rows.

        Raises:
            NotAReport: it is none, or the run has finished.
            EvidenceFault: it cannot be written.
        """
        state = read_state(folder)
        if state.state != "running":
            raise NotAReport("the run has finished")
        head = {"format": 1, "run": state.run, "started_at": state.started_at}
        made = cls(folder, redactor, head | {"resumes": [*state.resumes, time_text(moment)]})
        made._texts_bytes = sum(size for path, size in listed(folder).sizes.items() if "/" in path)
        made._state("running")
        return made

    def manifest(self, text: str) -> None:
        """Keep the resolved manifest. Raises EvidenceFault."""
        self._write(MANIFEST, self._redactor.mask_stable(text).encode(errors="replace"))

    def append(self, row: Row, digest: str = "") -> None:
        """Keep what a finished check said and exchanged, and its line of the journal, on disk.

        Args:
            digest: over all that it rested on, by which a later run knows whether it may be re-used.

        Raises:
            EvidenceFault: `disk-full`, `not-writable`.
        """
        check_id = row.check.id
        lines = row.lines or (f"{row.outcome.status}: {row.outcome.reason}",)
        log = "".join(f"{visible(line.replace(chr(10), ' '))}\n" for line in lines)
        self._text(log_path(check_id), log, LOG_BYTES_MAX)
        evidence = None
        if row.evidence:
            evidence = self._text(evidence_path(check_id), row.evidence, EVIDENCE_BYTES_MAX)
        line = journal_line(row, evidence, digest, self._redactor.mask_stable)
        with kept_or_fault(JOURNAL):
            append_line(self.folder / JOURNAL, line)

    def _text(self, path: str, text: str, most_bytes: int) -> EvidenceFile:
        """Write a log or evidence, masked, as much of it as there is room for."""
        data = self._redactor.mask_transcript(text).encode(errors="replace")
        left = self._texts_bytes_max - self._texts_bytes
        why = f"one check has {most_bytes // 1024} KiB" if most_bytes <= left else "the report is full"
        room = max(0, min(most_bytes, left)) - 100
        if len(data) > room:
            shown = data[: max(0, room)].decode(errors="ignore").encode()
            cut = b"" if shown.endswith(b"\n") or not shown else b"\n"
            data = shown + cut + (_FULL % (len(data) - len(shown), why)).encode()
        self._texts_bytes += len(data)
        self._write(path, data, durable=False)
        return EvidenceFile(path, hashlib.sha256(data).hexdigest(), len(data))

    def finish(
        self,
        results: Results,
        key: Callable[[], SigningKey],
        *,
        path: str = "",
        exit_of: Callable[[Results], int] = lambda _results: 0,
    ) -> Finished:
        """Render, look for secrets once more, digest, sign; last of all say that the run has finished.

        Args:
            key: asked for when there is something to sign.
            path: of the folder, as a reader of the repository finds it; else its name behind the matrix's.
            exit_of: tells the exit code for `run.json`.

        Raises:
            EvidenceFault: it cannot be kept or signed; then the folder stays that of an aborted run.
        """
        try:
            return self._finish(results, key, path or f"{results.name}/{self.folder.name}", exit_of)
        except EvidenceFault as fault:
            for name in (RESULTS, *RENDERED, attest.SUMS, ATTESTATION):
                with suppress(OSError):
                    (self.folder / name).unlink(missing_ok=True)
            with suppress(EvidenceFault):
                self._state(fault.code)
            raise

    def _finish(
        self, results: Results, key: Callable[[], SigningKey], path: str, exit_of: Callable[[Results], int]
    ) -> Finished:
        self._mask_again()
        files, told = self._rendered(results, self._redactor.mask_stable)
        found = self._scanned(files)
        if found:
            self._leave_out(found)
            results = with_secret(results)
            files, told = self._rendered(results, self._redactor.mask_shapes)
            left = {name for name in self._scanned(files) if name in files}
            files |= {name: NOTE.encode() for name in left if name != RESULTS}
            if RESULTS in left:
                raise EvidenceFault(SECRET_IN_REPORT, f"{RESULTS} would hold a secret")
        for name, data in files.items():
            self._write(name, data)
        state = self._head | {
            "state": "finished",
            "finished_at": results.run.finished_at,
            "decision": results.decision,
            "exit": exit_of(results),
        }
        last = canonical(state)
        sums = attest.sums(self._digests() | {STATE: hashlib.sha256(last).hexdigest()})
        digest = hashlib.sha256(sums).hexdigest()
        payload = attest.statement(
            told,
            sums_sha256=digest,
            sums_path=f"{path}/{attest.SUMS}",
            manifest_sha256=hashlib.sha256(self._content(MANIFEST)).hexdigest(),
        )
        signing_key = key()
        self._write(attest.SUMS, sums)
        self._write(ATTESTATION, attest.envelope(payload, signing_key))
        self._within_bounds()
        self._write(STATE, last)
        secrets_found = tuple(f"{name}: {one}" for name, what in sorted(found.items()) for one in what)
        return Finished(self.folder, results, told, digest, signing_key.keyid, secrets_found)

    def _mask_again(self) -> None:
        """What was learnt after a text was written is masked in it as well."""
        for path in self._texts():
            data = self._content(path)
            if any(not one.startswith("net:") for one in self._redactor.scan(data)):
                text = data.decode(errors="replace")
                self._write(path, self._redactor.mask_transcript(text).encode(errors="replace"))

    def _texts(self) -> list[str]:
        return sorted(path for path in self._listed() if "/" in path)

    def _rendered(self, results: Results, mask: Callable[[str], str]) -> tuple[dict[str, bytes], Document]:
        kept = {}
        for row in results.checks:
            path = evidence_path(row.check.id)
            if path in self._listed():
                data = self._content(path)
                kept[row.check.id] = EvidenceFile(path, hashlib.sha256(data).hexdigest(), len(data))
        written = canonical(document(results, kept, mask=mask))
        if len(written) > DOCUMENT_BYTES_MAX:
            raise EvidenceFault("report-too-large", f"{RESULTS} has more than {DOCUMENT_BYTES_MAX} bytes")
        told = read_document(written)
        return {RESULTS: written} | rendered(told, self._said(told)), told

    def _said(self, told: Document) -> Texts:
        with _report_or_fault():
            return texts_of(self.folder, told)

    def _scanned(self, files: Mapping[str, bytes]) -> dict[str, list[str]]:
        """What is found where, in the files that are to be written and those that are there."""
        found = {path: self._redactor.scan(data) for path, data in files.items()}
        found |= {
            path: self._redactor.scan(self._content(path)) for path in self._listed() if path not in files
        }
        return {path: what for path, what in found.items() if what}

    def _leave_out(self, found: Mapping[str, object]) -> None:
        """Replace texts in which a secret is; what is rendered is rendered anew."""
        for path in found:
            if path not in (RESULTS, *RENDERED):
                self._write(path, NOTE.encode())

    def _digests(self) -> dict[str, str]:
        names = [name for name in self._listed() if name not in (STATE, attest.SUMS, ATTESTATION)]
        return {name: hashlib.sha256(self._content(name)).hexdigest() for name in names}

    def _within_bounds(self) -> None:
        if sum(self._listed().values()) > FOLDER_BYTES_MAX:
            raise EvidenceFault("report-too-large", f"more than {FOLDER_BYTES_MAX} bytes")

    def _listed(self) -> dict[str, int]:
        with _report_or_fault():
            return listed(self.folder).sizes

    def _content(self, path: str) -> bytes:
        with _report_or_fault():
            return content(self.folder, path)

    def _state(self, state: str) -> None:
        self._write(STATE, canonical(self._head | {"state": state}))

    def _write(self, path: str, data: bytes, *, durable: bool = True) -> None:
        with kept_or_fault(path):
            write_file(self.folder / path, data, durable=durable)


def with_secret(results: Results) -> Results:
    """The same run with a secret found in its report: no decision but one."""
    return replace(
        results,
        decision="NO-GO",
        would_be="NO-GO",
        overall="failed",
        decision_reasons=(Reason(SECRET_IN_REPORT), *results.decision_reasons),
    )


@contextmanager
def _report_or_fault() -> Iterator[None]:
    try:
        yield
    except NotAReport as error:
        raise EvidenceFault("not-writable", f"the report cannot be read back: {error}") from None
