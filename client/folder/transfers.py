"""What the folder's state knows of large contents: where they are, and how far each is on its way.

    content      the content records of the space, as the server has them
    upload       a content that is being sent: begun, and not yet pointed to by the record of a file
    upload_part  its part files. Key and nonce of each are noted before it is sent the first time, so that
                 what is sent again is the same, byte for byte
    download     which parts of a content are whole in `.less-sync/partial/`

Each method is one transaction of `state.db`.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from less_sync.client.folder.plaintext import PlainContent

IGNORED: Final = "ignored"
"""The pending reason of what an ignore file hides here."""
CHUNK_DIGEST_BYTES: Final = 16
"""Of each chunk of an upload: a chunk of another digest is never encrypted under the part's key."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS content (
    id BLOB PRIMARY KEY,       -- 16 bytes: the content record
    cursor INTEGER NOT NULL,
    size INTEGER NOT NULL, digest BLOB NOT NULL, part_bytes INTEGER NOT NULL,
    parts BLOB NOT NULL        -- 16 bytes each, in order
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS upload (
    id BLOB PRIMARY KEY,       -- of the content record
    cursor INTEGER,            -- of the content record; NULL: the server is not known to have it
    size INTEGER NOT NULL, digest BLOB NOT NULL UNIQUE, part_bytes INTEGER NOT NULL,
    chunks BLOB NOT NULL       -- a digest of each chunk, in order
);
CREATE TABLE IF NOT EXISTS upload_part (
    upload BLOB NOT NULL, number INTEGER NOT NULL,
    id BLOB NOT NULL, dek BLOB NOT NULL, nonce BLOB NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,  -- the server has it
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS download (
    content BLOB NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (content, number)
) WITHOUT ROWID;
"""
FORGET: Final = (
    "DELETE FROM content",
    "UPDATE upload SET cursor = NULL",
    "UPDATE upload_part SET done = 0",
)
"""What another server makes of it: nothing is known to be there."""

_ID_BYTES: Final = 16
_PLAIN: Final = "size, digest, part_bytes"


@dataclass(frozen=True, slots=True)
class KnownContent:
    """A content record of the space, and the cursor it has there."""

    record: UUID
    cursor: int
    plain: PlainContent


@dataclass(frozen=True, slots=True)
class UploadPart:
    """One part file of an upload. The key is wrapped."""

    id: UUID
    dek: bytes = field(repr=False)
    nonce: bytes
    done: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """A content on its way. `cursor`: of its record; None while that is not known to be on the server."""

    record: UUID
    size_bytes: int
    digest: bytes = field(repr=False)
    part_bytes: int
    chunks: bytes = field(repr=False)
    parts: tuple[UploadPart, ...]
    cursor: int | None = None

    @property
    def plain(self) -> PlainContent:
        """What the content record says."""
        return PlainContent(
            self.size_bytes, self.digest, self.part_bytes, tuple(part.id for part in self.parts)
        )


class Transfers:
    """See the module. `read` and `transaction` are those of the folder's state."""

    def __init__(
        self,
        database: sqlite3.Connection,
        read: Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]],
        transaction: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._database = database
        self._read = read
        self._transaction = transaction

    # Content records.

    def content(self, record: UUID) -> KnownContent | None:
        """One content record of the space."""
        query = f"SELECT cursor, {_PLAIN}, parts FROM content WHERE id = ?"
        for cursor, size_bytes, digest, part_bytes, parts in self._read(query, (record.bytes,)):
            return KnownContent(record, cursor, PlainContent(size_bytes, digest, part_bytes, _ids(parts)))
        return None

    def put_contents(self, contents: Iterable[KnownContent]) -> None:
        """Remember content records as the server has them; one of an upload is there, then."""
        with self._transaction():
            for one in contents:
                plain = one.plain
                parts = b"".join(part.bytes for part in plain.parts)
                self._database.execute(
                    "INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?, ?, ?)",
                    (one.record.bytes, one.cursor, plain.size_bytes, plain.digest, plain.part_bytes, parts),
                )
                self._database.execute(
                    "UPDATE upload SET cursor = ? WHERE id = ?", (one.cursor, one.record.bytes)
                )

    def drop_content(self, record: UUID) -> bool:
        """Forget a content record that was deleted on the server. False when it was none that was known."""
        query = "SELECT 1 FROM content WHERE id = ? UNION SELECT 1 FROM upload WHERE id = ?"
        if not self._read(query, (record.bytes, record.bytes)):
            return False
        with self._transaction():
            self._database.execute("DELETE FROM content WHERE id = ?", (record.bytes,))
            self._delete_upload(record)
        return True

    # On their way to the server.

    def begin(self, upload: Upload) -> None:
        """Note an upload with all its parts, before anything of it is sent."""
        with self._transaction():
            self._database.execute(
                "INSERT INTO upload VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(upload.record.bytes, upload.cursor),
                    *(upload.size_bytes, upload.digest, upload.part_bytes, upload.chunks),
                ),
            )
            self._database.executemany(
                "INSERT INTO upload_part VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (upload.record.bytes, number, part.id.bytes, part.dek, part.nonce, part.done)
                    for number, part in enumerate(upload.parts)
                ),
            )

    def upload_of(self, digest: bytes) -> Upload | None:
        """The upload of a content, by the SHA-256 of the whole."""
        query = f"SELECT id, cursor, {_PLAIN}, chunks FROM upload WHERE digest = ?"
        for record, cursor, size_bytes, found, part_bytes, chunks in self._read(query, (digest,)):
            parts = self._parts(record)
            return Upload(UUID(bytes=record), size_bytes, found, part_bytes, chunks, parts, cursor)
        return None

    def _parts(self, record: bytes) -> tuple[UploadPart, ...]:
        query = "SELECT id, dek, nonce, done FROM upload_part WHERE upload = ? ORDER BY number"
        rows = self._read(query, (record,))
        return tuple(UploadPart(UUID(bytes=part), dek, nonce, bool(done)) for part, dek, nonce, done in rows)

    def uploads(self) -> list[tuple[UUID, bytes, int | None]]:
        """Record, digest and cursor of each upload."""
        rows = self._read("SELECT id, digest, cursor FROM upload ORDER BY id", ())
        return [(UUID(bytes=record), digest, cursor) for record, digest, cursor in rows]

    def part_sent(self, record: UUID, number: int) -> None:
        """The server has this part."""
        with self._transaction():
            self._database.execute(
                "UPDATE upload_part SET done = 1 WHERE upload = ? AND number = ?", (record.bytes, number)
            )

    def end_upload(self, record: UUID) -> None:
        """Forget an upload, if there is one: something points to its content, or nothing ever will."""
        if self._read("SELECT 1 FROM upload WHERE id = ?", (record.bytes,)):
            with self._transaction():
                self._delete_upload(record)

    def _delete_upload(self, record: UUID) -> None:
        self._database.execute("DELETE FROM upload WHERE id = ?", (record.bytes,))
        self._database.execute("DELETE FROM upload_part WHERE upload = ?", (record.bytes,))

    def is_pointed_to(self, record: UUID) -> bool:
        """Whether the record of a file is known to point to this content."""
        return bool(self._read("SELECT 1 FROM record WHERE content = ? LIMIT 1", (record.bytes,)))

    # On their way from the server.

    def awaited(self) -> set[UUID]:
        """The content records that something on the server points to which is still to come here."""
        query = (
            "SELECT content FROM record WHERE pending_cursor IS NOT NULL AND content IS NOT NULL"
            " AND pending_reason IS NOT ?"
        )
        return {UUID(bytes=content) for (content,) in self._read(query, (IGNORED,))}

    def parts_here(self, content: UUID) -> set[int]:
        """The parts of a content that are whole on the disk, counted from 0."""
        rows = self._read("SELECT number FROM download WHERE content = ?", (content.bytes,))
        return {number for (number,) in rows}

    def part_here(self, content: UUID, number: int) -> None:
        """This part is on the disk, synced."""
        with self._transaction():
            self._database.execute("INSERT OR IGNORE INTO download VALUES (?, ?)", (content.bytes, number))

    def drop_downloads(self, contents: Sequence[UUID]) -> None:
        """Forget what is on the disk of these contents."""
        with self._transaction():
            self._database.executemany(
                "DELETE FROM download WHERE content = ?", ((content.bytes,) for content in contents)
            )


def _ids(parts: bytes) -> tuple[UUID, ...]:
    return tuple(UUID(bytes=parts[start : start + _ID_BYTES]) for start in range(0, len(parts), _ID_BYTES))
