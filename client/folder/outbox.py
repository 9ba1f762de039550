"""Changes out: what this folder has and the server has not, sealed a frame at a time. No network."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from less_sync.client.folder.crypto import SealedFile, content_bytes_max
from less_sync.client.folder.local import OLDER, UNPROVEN, LocalSide, settled
from less_sync.client.folder.plaintext import VERSION_MAX, FileKind, PlainFile
from less_sync.client.folder.plan import Absent, Content, Tombstone, Upload, decide
from less_sync.client.folder.report import Amount, Event, Kind
from less_sync.client.folder.scan import is_unchanged, stamp_of
from less_sync.client.folder.state import Row
from less_sync.client.folder.walk import ChangedMeanwhile, FileStat, Obstacle

_READS_MAX: Final = 3
_READ_PAUSE_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Change:
    """Something to push. `content` None is a deletion, and `mtime_ns` then its time."""

    row: Row
    path: str
    expected_cursor: int
    mtime_ns: int
    content: bytes | None = field(default=None, repr=False)
    digest: bytes = b""
    stat: FileStat | None = None
    noted_ns: int = 0

    @property
    def version(self) -> int:
        """What the record will say: one more than was ever seen of it."""
        return min(self.row.version + 1, VERSION_MAX)


@dataclass(frozen=True, slots=True)
class Ready:
    """A change and the record that says it."""

    change: Change
    sealed: SealedFile


class Outbox:
    """See the module. The changes are those of the side's last scan."""

    def __init__(self, side: LocalSide) -> None:
        self._side = side
        self._changes: Iterator[Change] = iter(())
        self._held: Ready | None = None

    def start(self) -> None:
        """Begin to go through the changes."""
        self._changes, self._held = self.changes(), None

    def next_batch(self, *, epoch: int, bytes_max: int, overhead_bytes: int, changes_max: int) -> list[Ready]:
        """The next changes that fit into a frame, sealed; empty at the end.

        Args:
            overhead_bytes: what each change takes beside its blob and DEK.
        """
        batch: list[Ready] = []
        size_bytes = 0
        while len(batch) < changes_max:
            ready = self._held or self._sealed(next(self._changes, None), epoch)
            self._held = None
            if ready is None:
                break
            size_bytes += overhead_bytes + len(ready.sealed.blob) + len(ready.sealed.dek)
            if batch and size_bytes > bytes_max:
                self._held = ready
                break
            batch.append(ready)
        return batch

    def _sealed(self, change: Change | None, epoch: int) -> Ready | None:
        return None if change is None else Ready(change, self.seal(change, epoch=epoch))

    def seal(self, change: Change, *, epoch: int) -> SealedFile:
        """Encrypt one change."""
        kind = FileKind.DELETED if change.content is None else FileKind.FILE
        file = PlainFile(change.path, change.mtime_ns, change.content or b"", kind, change.version)
        return self._side.cipher.seal(change.row.record, file, epoch=epoch)

    def amount(self) -> Amount:
        """About how much there is to push, by stat alone."""
        stamps = {row.path: row.stamp for row in self._side.rows().values() if isinstance(row.base, Content)}
        files = self._side.scan.files
        sizes = [
            found.stat.size for path, found in files.items() if not is_unchanged(stamps.get(path), found.stat)
        ]
        return Amount(len(sizes) + sum(path not in files for path in stamps), sum(sizes))

    def changes(self) -> Iterator[Change]:
        """Yield what this folder has and the server has not, by path, deletions last.

        The state may be written while this is walked.
        """
        rows = self._side.rows()
        for path in sorted(self._side.scan.files):
            record = self._side.cipher.record_id(path)
            change = self._changed(path, rows.pop(record, Row(record, path, Absent())))
            if change is not None:
                yield change
        for row in sorted(rows.values(), key=lambda row: row.path or ""):
            change = self._deleted(row)
            if change is not None:
                yield change

    def _changed(self, path: str, row: Row) -> Change | None:
        side, base = self._side, row.base
        found = side.scan.files[path]
        again = row.pending_reason == OLDER
        if isinstance(base, Content) and is_unchanged(row.stamp, found.stat) and not again:
            return None
        noted_ns = side.wall_ns()
        read = self._read(path, found.raw)
        if read is None:
            return None
        stat, content = read
        secret = side.own.is_in(content)
        if secret is not None:
            side.tell(Event(Kind.SKIPPED, path, secret))
            return None
        digest = hashlib.sha256(content).digest()
        if isinstance(base, Content) and base.digest == digest and not again:
            side.note(replace(row, stamp=stamp_of(stat, noted_ns)))
            return None
        if row.pending_cursor is None:
            action = decide(local=Content(digest), known=base, remote=base)
            assert isinstance(action, Upload)
            expected_cursor = action.expected_cursor
        elif again or row.pending_reason == UNPROVEN:
            expected_cursor = row.pending_cursor  # over what the server shows: ours is newer
        else:
            side.tell(Event(Kind.SKIPPED, path, row.pending_reason))
            return None
        row = replace(row, path=path)
        return Change(row, path, expected_cursor, stat.mtime_ns, content, digest, stat, noted_ns)

    def _read(self, path: str, raw: str) -> tuple[FileStat, bytes] | None:
        """A file's content; None, and told why, when it cannot be had. One that is gone again is not told."""
        side, reason = self._side, "it is being written"
        for attempt in range(_READS_MAX):
            try:
                return side.tree.read(raw, content_bytes_max(path))
            except ChangedMeanwhile:
                if attempt + 1 < _READS_MAX:
                    time.sleep(_READ_PAUSE_S)  # most writes are over in a moment
            except Obstacle as obstacle:
                reason = str(obstacle)
                break
        with suppress(Obstacle):
            if side.tree.stat(raw) is None:
                return None
        side.tell(Event(Kind.SKIPPED, path, reason))
        return None

    def _deleted(self, row: Row) -> Change | None:
        side, path = self._side, row.path or ""
        if not path or side.scan.covers(path):
            return None
        match row.base:
            case Content(cursor=cursor) if row.pending_cursor is None:
                expected_cursor = cursor
            case Content() if row.pending_cursor is not None and row.pending_reason in (OLDER, UNPROVEN):
                expected_cursor = row.pending_cursor
            case Tombstone() if row.pending_cursor is not None and row.pending_reason == OLDER:
                expected_cursor = row.pending_cursor
            case _:
                return None
        try:
            gone = side.tree.stat(side.raw(path)) is None
        except Obstacle as obstacle:
            gone = obstacle.replaced
        return Change(row, path, expected_cursor, side.wall_ns()) if gone else None

    def mark_sent(self, batch: Iterable[Ready]) -> None:
        """Remember what is about to be pushed, before it is."""
        for ready in batch:
            self._side.note(replace(ready.change.row, sent=ready.change.digest))
        self._side.flush()

    def acknowledge(self, batch: Iterable[Ready], cursor: int) -> None:
        """The server has taken the batch at this cursor. It is remembered at the next flush."""
        for ready in batch:
            change = ready.change
            base = Tombstone(cursor) if change.content is None else Content(change.digest, cursor)
            stamp = stamp_of(change.stat, change.noted_ns) if change.stat else None
            self._side.note(replace(settled(change.row), base=base, stamp=stamp, version=change.version))
            if change.content is None:
                self._side.tell(Event(Kind.DELETED_THERE, change.path))
            else:
                self._side.tell(Event(Kind.PUSHED, change.path, size_bytes=len(change.content)))
        if not self._side.state.proves_deletions:
            self._side.state.raise_space_format()
