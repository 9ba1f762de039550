"""Reads the folder of a report, which may be somebody else's and mean harm (docs/validation.md 7.7).

Names are those that a report has and no others, links are not followed, and nothing is read that is larger
than what the writer would have written.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from less_sync.validation.results import ROWS_MAX, Document, evidence_path, log_path
from less_sync.validation.texts import Texts

FOLDER_BYTES_MAX: Final = 64 * 1024 * 1024
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
SUB_FOLDERS: Final = ("logs", "evidence")
NAMES: Final = (
    *("results.json", "results.tsv", "SUMMARY.md", "junit.xml", "report.html", "manifest.toml"),
    *("run.json", "journal.ndjson", "SHA256SUMS", "attestation.dsse.json"),
)
_IN_SUB_FOLDER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\.(?:log|txt)")


class NotAReport(Exception):
    """The folder is none that a report has; names what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in the folder of a report."""

    sizes: dict[str, int] = field(default_factory=dict)
    """Of files that a report may have, in bytes, by relative path."""
    foreign: list[str] = field(default_factory=list)
    """Relative paths of everything else: links, other names, folders, what is no file."""


def listed(folder: Path) -> Listing:
    """Everything in the folder.

    Raises:
        NotAReport: there is no such folder, or too much in it.
    """
    found = Listing()
    try:
        with _opened(folder) as root:
            _list(root, "", found)
            for name in SUB_FOLDERS:
                if name in found.foreign and _is_folder(root, name):
                    found.foreign.remove(name)
                    sub = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
                    try:
                        _list(sub, name, found)
                    finally:
                        os.close(sub)
    except OSError as error:
        raise NotAReport(f"cannot be read: {error.strerror}") from None
    if sum(found.sizes.values()) > FOLDER_BYTES_MAX:
        raise NotAReport(f"more than {FOLDER_BYTES_MAX} bytes")
    return found


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield root
    finally:
        os.close(root)


def _list(at: int, folder: str, found: Listing) -> None:
    with os.scandir(at) as entries:
        for count, entry in enumerate(entries):
            if count > ROWS_MAX + len(NAMES):
                raise NotAReport("too many files")
            path = f"{folder}/{entry.name}" if folder else entry.name
            known = _IN_SUB_FOLDER.fullmatch(entry.name) if folder else entry.name in NAMES
            if known and entry.is_file(follow_symlinks=False):
                found.sizes[path] = entry.stat(follow_symlinks=False).st_size
            else:
                found.foreign.append(path)


def _is_folder(root: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode)


def content(folder: Path, path: str, *, most_bytes: int = FILE_BYTES_MAX) -> bytes:
    """What is in one of its files.

    Raises:
        NotAReport: it is not there, is no regular file, is reached through a link, or is too large.
    """
    sub, _, name = path.rpartition("/")
    if path not in NAMES and not (sub in SUB_FOLDERS and _IN_SUB_FOLDER.fullmatch(name)):
        raise NotAReport("a file that no report has")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with _opened(folder) as root:
            if sub:
                with _inside(root, sub) as at:
                    file = os.open(name, flags, dir_fd=at)
            else:
                file = os.open(name, flags, dir_fd=root)
    except OSError as error:
        raise NotAReport(f"{path}: {error.strerror}") from None
    with os.fdopen(file, "rb") as opened:
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise NotAReport(f"{path}: not a regular file")
        data = opened.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise NotAReport(f"{path}: more than {most_bytes} bytes")
    return data


@contextmanager
def _inside(root: int, name: str) -> Iterator[int]:
    at = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    try:
        yield at
    finally:
        os.close(at)


def texts_of(folder: Path, document: Document) -> Texts:
    """What the checks of a document said and exchanged.

    Raises:
        NotAReport: one of the files is not there, or not to be read.
    """
    there = listed(folder).sizes
    logs: dict[str, str] = {}
    evidence: dict[str, str] = {}
    for entry in document.checks:
        for texts, path in ((logs, log_path(entry.id)), (evidence, evidence_path(entry.id))):
            if path in there:
                texts[entry.id] = content(folder, path).decode(errors="replace")
    return Texts(logs, evidence)
