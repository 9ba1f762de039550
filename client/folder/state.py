"""What both sides last agreed on, kept in `.less-sync/state.db` of the folder.

SQLite in its most careful setting (rollback journal, `synchronous=FULL`): each method is one transaction, so
a kill or a power cut leaves the state before it or after it. Nothing else is promised about the order of disk
changes and state changes, and nothing else is needed: a file or record that is ahead of the state is
recognised by its content the next time (`plan.Note`), so it is neither lost nor doubled.

What is known of large contents is in tables of their own (`transfers.py`).

A row has four parts. The *base* is what both sides had: cursor, digest (None for a tombstone) and the file's
stat at that time, by which an unchanged file is known without reading it. *Pending* is set when the server
has something newer that is not applied here: it could not be read or written, or `push` merely saw it. *Sent*
is what is being pushed, so that an edit made after a push whose answer was lost is no conflict with it.
*Version* is the highest that was ever seen of the record: it outlives everything else, because a server that
shows a lower one goes back (docs/folder-format.md, "What protects against what").
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from less_sync.client.folder.errors import DiskFull, FolderBusy, FolderError, KeyMismatch, UsageProblem
from less_sync.client.folder.paths import STATE_DIR
from less_sync.client.folder.plan import Absent, Content, Remote, Tombstone
from less_sync.client.folder.transfers import FORGET, IGNORED, SCHEMA, Transfers
from less_sync.client.folder.walk import DISK_IS_FULL

FORMAT: Final = "3"
SPACE_FORMAT: Final = 2

OTHER_KIND: Final = "a record of another kind"
"""The pending reason of what is to be left alone."""

_RECORD_BYTES: Final = 16

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (
    id BLOB PRIMARY KEY,       -- 16 bytes
    path TEXT,                 -- NULL while only a tombstone or an unreadable record was seen
    cursor INTEGER NOT NULL,   -- 0: both sides never agreed on it
    digest BLOB,               -- SHA-256 of the content; NULL: tombstone, or cursor 0
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER, noted_ns INTEGER,
    pending_cursor INTEGER,    -- the server has this newer version, not applied here
    pending_reason TEXT,
    sent BLOB,                 -- digest on its way to the server; empty: a deletion
    version INTEGER NOT NULL DEFAULT 0,  -- the highest seen; 0: of format 1 alone
    content BLOB               -- id of the content record that the server's version points to
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS left_out (path BLOB PRIMARY KEY) WITHOUT ROWID;  -- what was named as never synced
CREATE INDEX IF NOT EXISTS record_path ON record (path);
CREATE INDEX IF NOT EXISTS record_pending ON record (pending_cursor) WHERE pending_cursor IS NOT NULL;
"""
_COLUMNS: Final = (
    "id, path, cursor, digest, size, mtime_ns, ctime_ns, inode, noted_ns,"
    " pending_cursor, pending_reason, sent, version, content"
)
_STEPS: Final = {
    "1": ("ALTER TABLE record ADD COLUMN version INTEGER NOT NULL DEFAULT 0",),
    # What format 2 left alone as of another kind may be a large file: it is asked for again.
    "2": (
        "ALTER TABLE record ADD COLUMN content BLOB",
        "UPDATE meta SET value = min(CAST(value AS INTEGER), (SELECT min(pending_cursor) - 1 FROM record"
        f" WHERE pending_reason = '{OTHER_KIND}')) WHERE name = 'cursor'"
        f" AND EXISTS (SELECT 1 FROM record WHERE pending_reason = '{OTHER_KIND}')",
        f"DELETE FROM record WHERE pending_reason = '{OTHER_KIND}' AND cursor = 0 AND version = 0",
        "UPDATE record SET pending_cursor = NULL, pending_reason = NULL"
        f" WHERE pending_reason = '{OTHER_KIND}'",
    ),
}
"""By the format they lead away from, each to the next one."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file's stat when its digest was known. Equal stat, not racily new: equal content."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    noted_ns: int
    """Wall clock before the content was read or written."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record as this folder knows it."""

    record: UUID
    path: str | None
    base: Remote
    stamp: Stamp | None = None
    pending_cursor: int | None = None
    pending_reason: str = ""
    sent: bytes | None = None
    """Digest that was sent and not yet acknowledged; empty for a deletion."""
    version: int = 0
    """The highest version of the record that was seen."""
    content: UUID | None = None
    """The content record that the server's version points to, as last seen; who replaces that frees it."""


