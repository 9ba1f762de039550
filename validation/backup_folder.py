"""A folder of `less-sync backup`, read as something that anybody may have written (docs/operations.md 14.2).

The judge reads it with code of its own: what makes and restores backups is among the judged. Every size is
bounded before it is read, no link is followed, and no path leads out of the folder.
"""

import asyncio
import gzip
import hashlib
import os
import stat
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, TypeVar

import msgspec

T = TypeVar("T")

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
CONTENTS: Final = "contents/"
MANIFEST_BYTES_MAX: Final = 256 * 1024 * 1024
"""Some 200 bytes for each content: more than a million of them."""
FOLDERS_MAX: Final = 10_000
"""Looked through for the newest backup."""
CHUNK_BYTES: Final = 1024 * 1024
_HEX_DIGITS: Final = 64


_WORDS: Final = {
    "no-backup": "there is no folder of a backup in BACKUP_DIR: make one by less-sync backup",
    "incomplete": "the backup in BACKUP_DIR is not finished: let less-sync backup end, or make another one",
    "damaged": "the manifest of the backup is damaged: make another backup",
    "unreadable": "this user may not read the backup in BACKUP_DIR",
    "format": "the backup is of a format that this release does not know",
}


class NoBackup(Exception):
    """There is none to judge by.

    Args:
        reason: `no-backup`, `incomplete`, `damaged`, `unreadable` or `format`.
        where: for the log.
    """

    def __init__(self, reason: str, where: Path) -> None:
        super().__init__(f"{where}: {reason}")
        self.reason = reason
        self.words = _WORDS[reason]
        """What that means, without the path."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the folder, with its size and SHA-256 as the manifest has them."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its rows are lines of `tables/NAME.copy.gz`, in the order of their key."""

    name: str
    columns: tuple[str, ...]
    rows: int
    sha256: str
    """Of the text before it is compressed."""

    @property
    def path(self) -> str:
        """Of its file."""
        return f"tables/{self.name}.copy.gz"


@dataclass(frozen=True, slots=True)
class Database:
    """Which database was read."""

    system_identifier: str
    """Empty when the role might not ask."""
    name: str
    server_version_num: int


@dataclass(frozen=True, slots=True)
class Schema:
    """The versions of migrations it was made under."""

    shared: tuple[int, ...]
    own: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """All contents of files together."""

    count: int
    bytes: int
    sha256: str
    """Of the sorted lines `SPACE/FILE SIZE SHA256`."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a finished backup says of itself."""

    format: int
    created_at: str
    finished_at: str
    server_version: str
    tool_version: str
    database: Database
    schema: Schema
    tables: tuple[Table, ...]
    highest_cursor: int
    contents: Contents
    files: tuple[File, ...]
    digest: str

    @property
    def created(self) -> datetime:
        """The moment of its snapshot."""
        return _moment(self.created_at)

    @property
    def content_files(self) -> list[File]:
        """Those of contents."""
        return [file for file in self.files if file.path.startswith(CONTENTS)]

    @property
    def table_bytes(self) -> int:
        """Of all tables, compressed."""
        return sum(file.bytes for file in self.files if not file.path.startswith(CONTENTS))


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished one."""

    folder: Path
    manifest: Manifest
    raw_sha256: str
    """Of the bytes of its manifest."""
    seal_holds: bool
    """Whether the manifest's digest is that of the rest of it."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a file turned out to hold."""

    bytes: int
    lines: int
    sha256: str


def newest(place: Path) -> Backup:
    """The backup in a folder, or the newest finished one of those that lie in it.

    Raises:
        NoBackup: there is none; the reason is that of the newest folder when none is finished.
    """
    if _has_manifest(place):
        return read(place)
    try:
        with os.scandir(place) as entries:
            children = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except PermissionError:
        raise NoBackup("unreadable", place) from None
    except OSError:
        raise NoBackup("no-backup", place) from None
    found: list[Backup] = []
    failed: list[NoBackup] = []
    for name in children[-FOLDERS_MAX:]:
        if not _has_manifest(place / name):
            continue
        try:
            found.append(read(place / name))
        except NoBackup as error:
            failed.append(error)
    if found:
        return max(found, key=lambda one: (one.manifest.finished_at, one.folder.name))
    raise failed[-1] if failed else NoBackup("no-backup", place)


def _has_manifest(folder: Path) -> bool:
    """Whether there is one, or whoever wants to read it has to say why not."""
    try:
        return (folder / MANIFEST).exists()
    except PermissionError:
        return True
    except OSError:
        return False


def read(folder: Path) -> Backup:
    """Read the manifest of a folder. The files that it names are not looked at.

    Raises:
        NoBackup: as its reason says.
    """
    try:
        with _opened(folder, MANIFEST) as file:
            raw = file.read(MANIFEST_BYTES_MAX + 1)
    except OSError:
        raise NoBackup("unreadable", folder) from None
    return parsed(raw, folder)


