"""What a backup says about itself: `manifest.json` (docs/operations.md 14.2), the only home of its form.

    manifest.json           last of all; one without `finished_at` marks a backup that is not finished
    tables/NAME.copy.gz     one per table
    contents/SPACE/FILE     one per content
    sources.jsonl           what the store said of each content when it was copied: for the next backup alone

The bytes are JSON without blanks, keys sorted, in UTF-8, so that other tools can make the digest anew.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import msgspec

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SOURCES: Final = "sources.jsonl"
TABLES: Final = "tables"
CONTENTS: Final = "contents"

HASH_CHUNK_BYTES: Final = 1024 * 1024


class BackupError(Exception):
    """A backup cannot be made, read or believed. `str()` is worded for the operator."""


class UnfinishedBackup(BackupError):
    """The folder holds a backup that was begun and not finished."""


@dataclass(frozen=True, slots=True, order=True)
class FileEntry:
    """A file of the folder."""

    path: str
    """Relative to the folder, with slashes."""
    bytes: int
    sha256: str
    """64 hex digits."""


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A table, all of whose rows are in `tables/NAME.copy.gz`."""

    name: str
    columns: tuple[str, ...]
    """In the order in which the COPY text has them."""
    rows: int
    sha256: str
    """Of the COPY text, before it is compressed; rows in key order."""

    @property
    def path(self) -> str:
        """Of the table's file."""
        return table_path(self.name)


@dataclass(frozen=True, slots=True)
class DatabaseEntry:
    """Which database was read."""

    system_identifier: str
    """Of the cluster, as text: it has 64 bits. Empty when the role may not ask."""
    name: str
    server_version_num: int

    def is_same(self, other: "DatabaseEntry") -> bool:
        """Whether both are the same database, perhaps under another release of Postgres."""
        return (self.system_identifier, self.name) == (other.system_identifier, other.name)


@dataclass(frozen=True, slots=True)
class SchemaEntry:
    """The versions of migrations that were applied, ascending (docs/migrations.md)."""

    shared: tuple[int, ...]
    own: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SnapshotEntry:
    """Where in the write-ahead log the snapshot lies."""

    lsn: str


@dataclass(frozen=True, slots=True)
class ContentsEntry:
    """All contents together."""

    count: int
    bytes: int
    sha256: str
    """Of the sorted lines `SPACE/FILE SIZE SHA256` with a line feed behind each."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A content that is not in the backup as its row says."""

    path: str
    """`contents/SPACE/FILE`."""
    fault: str
    """`missing`: the store has none. `size`: it has one of another length, which is in the backup.
    `left out`: contents were not asked for."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A finished backup."""

    created_at: str
    """RFC 3339, UTC: the moment of the snapshot."""
    finished_at: str
    server_version: str
    """Of Postgres, as it words it."""
    tool_version: str
    """Of less-sync."""
    database: DatabaseEntry
    schema: SchemaEntry
    snapshot: SnapshotEntry
    tables: tuple[TableEntry, ...]
    """By name."""
    highest_cursor: int
    """Of all spaces; 0 without any."""
    contents: ContentsEntry
    files: tuple[FileEntry, ...]
    """Every file of the folder but the manifest, by path."""
    faults: tuple[Fault, ...] = ()
    """By path."""
    format: int = FORMAT
    digest: str = ""

    def sealed(self) -> Self:
        """The same with its digest."""
        return replace(self, digest=self._digest())

    def encoded(self) -> bytes:
        """The bytes of `manifest.json`."""
        return canonical(self)

    def _digest(self) -> str:
        body = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "digest"}
        return hashlib.sha256(canonical(body)).hexdigest()

    @property
    def seal_holds(self) -> bool:
        """Whether the digest is that of the rest."""
        return self.digest == self._digest()


def canonical(document: object) -> bytes:
    """JSON without blanks, keys sorted, in UTF-8: what `jq -cjS` prints."""
    return msgspec.json.encode(document, order="sorted")


