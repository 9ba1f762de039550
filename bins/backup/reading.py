"""Reading the files of a backup piece by piece, and checking all of them before anything is changed by it."""

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from uuid import UUID

from less_sync.bins.backup.manifest import (
    CONTENTS,
    BackupError,
    FileEntry,
    Manifest,
    TableEntry,
    content_files,
    os_text,
)
from less_sync.bins.backup.watching import Doing, Progress
from less_sync.migrations import UnknownVersions, schema_at
from less_sync.storage import CHUNK_BYTES_MAX, BlobKey


@dataclass(slots=True)
class Tally:
    """What went past: how many bytes and lines, and their SHA-256."""

    size_bytes: int = 0
    lines: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, piece: bytes) -> None:
        """Count one more piece."""
        self.size_bytes += len(piece)
        self.lines += piece.count(b"\n")
        self._hash.update(piece)

    @property
    def sha256(self) -> str:
        """64 hex digits."""
        return self._hash.hexdigest()


def damaged(path: Path, why: str) -> BackupError:
    """The error for a file of a backup that is not what the manifest says."""
    return BackupError(f"the backup is damaged: {path} {why}")


async def pieces(path: Path, tally: Tally, *, packed: bool = False) -> AsyncIterator[bytes]:
    """Read a file from start to end, at most `CHUNK_BYTES_MAX` at a time, in a thread; `packed`: unpack it.

    Raises:
        BackupError: it is missing, cannot be read, or is no gzip file to its end.
    """

    def read(file: IO[bytes]) -> bytes:
        piece = file.read(CHUNK_BYTES_MAX)
        tally.add(piece)
        return piece

    try:
        with await asyncio.to_thread(_open, path, packed) as file:
            while piece := await asyncio.to_thread(read, file):
                yield piece
    except FileNotFoundError:
        raise damaged(path, "is missing") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise damaged(path, "cannot be unpacked") from None
    except OSError as error:
        raise BackupError(f"cannot read {path}: {os_text(error)}") from error


def _open(path: Path, packed: bool) -> IO[bytes]:
    # The type of gzip's reader is narrower than what it does.
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


async def verify(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Read every file of a backup, and compare it with what the manifest says.

    Raises:
        BackupError: a file is missing, damaged or cannot be read, named in the text; or this release does
            not know what the backup holds.
    """
    check_schema(manifest)
    for entry in content_files(manifest):
        content_key(entry)
    packed = {table.path: table for table in manifest.tables}
    progress.begin(Doing.CHECKING, sum(entry.bytes for entry in manifest.files))
    for entry in manifest.files:
        await _check_file(folder, entry, progress)
        table = packed.get(entry.path)
        if table is not None:
            await _check_table(folder, table)


async def _check_file(folder: Path, entry: FileEntry, progress: Progress) -> None:
    tally, path = Tally(), folder / entry.path
    async for piece in pieces(path, tally):
        progress.advance(len(piece))
    if tally.size_bytes != entry.bytes:
        raise damaged(path, f"has {tally.size_bytes:,} bytes instead of {entry.bytes:,}")
    if tally.sha256 != entry.sha256:
        raise damaged(path, "has another SHA-256 than the manifest says")


async def _check_table(folder: Path, table: TableEntry) -> None:
    tally = Tally()
    async for _ in pieces(folder / table.path, tally, packed=True):
        pass
    compare(folder / table.path, table, tally)


def compare(path: Path, table: TableEntry, tally: Tally) -> None:
    """See that the text of a table is the one that the manifest tells of.

    Raises:
        BackupError: it is not.
    """
    if tally.lines != table.rows:
        raise damaged(path, f"has {tally.lines:,} rows instead of {table.rows:,}")
    if tally.sha256 != table.sha256:
        raise damaged(path, "unpacks to another SHA-256 than the manifest says")


def check_schema(manifest: Manifest) -> None:
    """See that this release knows the versions of a backup, and that it has the tables of these, no others.

    Raises:
        BackupError: as the text says.
    """
    try:
        schema = schema_at((*manifest.schema.shared, *manifest.schema.own))
    except UnknownVersions as error:
        raise BackupError(
            f"the backup was made under migrations that this release does not know ({error}); "
            f"restore it with less-sync {manifest.tool_version} or newer"
        ) from error
    found = {table.name: sorted(table.columns) for table in manifest.tables}
    wanted = {name: sorted(table["columns"]) for name, table in schema.items()}
    if found != wanted:
        names = sorted(name for name in found.keys() | wanted if found.get(name) != wanted.get(name))
        raise BackupError(f"the backup's tables are not those of its migrations: {', '.join(names)}")


def content_key(entry: FileEntry) -> BlobKey:
    """Whose content a file of a backup is.

    Raises:
        BackupError: it has no such name.
    """
    parts = entry.path.removeprefix(f"{CONTENTS}/").split("/")
    try:
        key = BlobKey(*(UUID(part) for part in parts))
    except (ValueError, TypeError):
        raise BackupError(f"the backup is damaged: {entry.path} is no name of a content") from None
    if entry.path != content_path(key):
        raise BackupError(f"the backup is damaged: {entry.path} is no name of a content")
    return key


def content_path(key: BlobKey) -> str:
    """The path of a content in a backup."""
    return f"{CONTENTS}/{key.space}/{key.file}"
