"""What this folder has and the server has not, by the last scan. No network; nothing is sealed yet."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from less_sync.client.folder.crypto import content_bytes_max
from less_sync.client.folder.hashing import Hashed, hash_file
from less_sync.client.folder.local import OLDER, UNPROVEN, LocalSide
from less_sync.client.folder.plaintext import VERSION_MAX
from less_sync.client.folder.plan import Absent, Content, Tombstone
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.scan import Found, is_unchanged, stamp_of
from less_sync.client.folder.state import OTHER_KIND, Row
from less_sync.client.folder.walk import ChangedMeanwhile, FileStat, Obstacle

FILE_STORAGE_ABOVE_BYTES: Final = 256 * 1024
"""Content of more than this goes to file storage, unless it is said otherwise."""

_READS_MAX: Final = 3
_READ_PAUSE_S: Final = 0.02


def is_for_storage(path: str, size_bytes: int, above_bytes: int) -> bool:
    """Whether a file goes to file storage, if there is one: it is larger than `above_bytes`, or no record
    can hold it."""
    return size_bytes > min(above_bytes, content_bytes_max(path))


@dataclass(frozen=True, slots=True)
class Change:
    """Something to push: a file whose content goes into its record, a large one, or else a deletion.

    Of a deletion, `mtime_ns` is when it was made.
    """

    row: Row
    path: str
    expected_cursor: int
    mtime_ns: int
    content: bytes | None = field(default=None, repr=False)
    large: Hashed | None = None
    digest: bytes = b""
    stat: FileStat | None = None
    noted_ns: int = 0

    @property
    def version(self) -> int:
        """What the record will say: one more than was ever seen of it."""
        return min(self.row.version + 1, VERSION_MAX)

    @property
    def size_bytes(self) -> int | None:
        """Of the file; None for a deletion."""
        return None if self.stat is None else self.stat.size


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read. `content` is None for a large one."""

    now: Hashed
    content: bytes | None = field(default=None, repr=False)


class Changes:
    """See the module. Of one pass: files first, large ones after them, deletions last.

    So nothing is gone on the server while its new name is still on the way. The state may be written while
    they are walked.

    Args:
        above_bytes: content of more than this goes to file storage.
        no_storage: why there is none to use; then records hold what fits into them.
    """

    def __init__(self, side: LocalSide, *, above_bytes: int, no_storage: str | None) -> None:
        self._side = side
        self._above_bytes = above_bytes
        self._no_storage = no_storage
        self.wanted: set[bytes] = set()
        """Digests of the large files that were met and that the server is to have."""
        self.is_whole = True
        """Whether `wanted` has all of them: False once one was passed over for want of a storage."""
        rows, files = side.rows(), side.scan.files
        present: dict[str, Row] = {}
        for path in sorted(files):
            record = side.cipher.record_id(path)
            present[path] = rows.pop(record) if record in rows else self._new_row(record, path)
        large = {path for path in present if self._is_large(path, files[path].stat.size)}
        self.small = self._changed_files((path, row) for path, row in present.items() if path not in large)
        self.large = self._changed_files((path, row) for path, row in present.items() if path in large)
        self.deletions = self._deleted_files(rows)

    def __iter__(self) -> Iterator[Change]:
        yield from self.small
        yield from self.large
        yield from self.deletions

    def _new_row(self, record: UUID, path: str) -> Row:
        taken = self._side.content(record)
        if taken is None:
            return Row(record, path, Absent())
        # A content record in the place of a path: no release writes that (`intake.py`).
        return Row(record, path, Absent(), pending_cursor=taken.cursor, pending_reason=OTHER_KIND)

    def next_large(self) -> Change | None:
        """The next large file; None at the end."""
        return next(self.large, None)

    def look_again(self, change: Change) -> Change | None:
        """A file that changed after it was read, as it is now; None when there is nothing to push."""
        self.wanted.discard(change.digest)
        return self._changed(change.path, change.row)

    def _is_large(self, path: str, size_bytes: int) -> bool:
        if self._no_storage is not None:
            return size_bytes > content_bytes_max(path)
        return is_for_storage(path, size_bytes, self._above_bytes)

    def _changed_files(self, present: Iterable[tuple[str, Row]]) -> Iterator[Change]:
        for path, row in present:
            change = self._changed(path, row)
            if change is not None:
                yield change

    def _deleted_files(self, rows: Mapping[UUID, Row]) -> Iterator[Change]:
        for row in sorted(rows.values(), key=lambda row: row.path or ""):
            change = self._deleted(row)
            if change is not None:
                yield change

    def _changed(self, path: str, row: Row) -> Change | None:
        side, base = self._side, row.base
        found = side.scan.files[path]
        again = side.is_to_be_pushed_again(row)
        if isinstance(base, Content) and is_unchanged(row.stamp, found.stat) and not again:
            return None
        noted_ns = side.wall_ns()
        read = self._read(path, found)
        if read is None:
            return None
        stat, digest, content = read.now.stat, read.now.digest, read.content
        secret = side.own.is_in(read.now.start if content is None else content)
        if secret is not None:
            side.tell(Event(Kind.SKIPPED, path, secret))
            return None
        if isinstance(base, Content) and base.digest == digest and not again:
            side.note(replace(row, stamp=stamp_of(stat, noted_ns)))
            return None
        large = read.now if content is None else None
        if large is not None:
            self.wanted.add(digest)
        if row.pending_cursor is None:
            expected_cursor = 0 if isinstance(base, Absent) else base.cursor
        elif again or row.pending_reason == UNPROVEN:
            expected_cursor = row.pending_cursor  # over what the server shows: ours is newer
        else:
            side.tell(Event(Kind.SKIPPED, path, row.pending_reason))
            return None
        row = replace(row, path=path)
        return Change(row, path, expected_cursor, stat.mtime_ns, content, large, digest, stat, noted_ns)

    def _read(self, path: str, found: Found) -> _Read | None:
        """What a file is now; None, and told why, when it cannot be had. One that is gone is not told."""
        side, reason = self._side, "it is being written"
        for attempt in range(_READS_MAX):
            try:
                if not self._is_large(path, found.stat.size):
                    stat, content = side.tree.read(found.raw, content_bytes_max(path))
                    return _Read(Hashed(stat, hashlib.sha256(content).digest()), content)
                if self._no_storage is None:
                    return _Read(hash_file(side.tree, found.raw, by_chunk=True))
                self.is_whole = False
                raise Obstacle(f"too large for a record: {found.stat.size:,} bytes, and {self._no_storage}")
            except ChangedMeanwhile:
                if attempt + 1 < _READS_MAX:
                    time.sleep(_READ_PAUSE_S)  # most writes are over in a moment
            except Obstacle as obstacle:
                reason = str(obstacle)
                break
        with suppress(Obstacle):
            if side.tree.stat(found.raw) is None:
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
