"""One folder and its state as a replica of a space: takes records in, gives changes out. No network.

Blocking, one call at a time. Order of writes, always: the disk first, the state after it. State rows are
gathered and written in groups; whatever a kill cuts off is recognised by content at the next pull.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from less_sync.client.folder.crypto import (
    ForeignRecord,
    PlainFile,
    RecordCipher,
    SealedFile,
    Undecryptable,
    content_bytes_max,
)
from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.files import ChangedMeanwhile, FileStat, FileTree, Obstacle
from less_sync.client.folder.paths import conflict_path, path_problem
from less_sync.client.folder.plan import (
    Absent,
    Action,
    Content,
    DeleteHere,
    Download,
    KeepBoth,
    Local,
    Note,
    Nothing,
    Tombstone,
    Upload,
    UploadDeletion,
    decide,
)
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.scan import Found, Scan, is_fresh, is_unchanged, scan_folder, stamp_of, too_large
from less_sync.client.folder.state import FolderState, Row

_ATTEMPTS: Final = 3
_ROWS_GATHERED: Final = 64
NOT_PULLED: Final = "it changed on both sides; `pull` keeps both versions"
NOT_DECRYPTABLE: Final = "the key file does not decrypt it"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as the server gave it."""

    record: UUID
    cursor: int
    sealed: SealedFile | None = field(repr=False)
    """None for a tombstone."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something to push. `content` None is a deletion."""

    row: Row
    path: str
    expected_cursor: int
    mtime_ns: int = 0
    content: bytes | None = field(default=None, repr=False)
    digest: bytes = b""
    stat: FileStat | None = None
    noted_ns: int = 0


@dataclass(frozen=True, slots=True)
class _Here:
    """The file of a path, as it is now."""

    raw: str
    local: Local
    stat: FileStat | None = None
    noted_ns: int = 0


@dataclass(slots=True)
class PullCount:
    """What one pull met, to tell a wrong key file from a stray record."""

    opened: int = 0
    undecryptable: list[UUID] = field(default_factory=list)
    in_the_way: int = 0


