"""What a backup knows of the contents it has: `sources.jsonl`, a line for each, written as they come.

A content that is there already, in the backup before or in this one, which was interrupted, may be taken over
only if it is certainly the one to be had. The row's cursor names the upload, the store's version what it has:
both must be as they were when it was copied.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Final, Self

import msgspec

from less_sync.bins.backup.manifest import SOURCES, DatabaseEntry, FileEntry, canonical
from less_sync.bins.backup.tables import FileRow
from less_sync.client.durable import replace


class Copied(msgspec.Struct, frozen=True):
    """A content as it was copied."""

    path: str
    """`contents/SPACE/FILE`."""
    cursor: int | None
    """Of its row."""
    version: str
    """Of the store: `Stored.version`."""
    bytes: int
    sha256: str

    @property
    def entry(self) -> FileEntry:
        """As a manifest has it."""
        return FileEntry(self.path, self.bytes, self.sha256)

    def is_of(self, row: FileRow) -> bool:
        """Whether it came by the upload that the row tells of."""
        return self.cursor == row.cursor and self.bytes == row.size_bytes


class _Head(msgspec.Struct, frozen=True):
    database: DatabaseEntry


_DECODER: Final = msgspec.json.Decoder(Copied)
_LINE_BYTES_MAX: Final = 4096


class CopiedLog:
    """The file while a backup is made: opened to be added to, behind what is whole of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @classmethod
    def continued(cls, folder: Path, database: DatabaseEntry) -> tuple[Self, dict[str, Copied]]:
        """Open it, and return what it tells. What is of another database, or not whole, is cut off.

        Raises:
            OSError: it cannot be read or written.
        """
        path = folder / SOURCES
        path.touch(mode=0o600)
        known, whole = _read(path, database)
        file = path.open("r+b", buffering=0)
        file.truncate(whole)
        file.seek(whole)
        if not whole:
            file.write(canonical(_Head(database)) + b"\n")
        return cls(file), known

    def add(self, contents: Iterable[Copied]) -> None:
        """Write a line for each."""
        self._file.write(b"".join(canonical(one) + b"\n" for one in contents))

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


def read_copied(folder: Path, database: DatabaseEntry) -> Mapping[str, Copied]:
    """What a backup knows of its contents, by path; nothing if it is of another database.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return _read(folder / SOURCES, database)[0]
    except FileNotFoundError:
        return {}


def write_copied(folder: Path, database: DatabaseEntry, contents: Iterable[Copied]) -> None:
    """Write it anew, in order.

    Raises:
        OSError: it cannot be written.
    """
    lines = [canonical(one) + b"\n" for one in sorted(contents, key=lambda one: one.path)]
    replace(folder / SOURCES, b"".join([canonical(_Head(database)), b"\n", *lines]))


def _read(path: Path, database: DatabaseEntry) -> tuple[dict[str, Copied], int]:
    """The lines that are whole, and how many bytes they take."""
    found: dict[str, Copied] = {}
    with path.open("rb") as file:
        first = file.readline(_LINE_BYTES_MAX)
        if not _is_of(first, database):
            return {}, 0
        whole = len(first)
        while (line := file.readline(_LINE_BYTES_MAX)).endswith(b"\n"):
            try:
                one = _DECODER.decode(line)
            except msgspec.MsgspecError:
                break
            found[one.path] = one
            whole += len(line)
    return found, whole


def _is_of(line: bytes, database: DatabaseEntry) -> bool:
    try:
        head = msgspec.json.decode(line, type=_Head)
    except msgspec.MsgspecError:
        return False
    return head.database.is_same(database) and line.endswith(b"\n")