def parsed(raw: bytes, folder: Path) -> Backup:
    """The backup in a folder whose manifest these bytes are.

    Raises:
        NoBackup: they are none, or not of a finished backup.
    """
    try:
        document: Any = msgspec.json.decode(raw) if len(raw) <= MANIFEST_BYTES_MAX else None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):
        raise NoBackup("damaged", folder)
    if document.get("format") != FORMAT:
        raise NoBackup("format", folder)
    if document.get("finished_at") is None:
        raise NoBackup("incomplete", folder)
    try:
        manifest = msgspec.convert(document, Manifest, strict=True)
        for text in (manifest.created_at, manifest.finished_at):
            _moment(text)
    except (msgspec.ValidationError, ValueError):
        raise NoBackup("damaged", folder) from None
    if not _agrees(manifest):
        raise NoBackup("damaged", folder)
    body = {key: value for key, value in document.items() if key != "digest"}
    digest = hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()
    return Backup(folder, manifest, hashlib.sha256(raw).hexdigest(), digest == manifest.digest)


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _agrees(manifest: Manifest) -> bool:
    """Whether its parts fit together, and every path stays inside."""
    paths = [file.path for file in manifest.files]
    digests = [file.sha256 for file in manifest.files] + [table.sha256 for table in manifest.tables]
    numbers = [file.bytes for file in manifest.files] + [table.rows for table in manifest.tables]
    return (
        paths == sorted(set(paths))
        and all(_inside(path) for path in paths)
        and all(number >= 0 for number in numbers)
        and all(_is_digest(text) for text in digests)
        and {table.path for table in manifest.tables} <= set(paths)
        and len({table.name for table in manifest.tables}) == len(manifest.tables)
    )


def _inside(path: str) -> bool:
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def _is_digest(text: str) -> bool:
    return len(text) == _HEX_DIGITS and all(digit in "0123456789abcdef" for digit in text)


def contents_of(manifest: Manifest) -> Contents:
    """The sum of contents as the list of files has them."""
    files = manifest.content_files
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path.removeprefix(CONTENTS)} {file.bytes} {file.sha256}\n".encode())
    return Contents(len(files), sum(file.bytes for file in files), digest.hexdigest())


def _opened(folder: Path, path: str) -> IO[bytes]:
    """A file of the folder, through no link on the way to it. Raises OSError."""
    *above, name = PurePosixPath(path).parts
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in above:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            place, former = os.open(part, flags, dir_fd=place), place
            os.close(former)
        # A pipe or a device would be waited for: without blocking it can be looked at first.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=place)
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError("no ordinary file")
    return os.fdopen(fd, "rb")


async def tally(backup: Backup, file: File) -> Tally | None:
    """What a file of the backup holds, read up to a byte more than it should have; None: it is not there."""
    return await _in_thread(lambda stop: _tally(backup, file.path, file.bytes + 1, stop, packed=False))


async def table_tally(backup: Backup, table: Table) -> Tally | None:
    """What the text of a table holds, unpacked; None: it is not there, or no gzip file to its end."""
    return await _in_thread(lambda stop: _tally(backup, table.path, None, stop, packed=True))


def _tally(
    backup: Backup, path: str, bytes_max: int | None, stop: threading.Event, *, packed: bool
) -> Tally | None:
    size_bytes, lines, digest = 0, 0, hashlib.sha256()
    try:
        with _opened(backup.folder, path) as file:
            for piece in _pieces(file, bytes_max, packed=packed):
                if stop.is_set():
                    return None
                size_bytes += len(piece)
                lines += piece.count(b"\n")
                digest.update(piece)
    except (OSError, EOFError, zlib.error):
        return None
    return Tally(size_bytes, lines, digest.hexdigest())


def _pieces(file: IO[bytes], bytes_max: int | None, *, packed: bool) -> Iterator[bytes]:
    left = bytes_max
    with closing(gzip.GzipFile(fileobj=file, mode="rb")) if packed else file as source:
        while piece := source.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)):
            yield piece
            if left is not None:
                left -= len(piece)


async def strangers(backup: Backup) -> list[str]:
    """The files of the folder that the manifest does not name, sorted; links and all else count too."""
    known = {MANIFEST, *(file.path for file in backup.manifest.files)}
    return await _in_thread(lambda stop: sorted(_files(backup.folder, stop) - known))


def _files(folder: Path, stop: threading.Event) -> set[str]:
    found: set[str] = set()
    for place, folders, files in os.walk(folder):
        if stop.is_set():
            break
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found |= {
            os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
            for name in (*files, *links)
        }
    return found


async def _in_thread(work: Callable[[threading.Event], T]) -> T:
    """Do what reads a disk in a thread, which ends soon when the caller is cancelled."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()