class Replica:
    """See the module. `tell` receives what happened to files; `now` names conflict copies."""

    def __init__(
        self,
        root: Path,
        state: FolderState,
        tree: FileTree,
        cipher: RecordCipher,
        *,
        tell: Callable[[Event], None],
        now: Callable[[], datetime],
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.root = root
        self.state = state
        self.scan = Scan()
        self._tree = tree
        self._cipher = cipher
        self._tell = tell
        self._now = now
        self._wall_ns = wall_ns
        self._gathered: dict[UUID, Row] = {}

    def rescan(self, *, tell: bool = True) -> Scan:
        """Walk the folder anew and name what is skipped, unless `tell` is off.

        Raises:
            FolderError: the folder is not the one that was opened: moved, or its disk unmounted. Its files
                must not be taken for deleted.
        """
        if not self._tree.is_still_at(self.root):
            raise FolderError(f"{self.root} was moved or unmounted", "nothing was changed on the server")
        self.scan = scan_folder(self.root)
        for path, reason in sorted(self.scan.skipped.items()) if tell else ():
            self._tell(Event(Kind.SKIPPED, path, reason))
        return self.scan

    def differs_from(self, former: Mapping[str, Found]) -> bool:
        """Whether the last scan found anything that `former` did not, or a file too fresh to be sure of."""
        files = self.scan.files
        return files != former or any(is_fresh(found.stat, self._wall_ns()) for found in files.values())

    # Records in.

    def receive(self, incoming: Incoming, *, apply: bool, count: PullCount) -> None:
        """Take one record in: bring the folder into agreement, or, with `apply` off, only note it.

        Raises:
            DiskFull: no space; the record will come again.
        """
        row = self._row(incoming.record) or Row(incoming.record, None, Absent())
        if not isinstance(row.base, Absent) and incoming.cursor <= row.base.cursor:
            return
        if incoming.sealed is None:
            tombstone = Tombstone(incoming.cursor)
            if row.path is None:
                self._note(replace(_settled(row), base=tombstone))
            else:
                self._settle(row, row.path, tombstone, None, apply=apply, count=count)
            return
        file = self._open(row, incoming, count)
        if file is not None:
            content = Content(hashlib.sha256(file.content).digest(), incoming.cursor)
            self._settle(replace(row, path=file.path), file.path, content, file, apply=apply, count=count)

    def _open(self, row: Row, incoming: Incoming, count: PullCount) -> PlainFile | None:
        assert incoming.sealed is not None
        try:
            file = self._cipher.open(incoming.record, incoming.sealed)
        except Undecryptable:
            count.undecryptable.append(incoming.record)
            self._note(replace(row, pending_cursor=incoming.cursor, pending_reason=NOT_DECRYPTABLE))
            return None
        except ForeignRecord:
            count.opened += 1
            self._postpone(row, incoming.cursor, "a record of another kind or a later version")
            return None
        count.opened += 1
        problem = path_problem(file.path)
        if problem is None and self._cipher.record_id(file.path) != incoming.record:
            problem = "its record belongs to another path"
        if problem is not None:
            self._postpone(row, incoming.cursor, problem, name=file.path)
            return None
        return file

    def _settle(
        self,
        row: Row,
        path: str,
        remote: Content | Tombstone,
        file: PlainFile | None,
        *,
        apply: bool,
        count: PullCount,
    ) -> None:
        """Decide and act, looking again when the file changes under our hands."""
        reason = "it keeps changing while it is being replaced"
        for _ in range(_ATTEMPTS):
            try:
                here = self._here(path, row)
                known = remote if _was_ours(row, remote) else row.base
                action = decide(local=here.local, known=known, remote=remote)
                if not apply and isinstance(action, Download | DeleteHere | KeepBoth):
                    self._note(replace(row, pending_cursor=remote.cursor, pending_reason=NOT_PULLED))
                    return
                self._act(action, row, here, remote, file)
                return
            except ChangedMeanwhile:
                continue
            except Obstacle as obstacle:
                if obstacle.replaced and isinstance(remote, Tombstone):
                    self._note(replace(_settled(row), base=remote))
                    return
                reason = str(obstacle)
                count.in_the_way += obstacle.replaced
                break
        self._postpone(row, remote.cursor, reason)

    def _act(
        self, action: Action, row: Row, here: _Here, remote: Content | Tombstone, file: PlainFile | None
    ) -> None:
        agreed = replace(_settled(row), base=remote)
        path = row.path or ""
        match action:
            case Nothing() | Note() | Upload() | UploadDeletion():
                same = isinstance(remote, Content) and here.local == Content(remote.digest)
                stamp = stamp_of(here.stat, here.noted_ns) if same and here.stat else None
                self._note(replace(agreed, stamp=stamp))
                return
            case DeleteHere():
                assert here.stat is not None
                self._tree.delete(here.raw, expected=here.stat)
                self._note(agreed)
                self._tell(Event(Kind.DELETED_HERE, path))
                return
            case KeepBoth():
                self._set_aside(path, here)
                here = _Here(here.raw, Absent())
            case Download():
                pass
        assert file is not None
        noted_ns = self._wall_ns()
        written = self._tree.write(here.raw, file.content, mtime_ns=file.mtime_ns, expected=here.stat)
        self._note(replace(agreed, stamp=stamp_of(written, noted_ns)))
        self._tell(Event(Kind.PULLED, path, size_bytes=len(file.content)))

    def _set_aside(self, path: str, here: _Here) -> None:
        """Rename the edit that lost. A kill right after it leaves the name free, and the pull fills it."""
        assert here.stat is not None
        at = self._now()
        for attempt in range(1, 1000):
            copy = conflict_path(path, at, attempt)
            raw = conflict_path(here.raw, at, attempt)
            try:
                if self._tree.stat(raw) is not None or self._row(self._cipher.record_id(copy)) is not None:
                    continue
            except Obstacle:
                continue
            self._tree.rename(here.raw, raw, expected=here.stat)
            self._tell(Event(Kind.CONFLICT, path, copy))
            return
        raise Obstacle("too many conflict copies within one second")

    def name_undecryptable(self, count: PullCount) -> None:
        """Tell which records a pull could not decrypt, by path where that is known."""
        for record in count.undecryptable:
            row = self._row(record)
            path = row.path if row is not None and row.path else f"record {record}"
            self._tell(Event(Kind.UNDECRYPTABLE, path, NOT_DECRYPTABLE))

    # Changes out.

    def changes(self) -> Iterator[Change]:
        """Yield what this folder has and the server has not, by path, deletions last. Uses the last scan.

        The state may be written while this is walked.
        """
        rows = {row.record: row for row in self.state.rows()} | self._gathered
        for path in sorted(self.scan.files):
            record = self._cipher.record_id(path)
            change = self._changed(path, rows.pop(record, Row(record, path, Absent())))
            if change is not None:
                yield change
        for row in sorted(rows.values(), key=lambda row: row.path or ""):
            path = row.path or ""
            base = row.base
            if not isinstance(base, Content) or row.pending_cursor is not None or self.scan.covers(path):
                continue
            try:
                gone = self._tree.stat(self._raw(path)) is None
            except Obstacle as obstacle:
                gone = obstacle.replaced
            if gone:
                yield Change(row, path, base.cursor)

    def count_changed(self) -> int:
        """About how many changes there are, by stat alone."""
        stamps = {row.path: row.stamp for row in self.state.rows() if isinstance(row.base, Content)}
        files = self.scan.files
        changed = sum(not is_unchanged(stamps.get(path), found.stat) for path, found in files.items())
        return changed + sum(path not in files for path in stamps)

    def _changed(self, path: str, row: Row) -> Change | None:
        found = self.scan.files[path]
        base = row.base
        if isinstance(base, Content) and is_unchanged(row.stamp, found.stat):
            return None
        noted_ns = self._wall_ns()
        try:
            stat, content = self._tree.read(found.raw, content_bytes_max(path))
        except ChangedMeanwhile:
            self._tell(Event(Kind.SKIPPED, path, "it is being written"))
            return None
        except Obstacle as obstacle:
            self._tell(Event(Kind.SKIPPED, path, str(obstacle)))
            return None
        digest = hashlib.sha256(content).digest()
        if isinstance(base, Content) and base.digest == digest:
            self._note(replace(row, stamp=stamp_of(stat, noted_ns)))
            return None
        if row.pending_cursor is not None:
            self._tell(Event(Kind.SKIPPED, path, row.pending_reason))
            return None
        action = decide(local=Content(digest), known=base, remote=base)
        assert isinstance(action, Upload)
        return Change(
            row=replace(row, path=path),
            path=path,
            expected_cursor=action.expected_cursor,
            mtime_ns=stat.mtime_ns,
            content=content,
            digest=digest,
            stat=stat,
            noted_ns=noted_ns,
        )

    def seal(self, change: Change, *, epoch: int) -> SealedFile | None:
        """Encrypt one change; None for a deletion."""
        if change.content is None:
            return None
        file = PlainFile(change.path, change.mtime_ns, change.content)
        return self._cipher.seal(change.row.record, file, epoch=epoch)

    def mark_sent(self, batch: list[Change]) -> None:
        """Remember what is about to be pushed, before it is."""
        for change in batch:
            self._note(replace(change.row, sent=change.digest))
        self.flush()

    def acknowledge(self, batch: list[Change], cursor: int) -> None:
        """The server has taken the batch at this cursor."""
        for change in batch:
            base = Tombstone(cursor) if change.content is None else Content(change.digest, cursor)
            stamp = stamp_of(change.stat, change.noted_ns) if change.stat else None
            self._note(replace(_settled(change.row), base=base, stamp=stamp))
            if change.content is None:
                self._tell(Event(Kind.DELETED_THERE, change.path))
            else:
                self._tell(Event(Kind.PUSHED, change.path, size_bytes=len(change.content)))
        self.flush()

    # State.

    def flush(self) -> None:
        """Write the gathered rows in one transaction."""
        if self._gathered:
            self.state.put(self._gathered.values())
            self._gathered.clear()

    def discard(self) -> None:
        """Drop gathered rows: what they say is to be found out again."""
        self._gathered.clear()

    def _row(self, record: UUID) -> Row | None:
        return self._gathered.get(record) or self.state.get(record)

    def _note(self, row: Row) -> None:
        self._gathered[row.record] = row
        if len(self._gathered) >= _ROWS_GATHERED:
            self.flush()

    def _postpone(self, row: Row, cursor: int, reason: str, *, name: str = "") -> None:
        self._note(replace(row, pending_cursor=cursor, pending_reason=reason))
        self._tell(Event(Kind.SKIPPED, row.path or name or f"record {row.record}", reason))

    def _raw(self, path: str) -> str:
        found = self.scan.files.get(path)
        return found.raw if found is not None else path

    def _here(self, path: str, row: Row) -> _Here:
        """The file of a path, read unless its stat tells enough.

        Raises:
            Obstacle: it cannot be compared: too large, in the way, or another file under this disk's rules.
            ChangedMeanwhile: it changed while it was read.
        """
        raw = self._raw(path)
        noted_ns = self._wall_ns()
        found = self._tree.stat(raw)
        if found is None:
            return _Here(raw, Absent())
        if path not in self.scan.files and not self._tree.is_spelled_so(raw):
            raise Obstacle("another file here has this name but for case or form")
        if isinstance(row.base, Content) and is_unchanged(row.stamp, found):
            assert row.stamp is not None
            return _Here(raw, Content(row.base.digest), found, row.stamp.noted_ns)
        if found.size > content_bytes_max(path):
            raise Obstacle(f"the file here is {too_large(path, found.size)}")
        stat, content = self._tree.read(raw, content_bytes_max(path))
        return _Here(raw, Content(hashlib.sha256(content).digest()), stat, noted_ns)


def _settled(row: Row) -> Row:
    """The row without what was pending or under way."""
    return replace(row, stamp=None, pending_cursor=None, pending_reason="", sent=None)


def _was_ours(row: Row, remote: Content | Tombstone) -> bool:
    """Whether the server's version is what this folder pushed without hearing the answer."""
    if isinstance(remote, Content):
        return row.sent == remote.digest
    return row.sent == b""