class FolderState:
    """The folder's `.less-sync/`: lock, database, and a place for files that are being written.

    Used by one thread at a time. `open` takes the folder's lock; `close` gives it back.
    """

    def __init__(self, database: sqlite3.Connection, lock_fd: int | None, directory: Path) -> None:
        self._database = database
        self._lock_fd = lock_fd
        self.directory = directory
        self.transfers = Transfers(database, self._read, self._transaction)

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open or make the state of a folder that exists.

        Raises:
            FolderBusy: another command works in the folder.
            UsageProblem: `.less-sync` cannot be made there, or is of a later format.
            DiskFull: no space for it.
        """
        directory = root / STATE_DIR
        with disk_errors(f"cannot write in {directory}"):
            if directory.is_symlink():
                raise UsageProblem(f"{directory} is a symbolic link", "it must be a folder of this disk")
            directory.mkdir(mode=0o700, exist_ok=True)
            lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock_fd)
            raise FolderBusy(
                f"another less-sync command works in {root}", "wait for it, or stop it"
            ) from error
        try:
            with disk_errors(f"cannot use {directory}"):
                return cls(_open_database(directory), lock_fd, directory)
        except BaseException:
            os.close(lock_fd)
            raise

    @classmethod
    def look(cls, root: Path) -> Self:
        """A copy in memory of a folder's state, for who only looks: nothing of what is done to it is kept.

        Takes no lock, so it works beside a `watch`, and makes nothing where there is no state yet.

        Raises:
            UsageProblem, FolderError: as `open`.
        """
        directory = root / STATE_DIR
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            with disk_errors(f"cannot read {directory}"):
                if (directory / "state.db").exists():
                    with closing(sqlite3.connect(directory / "state.db", timeout=5.0)) as kept:
                        kept.backup(copy)
                _bring_up(copy, directory)
        except BaseException:
            copy.close()
            raise
        return cls(copy, None, directory)

    @staticmethod
    def server_of(root: Path) -> str | None:
        """The server a folder was synced with last; None for one without a state that tells."""
        database = root / STATE_DIR / "state.db"
        if not database.exists():
            return None
        # What is wrong with it is told by whoever opens it.
        with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=5.0)) as kept:
            for (server,) in kept.execute("SELECT value FROM meta WHERE name = 'server'"):
                return str(server)
        return None

    def check_still_there(self) -> None:
        """Check that nobody has removed `.less-sync` under our hands: a second command could start then.

        Raises:
            FolderError: it was removed, or replaced.
        """
        if self._lock_fd is None:
            return
        try:
            named = os.stat(self.directory / "lock")
        except OSError:
            named = None
        if named is None or not os.path.samestat(named, os.fstat(self._lock_fd)):
            raise FolderError(
                f"{self.directory} was removed while the command worked",
                "run it again: files are then compared by content, and none is lost",
            )

    def close(self) -> None:
        """Close the database and give the lock back."""
        self._database.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def bind(self, *, space: UUID, fingerprint: str) -> None:
        """Tie the folder to one space and one key, once something was exchanged with them."""
        self._set_meta({"space": str(space), "key": fingerprint})

    def check(self, *, space: UUID, fingerprint: str) -> None:
        """Check that the folder is not tied to another space or key.

        Raises:
            UsageProblem: it was synced with another space.
            KeyMismatch: it was synced with another key file.
        """
        for name, value in (("space", str(space)), ("key", fingerprint)):
            found = self._meta(name)
            if found is None or found == value:
                continue
            problem, other = (
                (UsageProblem, "another space")
                if name == "space"
                else (KeyMismatch, f"the key file {found}, and this one is {value}")
            )
            raise problem(
                f"this folder was synced with {other}",
                f"use that one, or remove {self.directory} to start anew (no file is lost by that)",
            )

    @property
    def server(self) -> str | None:
        """The server this folder was synced with last; None before that was noted."""
        return self._meta("server")

    def bind_server(self, server: str) -> None:
        """Note the server this folder is synced with."""
        self._set_meta({"server": server})

    @property
    def proves_deletions(self) -> bool:
        """Whether the space holds records of format 2: a tombstone without proof is not believed then."""
        return int(self._meta("space_format") or 1) >= SPACE_FORMAT

    def raise_space_format(self) -> None:
        """Remember that the space holds a record of format 2; never taken back."""
        self._set_meta({"space_format": str(SPACE_FORMAT)})

    @property
    def cursor(self) -> int:
        """Everything up to this cursor was seen; -1 at first, which makes the server show tombstones too."""
        return int(self._meta("cursor") or -1)

    def advance(self, cursor: int) -> None:
        """Remember that everything up to `cursor` was seen."""
        self._set_meta({"cursor": str(cursor)})

    def first_pending(self) -> int | None:
        """The smallest cursor of what is on the server and not here, or None.

        What is of another kind or ignored is left alone, and not asked for again.
        """
        query = (
            "SELECT min(pending_cursor) FROM record"
            " WHERE pending_cursor IS NOT NULL AND pending_reason IS NOT ? AND pending_reason IS NOT ?"
        )
        ((found,),) = self._read(query, (OTHER_KIND, IGNORED))
        return None if found is None else int(found)

    def ignored(self) -> list[Row]:
        """The rows of what is on the server and was ignored when it came."""
        where = "pending_cursor IS NOT NULL AND pending_reason = ?"
        return [
            _row(found) for found in self._read(f"SELECT {_COLUMNS} FROM record WHERE {where}", (IGNORED,))
        ]

    def is_new(self) -> bool:
        """Whether no file was ever agreed on with the server."""
        query = "SELECT 1 FROM record WHERE digest IS NOT NULL LIMIT 1"
        return not self._read(query)

    def get(self, record: UUID) -> Row | None:
        """One row by record id."""
        query = f"SELECT {_COLUMNS} FROM record WHERE id = ?"
        found = self._read(query, (record.bytes,))
        return _row(found[0]) if found else None

    def by_path(self, path: str) -> Row | None:
        """One row by the path of its file."""
        found = self._read(f"SELECT {_COLUMNS} FROM record WHERE path = ? LIMIT 1", (path,))
        return _row(found[0]) if found else None

    def rows(self) -> Iterator[Row]:
        """All rows, by path. The state must not be changed while it is walked."""
        with disk_errors(f"cannot read {self.directory / 'state.db'}"):
            for found in self._database.execute(f"SELECT {_COLUMNS} FROM record ORDER BY path, id"):
                yield _row(found)

    def put(self, rows: Iterable[Row]) -> None:
        """Write rows whole, all or none."""
        marks = ", ".join("?" * len(_COLUMNS.split(",")))
        with self._transaction():
            self._database.executemany(
                f"INSERT OR REPLACE INTO record ({_COLUMNS}) VALUES ({marks})", map(_values, rows)
            )

    def forget(self) -> None:
        """Drop all that was agreed on, and the cursor: the server is not the one it was.

        Files are then told by content. The versions stay: a server cannot bring an older one back by this.
        """
        with self._transaction():
            self._database.execute("DELETE FROM record WHERE version = 0")
            self._database.execute(
                "UPDATE record SET cursor = 0, digest = NULL, size = NULL, mtime_ns = NULL, ctime_ns = NULL,"
                " inode = NULL, noted_ns = NULL, pending_cursor = NULL, pending_reason = NULL, sent = NULL,"
                " content = NULL"
            )
            for statement in FORGET:
                self._database.execute(statement)
            self._database.execute("DELETE FROM meta WHERE name = 'cursor'")

    def new_left_out(self, paths: Iterable[str]) -> set[str]:
        """Remember what is left out now and return what was not the last time."""
        now = {os.fsencode(path) for path in paths}
        former = {path for (path,) in self._read("SELECT path FROM left_out")}
        if now != former:
            with self._transaction():
                self._database.execute("DELETE FROM left_out")
                self._database.executemany("INSERT INTO left_out VALUES (?)", ((path,) for path in now))
        return {os.fsdecode(path) for path in now - former}

    def _meta(self, name: str) -> str | None:
        found = self._read("SELECT value FROM meta WHERE name = ?", (name,))
        return str(found[0][0]) if found else None

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with disk_errors(f"cannot read {self.directory / 'state.db'}"):
            return self._database.execute(query, values).fetchall()

    def _set_meta(self, values: dict[str, str]) -> None:
        with self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # The folder's lock makes this connection the only writer; the transaction makes the write whole.
        with disk_errors(f"cannot write {self.directory / 'state.db'}"), self._database:
            yield


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn a full disk into DiskFull and any other fault of disk or database into FolderError.

    Raises:
        DiskFull: ENOSPC, EDQUOT, or SQLite's word for them.
        FolderError: anything else the disk refuses.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise DiskFull(f"{doing}: no space left on the disk", "nothing was lost; make room") from error
        raise FolderError(f"{doing}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise DiskFull(f"{doing}: no space left on the disk", "nothing was lost; make room") from error
        raise FolderError(f"{doing}: {error}") from error


def _open_database(directory: Path) -> sqlite3.Connection:
    for below in ("tmp", "partial"):
        (directory / below).mkdir(mode=0o700, exist_ok=True)
    for leftover in (directory / "tmp").iterdir():
        leftover.unlink()  # of a command that was killed; the lock says nobody uses it
    # The engine calls from worker threads, one at a time.
    database = sqlite3.connect(directory / "state.db", timeout=5.0, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("PRAGMA synchronous = FULL")
        _bring_up(database, directory)
    except BaseException:
        database.close()
        raise
    return database


def _bring_up(database: sqlite3.Connection, directory: Path) -> None:
    """Make the tables, or change those of former formats, one format at a time."""
    with database:
        database.executescript(_SCHEMA + SCHEMA)
        database.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?)", (FORMAT,))
    (found,) = database.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
    while found in _STEPS:
        with database:
            database.execute("BEGIN")  # a kill leaves the former format or the next one
            for statement in _STEPS[found]:
                database.execute(statement)
            found = str(int(found) + 1)
            database.execute("UPDATE meta SET value = ? WHERE name = 'format'", (found,))
    if found != FORMAT:
        raise UsageProblem(f"{directory} was written by a later version of less-sync", "use that version")


def _row(found: tuple[object, ...]) -> Row:
    record, path, cursor, digest, *stat, pending_cursor, pending_reason, sent, version, content = found
    if not isinstance(record, bytes) or len(record) != _RECORD_BYTES or not isinstance(cursor, int):
        raise FolderError("the state of this folder is damaged", "bind the files to a new folder")
    base: Remote
    if cursor == 0:
        base = Absent()
    elif isinstance(digest, bytes):
        base = Content(digest, cursor)
    else:
        base = Tombstone(cursor)
    numbers = [number for number in stat if isinstance(number, int)]
    return Row(
        record=UUID(bytes=record),
        path=path if isinstance(path, str) else None,
        base=base,
        stamp=Stamp(*numbers) if len(numbers) == len(stat) else None,
        pending_cursor=pending_cursor if isinstance(pending_cursor, int) else None,
        pending_reason=pending_reason if isinstance(pending_reason, str) else "",
        sent=sent if isinstance(sent, bytes) else None,
        version=version if isinstance(version, int) else 0,
        content=UUID(bytes=content) if isinstance(content, bytes) else None,
    )


def _values(row: Row) -> tuple[object, ...]:
    stamp = row.stamp
    stat = (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.noted_ns) if stamp else (None,) * 5
    digest = row.base.digest if isinstance(row.base, Content) else None
    cursor = 0 if isinstance(row.base, Absent) else row.base.cursor
    pending = (row.pending_cursor, row.pending_reason or None)
    content = row.content.bytes if row.content is not None else None
    return (row.record.bytes, row.path, cursor, digest, *stat, *pending, row.sent, row.version, content)
