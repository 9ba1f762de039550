"""What was missed of a space, read from its rows, as notifications (docs/scaling.md 3.3).

Rows are as they are now: of a record that was written twice the later state alone, at its later cursor. A
run of records becomes one `sync` from the cursor before the run to the one before what follows, so that a
client at the former applies it and is where the next notification begins. Members and files stand between
runs, as they would have come: whoever does not take cursors from these finds by the next `sync` that it must
pull.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from less_sync.storage import FILE, MEMBER, PullRow, SpaceNews
from less_sync.sync.live.broker import Build
from less_sync.sync.protocol.messages import FileChange, MemberEntry, SyncRecord
from less_sync.sync.protocol.notifications import (
    catch_up_notification,
    file_notification,
    membership_notification,
    pull_notification,
    records_notification,
)

NOTICES_MAX: Final = 16
"""Beyond it everybody is told to pull: a session has room for few frames that it does not read at once."""


class Told(NamedTuple):
    """One notification, and the cursor to which it brings its subscribers."""

    cursor: int
    build: Build


def caught_up(news: SpaceNews, above: int, up_to: int, *, frame_bytes_max: int) -> list[Told]:
    """What tells of everything above one cursor up to another, in order.

    Args:
        news: what was read between the two.
    """
    if news.entries is None:
        return [_pull(news, up_to)]
    told = list(_Telling(news, above, frame_bytes_max).tell(news.entries, up_to))
    return told if len(told) <= NOTICES_MAX else [_pull(news, up_to)]


def pull(cursor: int, key_generation: int, rewrap_epoch: int | None) -> Build:
    """Something happened that is not shown: pull."""
    return lambda text: pull_notification(
        text, cursor=cursor, key_generation=key_generation, rewrap_epoch=rewrap_epoch
    )


def _pull(news: SpaceNews, cursor: int) -> Told:
    return Told(cursor, pull(cursor, news.key_generation, news.rewrap_epoch))


@dataclass(slots=True)
class _Telling:
    news: SpaceNews
    prev: int
    """Up to where it has been told."""
    frame_bytes_max: int
    records: list[SyncRecord] = field(default_factory=list)
    """The run that is being gathered."""
    files: list[FileChange] = field(default_factory=list)
    """Those at one cursor."""
    files_at: int = -1

    def tell(self, entries: Sequence[PullRow], up_to: int) -> Iterator[Told]:
        for entry in entries:
            kind, cursor = entry[0], entry[1]
            if self.files and (kind != FILE or cursor != self.files_at):
                yield self._end_files()
            if kind == MEMBER:
                yield from self._end_run(cursor - 1)
                yield self._member(entry)
            elif kind == FILE:
                if not self.files:
                    # Files of a push stand at its own cursor, behind its records.
                    same = bool(self.records) and self.records[-1].cursor == cursor
                    yield from self._end_run(cursor if same else cursor - 1)
                self._gather_file(entry)
            else:
                self._gather_record(entry)
        if self.files:
            yield self._end_files()
        if self.records:
            yield from self._end_run(up_to)
        elif self.prev < up_to:
            # What was written there has been written again since, or is gone.
            yield Told(up_to, self._behind(up_to))

    def _gather_record(self, entry: PullRow) -> None:
        _, cursor, record, blob, dek, _, _, _, deleted = entry
        self.records.append(SyncRecord(id=str(record), blob=blob, cursor=cursor, dek=dek, deleted=deleted))

    def _gather_file(self, entry: PullRow) -> None:
        _, cursor, file, _, dek, _, record, size, deleted = entry
        self.files_at = cursor
        change = FileChange(id=str(file), record_id=str(record), size=size or 0, dek=dek)
        if deleted:
            change = FileChange(id=str(file), record_id=str(record), deleted=True)
        self.files.append(change)

    def _end_run(self, cursor: int) -> Iterator[Told]:
        if not self.records:
            return
        news, prev, records, frame_bytes_max = self.news, self.prev, self.records, self.frame_bytes_max
        self.records, self.prev = [], cursor
        yield Told(
            cursor,
            lambda text: records_notification(
                text,
                prev=prev,
                cursor=cursor,
                key_generation=news.key_generation,
                rewrap_epoch=news.rewrap_epoch,
                records=records,
                frame_bytes_max=frame_bytes_max,
            ),
        )

    def _member(self, entry: PullRow) -> Told:
        _, cursor, _, payload, entry_hash, prev_hash, _, chain_seq, _ = entry
        self.prev = cursor
        member = MemberEntry(
            chain_seq=chain_seq or 0,
            prev_hash=prev_hash or b"",
            entry_hash=entry_hash or b"",
            payload=payload or b"",
        )
        return Told(
            cursor,
            lambda text: membership_notification(text, cursor, member, frame_bytes_max=self.frame_bytes_max),
        )

    def _end_files(self) -> Told:
        cursor, files = self.files_at, self.files
        self.files, self.prev = [], cursor
        return Told(
            cursor,
            lambda text: file_notification(text, cursor, files, frame_bytes_max=self.frame_bytes_max),
        )

    def _behind(self, cursor: int) -> Build:
        news = self.news
        return lambda text: catch_up_notification(
            text, cursor=cursor, key_generation=news.key_generation, rewrap_epoch=news.rewrap_epoch
        )
