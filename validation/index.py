"""`INDEX.tsv`: one line per run of a name, beside its folders (docs/validation.md 7.7)."""

from pathlib import Path
from typing import Final

from less_sync.validation.keeping import append_line, kept_or_fault
from less_sync.validation.render_tsv import line
from less_sync.validation.results import Document

INDEX: Final = "INDEX.tsv"
INDEX_BYTES_MAX: Final = 16 * 1024 * 1024


def index_line(document: Document, folder: str, report_digest: str, keyid: str) -> bytes:
    """The line of one run: folder, kind, stage, mode, decision, candidate, digest, key; escaped."""
    candidate = document.subject.candidate
    told = " ".join(part for part in (candidate.version, candidate.commit or candidate.image) if part)
    facts = (document.kind, document.stage, document.mode, document.decision)
    return line((folder, *facts, told, report_digest, keyid))


def append_index(parent: Path, entry: bytes) -> Path:
    """Put a line into the index of a folder of reports; whoever does holds its lock (`report_lock`).

    Raises:
        EvidenceFault: it cannot be written.
    """
    path = parent / INDEX
    with kept_or_fault(INDEX):
        append_line(path, entry)
    return path
