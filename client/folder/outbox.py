"""Changes out: what this folder has and the server has not, sealed a frame at a time. No network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from less_sync.client.folder.changes import Change, Changes, is_for_storage
from less_sync.client.folder.crypto import SealedFile
from less_sync.client.folder.local import LocalSide, settled
from less_sync.client.folder.plaintext import FileKind, PlainFile, Pointer
from less_sync.client.folder.plan import Content, Tombstone
from less_sync.client.folder.report import Amount, Event, Kind
from less_sync.client.folder.scan import is_unchanged, stamp_of
from less_sync.client.folder.transfers import KnownContent


@dataclass(frozen=True, slots=True)
class Ready:
    """A change and the record that says it.

    Args:
        content: of a large file, its content record.
        freed: the content record that nothing points to after this; it is deleted in the same push.
    """

    change: Change
    sealed: SealedFile
    content: UUID | None = None
    freed: KnownContent | None = None

    @property
    def changes(self) -> int:
        """How many changes of a push it is."""
        return 1 if self.freed is None else 2


@dataclass(frozen=True, slots=True)
class Survey:
    """How much there is to push, and whether a file may have to go to file storage."""

    amount: Amount
    may_have_large: bool


class Outbox:
    """See the module. The changes are those of the side's last scan.

    Args:
        above_bytes: content of more than this goes to file storage, if the server has one.
    """

    def __init__(self, side: LocalSide, *, above_bytes: int) -> None:
        self._side = side
        self._above_bytes = above_bytes
        self._held: Ready | None = None
        self.no_storage: str | None = "the server has no file storage"
        """Why file storage cannot be used; None when it can. To be told before changes are walked."""

    def changes(self) -> Changes:
        """What this folder has and the server has not: begin a pass."""
        self._held = None
        return Changes(self._side, above_bytes=self._above_bytes, no_storage=self.no_storage)

    def survey(self) -> Survey:
        """About what there is to push, by stat alone."""
        rows = [row for row in self._side.rows().values() if isinstance(row.base, Content)]
        stamps = {row.path: None if self._side.is_to_be_pushed_again(row) else row.stamp for row in rows}
        files = self._side.scan.files
        sizes = {
            path: found.stat.size
            for path, found in files.items()
            if not is_unchanged(stamps.get(path), found.stat)
        }
        gone = sum(path not in files for path in stamps)
        may_have_large = any(is_for_storage(path, size, self._above_bytes) for path, size in sizes.items())
        return Survey(Amount(len(sizes) + gone, sum(sizes.values())), may_have_large)

    def next_batch(
        self,
        changes: Iterator[Change],
        *,
        epoch: int,
        bytes_max: int,
        overhead_bytes: int,
        changes_max: int,
    ) -> list[Ready]:
        """The next changes that fit into a frame, sealed; empty at the end. None of them is a large file.

        Args:
            overhead_bytes: what each change takes beside its blob and DEK.
        """
        batch: list[Ready] = []
        size_bytes = number = 0
        while number < changes_max:
            ready = self._held or self._sealed(next(changes, None), epoch)
            self._held = None
            if ready is None:
                break
            size_bytes += overhead_bytes * ready.changes + len(ready.sealed.blob) + len(ready.sealed.dek)
            number += ready.changes
            if batch and (size_bytes > bytes_max or number > changes_max):
                self._held = ready
                break
            batch.append(ready)
        return batch

    def _sealed(self, change: Change | None, epoch: int) -> Ready | None:
        return None if change is None else self.seal(change, epoch=epoch)

    def seal(self, change: Change, *, epoch: int, content: UUID | None = None) -> Ready:
        """Encrypt what one change says; `content` is the content record of a large file."""
        kind, pointer = FileKind.FILE, None
        if change.stat is None:
            kind = FileKind.DELETED
        elif content is not None:
            kind, pointer = FileKind.LARGE, Pointer(change.stat.size, change.digest, content)
        plain = PlainFile(change.path, change.mtime_ns, change.content or b"", kind, change.version, pointer)
        sealed = self._side.cipher.seal(change.row.record, plain, epoch=epoch)
        former = change.row.content
        freed = None if former is None or former == content else self._side.content(former)
        return Ready(change, sealed, content, freed)

    def mark_sent(self, batch: Iterable[Ready]) -> None:
        """Remember what is about to be pushed, before it is."""
        for ready in batch:
            self._side.note(replace(ready.change.row, sent=ready.change.digest))
        self._side.flush()

    def acknowledge(self, batch: Iterable[Ready], cursor: int) -> None:
        """The server has taken the batch at this cursor. It is remembered at the next flush."""
        for ready in batch:
            change = ready.change
            if ready.content is not None:
                self._side.state.transfers.end_upload(ready.content)
            if ready.freed is not None:
                self._side.forget_content(ready.freed.record)
            deleted = change.stat is None
            base = Tombstone(cursor) if deleted else Content(change.digest, cursor)
            stamp = stamp_of(change.stat, change.noted_ns) if change.stat else None
            row = settled(change.row)
            row = replace(row, base=base, stamp=stamp, version=change.version, content=ready.content)
            self._side.note(row)
            kind = Kind.DELETED_THERE if deleted else Kind.PUSHED
            self._side.tell(Event(kind, change.path, size_bytes=change.size_bytes))
        if not self._side.state.proves_deletions:
            self._side.state.raise_space_format()
