"""Rows of a table, copied into a file as they come: hashed and packed in a thread, a piece at a time."""

import asyncio
import gzip
import hashlib
import os
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple
from uuid import UUID

from less_sync.bins.backup.disk import drop_cache, open_anew
from less_sync.bins.backup.manifest import FileEntry, TableEntry, table_path
from less_sync.bins.backup.reading import Tally, content_path
from less_sync.bins.backup.source import Source
from less_sync.bins.backup.watching import Watcher
from less_sync.migrations import copy_query
from less_sync.storage import BlobKey

PIECE_BYTES: Final = 1024 * 1024
"""Of a table's text: one piece is packed while the next one comes."""
LEVEL: Final = 1
NULL: Final = rb"\N"
_GZIP: Final = 31
"""zlib's number for a gzip file with its largest window; its header then holds no time."""


async def copy_table(
    source: Source, folder: Path, name: str, columns: Sequence[str], watcher: Watcher
) -> tuple[TableEntry, FileEntry]:
    """Copy all rows of a table, in key order, into its file of a backup, and put that onto the disk.

    Raises:
        BackupError: the database failed.
        OSError: the file cannot be written.
    """
    path = table_path(name)
    packed = _PackedFile(folder / path)
    sink = _Sink(packed, watcher)
    try:
        with source.faults(f"cannot copy the table {name}"):
            await source.connection.copy_from_query(
                copy_query(name, columns), output=sink.take, format="text", encoding="utf-8"
            )
        await sink.end()
    finally:
        await sink.abandon()
    entry = TableEntry(name, tuple(columns), packed.text.lines, packed.text.sha256)
    return entry, FileEntry(path, packed.size_bytes, packed.sha256)


class _PackedFile:
    """A gzip file that is written by threads, one after the other."""

    def __init__(self, path: Path) -> None:
        self.text: Final = Tally()
        self.size_bytes = 0
        self._hash: Final = hashlib.sha256()
        self._packer: Final = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
        self._file: Final = os.fdopen(open_anew(path), "wb", buffering=0)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def add(self, piece: bytes) -> None:
        self.text.add(piece)
        self._write(self._packer.compress(piece))

    def finish(self) -> None:
        self._write(self._packer.flush())
        os.fsync(self._file.fileno())
        drop_cache(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self.size_bytes += len(data)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]


class _Sink:
    """Collects what the database sends; while it receives one piece, a thread packs the one before."""

    def __init__(self, packed: _PackedFile, watcher: Watcher) -> None:
        self._packed = packed
        self._watcher = watcher
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._under_way: asyncio.Task[None] | None = None

    async def take(self, data: bytes) -> None:
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= PIECE_BYTES:
            await self._hand_over()

    async def end(self) -> None:
        await self._hand_over()
        await self._finish_piece()
        await asyncio.to_thread(self._packed.finish)

    async def _hand_over(self) -> None:
        await self._finish_piece()
        piece = b"".join(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        self._watcher.advance(len(piece))
        self._under_way = asyncio.ensure_future(asyncio.to_thread(self._packed.add, piece))

    async def _finish_piece(self) -> None:
        if self._under_way is not None:
            await asyncio.shield(self._under_way)
            self._under_way = None

    async def abandon(self) -> None:
        """Let go of the file once no thread uses it."""
        if self._under_way is not None:
            await asyncio.gather(self._under_way, return_exceptions=True)
        self._packed.close()


class FileRow(NamedTuple):
    """A live row of `files`, as the snapshot has it."""

    space: UUID
    file: UUID
    size_bytes: int
    cursor: int | None
    """None in rows of before migration 10 that nobody has repaired."""

    @property
    def key(self) -> BlobKey:
        """Of its content in the store."""
        return BlobKey(self.space, self.file)

    @property
    def path(self) -> str:
        """Of its content in a backup."""
        return content_path(self.key)


def file_rows(folder: Path, table: TableEntry) -> Generator[FileRow, None, None]:
    """Read the live rows of `files` back from their copy, in key order: no transaction has to stay open.

    Raises:
        OSError: it cannot be read.
    """
    at = {column: number for number, column in enumerate(table.columns)}
    with gzip.open(folder / table.path, "rb") as text:
        yield from _parsed(text, at)


def _parsed(text: "IO[bytes] | gzip.GzipFile", at: dict[str, int]) -> Generator[FileRow, None, None]:
    for line in text:
        # None of the columns that are read has a type whose text is ever escaped.
        fields = line.rstrip(b"\n").split(b"\t")
        if fields[at["deleted"]] == b"f":
            yield FileRow(
                UUID(fields[at["space_id"]].decode()),
                UUID(fields[at["id"]].decode()),
                int(fields[at["size"]]),
                None if fields[at["cursor"]] == NULL else int(fields[at["cursor"]]),
            )