def contents_entry(contents: Iterable[FileEntry]) -> ContentsEntry:
    """Sum up contents, whose paths are `contents/SPACE/FILE`, in any order."""
    count = total = 0
    digest = hashlib.sha256()
    for entry in sorted(contents):
        count += 1
        total += entry.bytes
        name = entry.path.removeprefix(f"{CONTENTS}/")
        digest.update(f"{name} {entry.bytes} {entry.sha256}\n".encode())
    return ContentsEntry(count, total, digest.hexdigest())


def content_files(manifest: Manifest) -> list[FileEntry]:
    """The entries of contents, by path."""
    return [entry for entry in manifest.files if entry.path.startswith(f"{CONTENTS}/")]


def table_path(name: str) -> str:
    """The path of a table's file in a backup."""
    return f"{TABLES}/{name}.copy.gz"


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a backup, and check its digest and that its parts agree. Files are not looked at.

    Takes memory for the whole list of files, some 500 bytes for each.

    Raises:
        UnfinishedBackup: there is one without `finished_at`.
        BackupError: there is none, it is damaged, or of another format.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST}") from None
    except OSError as error:
        raise BackupError(f"cannot read {folder / MANIFEST}: {os_text(error)}") from error
    _check_head(folder, raw)
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{folder / MANIFEST} is damaged: {error}") from error
    if manifest.encoded() != raw or not manifest.seal_holds:
        raise BackupError(f"{folder / MANIFEST} is damaged: its digest is another one")
    _check_parts(folder, manifest)
    return manifest


@dataclass(frozen=True, slots=True)
class _Head:
    """What says whether the rest can be read."""

    format: Any
    finished_at: Any = None


def _check_head(folder: Path, raw: bytes) -> None:
    try:
        head = msgspec.json.decode(raw, type=_Head)
    except msgspec.MsgspecError:
        raise BackupError(f"{folder / MANIFEST} is damaged, or no manifest of a backup") from None
    if head.format != FORMAT:
        known = f"this release knows format {FORMAT}"
        raise BackupError(f"the backup in {folder} has format {head.format!r}; {known}")
    if head.finished_at is None:
        raise UnfinishedBackup(f"the backup in {folder} was not finished")


def _check_parts(folder: Path, manifest: Manifest) -> None:
    paths = [entry.path for entry in manifest.files]
    if paths != sorted(set(paths)) or not all(_is_inside(path) for path in paths):
        raise BackupError(f"{folder / MANIFEST} is damaged: its files are not in order")
    missing = {table.path for table in manifest.tables}.difference(paths)
    if missing or manifest.contents != contents_entry(content_files(manifest)):
        raise BackupError(f"{folder / MANIFEST} is damaged: its parts do not agree")


def _is_inside(path: str) -> bool:
    """A digest says who wrote a path, not that it is harmless: it is joined to the folder's."""
    return all(part not in ("", ".", "..") for part in path.split("/")) and "\0" not in path


def newest_backup(folder: Path) -> Path:
    """`folder` itself if it has a manifest, else the newest finished backup that lies in it.

    Raises:
        BackupError: there is none, or its manifest is damaged.
    """
    if (folder / MANIFEST).exists():
        return folder
    finished = finished_backups(folder)
    if not finished:
        raise BackupError(f"{folder} is no backup, and holds none that is finished")
    return finished[-1][0]


def finished_backups(folder: Path) -> list[tuple[Path, Manifest]]:
    """The finished backups that lie in a folder, oldest first; those that are damaged are left out."""
    found = []
    try:
        children = folders_of_backups(folder)
    except OSError as error:
        raise BackupError(f"cannot read {folder}: {os_text(error)}") from error
    for child in children:
        try:
            found.append((child, read_manifest(child)))
        except BackupError:
            continue
    return sorted(found, key=lambda one: (one[1].finished_at, one[0]))


def folders_of_backups(place: Path) -> list[Path]:
    """What lies in a folder and has a manifest of any kind, by name; nothing if there is no such folder.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return sorted(child for child in place.iterdir() if (child / MANIFEST).is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []


def hash_file(path: Path) -> FileEntry:
    """Size and SHA-256 of a file as it is on the disk, in bounded memory; the entry's path is the name alone.

    Raises:
        OSError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(path.name, size, digest.hexdigest())


def os_text(error: OSError) -> str:
    """What the operating system says, without number and path."""
    return error.strerror or str(error)
