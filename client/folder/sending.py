"""The way out: everything of one pass that the server does not have, a frame or a large file at a time.

Nothing that may have failed in passing is tried again here: `engine.py` decides that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from uuid import UUID

from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.changes import Change, Changes
from less_sync.client.folder.conversation import Conversation
from less_sync.client.folder.file_storage import TROUBLE_MAX, FileStorage, NoFileStorage
from less_sync.client.folder.outbox import Ready
from less_sync.client.folder.plaintext import PART_BYTES_MAX
from less_sync.client.folder.report import Amount, Event, Kind, Progressed, Reporter
from less_sync.client.folder.transfers import KnownContent, Upload
from less_sync.client.folder.uploads import ContentGone, PartsTooLarge, Uploads
from less_sync.client.folder.walk import ChangedMeanwhile, Obstacle
from less_sync.sync.client import (
    CHANGE_OVERHEAD_BYTES,
    CHANGES_PER_PUSH,
    PUSH_OVERHEAD_BYTES,
    ConnectFailed,
    ConnectionLost,
    FileTooLarge,
    PushChange,
    RequestFailed,
    RequestTimeout,
    ServerUnavailable,
)
from less_sync.sync.client.link import ClientLimits
from less_sync.sync.protocol.codes import ErrorCode

_PUSH_BYTES: Final = ClientLimits().frame_bytes - PUSH_OVERHEAD_BYTES
_FILE_WEIGHT_BYTES: Final = 1024
"""What a file counts beside its bytes when the share of the work is told."""
_ATTEMPTS_MAX: Final = 4
_BEHIND: Final = (ErrorCode.CONFLICT, ErrorCode.KEY_GENERATION_STALE)


class Sending:
    """See the module. `learn` and `part_bytes` are for `Uploads`."""

    def __init__(
        self,
        talk: Conversation,
        storage: FileStorage,
        *,
        learn: Callable[[], Awaitable[None]],
        part_bytes: int = PART_BYTES_MAX,
    ) -> None:
        self._talk = talk
        self._storage = storage
        self._side = talk.replica.side
        self._outbox = talk.replica.outbox
        self._state = talk.replica.state
        self._tally = _Tally(talk.reporter)
        self._uploads = Uploads(talk, storage, learn=learn, moved=self._tally.moved, part_bytes=part_bytes)

    async def learn_of_storage(self) -> None:
        """Find out whether large files can be sent, if there may be any. Changes are walked after it.

        Raises:
            SyncClientError: as `FileStorage.trouble`.
        """
        survey = await in_thread(self._outbox.survey)
        self._tally.start(survey.amount)
        if survey.may_have_large:
            self._outbox.no_storage = await self._storage.trouble()

    async def push(self) -> bool:
        """Push every change of the last scan. False when a pull must come first.

        Raises:
            RequestFailed: the server does not take it.
            FolderError: the disk.
            ServerUnavailable: for some large files; the others are there.
            SyncClientError: see `SyncClient.push` and `FileClient.upload`.
        """
        await self.learn_of_storage()
        changes = await in_thread(self._outbox.changes)
        if not await self._push_frames(changes.small):
            return False
        if not await self._push_large_ones(changes):
            return False
        if not await self._push_frames(changes.deletions):
            return False
        self._tally.end()
        if not changes.is_whole:
            return True
        return await self._delete(await in_thread(self._uploads.left_over, changes.wanted))

    # What goes into records.

    async def _push_frames(self, changes: Iterator[Change]) -> bool:
        """Push changes a frame at a time. While the server writes one the next one is read and sealed."""
        batch = await in_thread(self._next_batch, changes)
        await in_thread(self._outbox.mark_sent, batch)
        while batch:
            pushing = asyncio.create_task(self._push(batch))
            try:
                following = await in_thread(self._next_batch, changes)
                cursor = await pushing
            finally:
                pushing.cancel()
                await asyncio.wait([pushing])
                if not pushing.cancelled():
                    pushing.exception()  # seen; whatever else went wrong came first
            if cursor is None:
                return False
            await self._acknowledge(batch, cursor, following)
            self._tally.pushed(len(batch), sum(len(one.change.content or b"") for one in batch))
            batch = following
        return True

    def _next_batch(self, changes: Iterator[Change]) -> list[Ready]:
        return self._outbox.next_batch(
            changes,
            epoch=self._talk.epoch,
            bytes_max=_PUSH_BYTES,
            overhead_bytes=CHANGE_OVERHEAD_BYTES,
            changes_max=CHANGES_PER_PUSH,
        )

    async def _push(self, batch: list[Ready]) -> int | None:
        changes = []
        for one in batch:
            record, expected = str(one.change.row.record), one.change.expected_cursor
            sealed = one.sealed
            changes.append(PushChange(id=record, blob=sealed.blob, expected_cursor=expected, dek=sealed.dek))
            if one.freed is not None:
                changes.append(_deletion(one.freed.record, one.freed.cursor))
        return await self._push_changes(changes)

    async def _push_changes(self, changes: list[PushChange]) -> int | None:
        """Push all or nothing, and return the cursor; None when a pull must come first."""
        await self._talk.bind_once()
        result = await self._talk.client.push(self._talk.space, changes, ucan=self._talk.ucan)
        if result.error in _BEHIND:
            return None
        if not result.ok:
            raise RequestFailed(result.error, "the server does not store it")
        self._talk.steps += 1
        return result.cursor

    async def _acknowledge(self, batch: list[Ready], cursor: int, following: list[Ready]) -> None:
        await in_thread(self._outbox.acknowledge, batch, cursor)
        await in_thread(self._outbox.mark_sent, following)
        await self._advance(cursor)

    async def _advance(self, cursor: int) -> None:
        if cursor == self._state.cursor + 1:  # nobody else wrote in between
            await in_thread(self._state.advance, cursor)

    # Large files.

    async def _push_large_ones(self, changes: Changes) -> bool:
        """Push all large files. One that the server is not ready for holds up no other, but deletions, as it
        may be what was deleted under a new name."""
        trouble: list[ServerUnavailable] = []
        while (change := await in_thread(changes.next_large)) is not None:
            try:
                if not await self._push_large(changes, change):
                    return False
            except (ConnectFailed, ConnectionLost, RequestTimeout):
                raise
            except ServerUnavailable as error:
                trouble.append(error)
                if len(trouble) > TROUBLE_MAX:
                    raise
        if trouble:
            raise trouble[0]
        return True

    async def _push_large(self, changes: Changes, change: Change) -> bool:
        """Push one large file; what stands in its way is told, and it is passed over."""
        reason = "it is being written"
        for _ in range(_ATTEMPTS_MAX):
            try:
                return await self._upload(change)
            except ChangedMeanwhile:
                again = await in_thread(changes.look_again, change)
                if again is None:
                    return True
                change = again
            except PartsTooLarge:
                begun = await in_thread(self._uploads.begin, change)
                if begun.cursor is not None and not await self._delete([(begun.record, begun.cursor)]):
                    return False
            except FileTooLarge as error:
                changes.wanted.discard(change.digest)
                reason = str(error)
                break
            except ContentGone:
                return False
            except NoFileStorage as error:
                reason = f"too large for a record, and {error}"
                break
            except Obstacle as obstacle:
                reason = str(obstacle)
                break
        self._side.tell(Event(Kind.SKIPPED, change.path, reason))
        return True

    async def _upload(self, change: Change) -> bool:
        upload = await in_thread(self._uploads.begin, change)
        if upload.cursor is None and not await self._push_content(upload):
            return False
        await self._uploads.send(upload, change)
        ready = await in_thread(self._outbox.seal, change, epoch=self._talk.epoch, content=upload.record)
        await in_thread(self._outbox.mark_sent, [ready])
        cursor = await self._push([ready])
        if cursor is None:
            return False
        await self._acknowledge([ready], cursor, [])
        self._tally.pushed(1, 0)
        return True

    async def _push_content(self, upload: Upload) -> bool:
        cipher = self._side.cipher
        sealed = cipher.seal_content(upload.record, upload.plain, epoch=self._talk.epoch)
        change = PushChange(id=str(upload.record), blob=sealed.blob, expected_cursor=0, dek=sealed.dek)
        cursor = await self._push_changes([change])
        if cursor is None:
            return False
        known = KnownContent(upload.record, cursor, upload.plain)
        await in_thread(self._state.transfers.put_contents, [known])
        await self._advance(cursor)
        return True

    async def _delete(self, contents: list[tuple[UUID, int]]) -> bool:
        """Delete content records of ours that nothing points to, whose parts the server then frees."""
        for start in range(0, len(contents), CHANGES_PER_PUSH):
            some = contents[start : start + CHANGES_PER_PUSH]
            cursor = await self._push_changes([_deletion(record, at) for record, at in some])
            if cursor is None:
                return False
            for record, _ in some:
                await in_thread(self._side.forget_content, record)
            await self._advance(cursor)
        return True


def _deletion(record: UUID, cursor: int) -> PushChange:
    return PushChange(id=str(record), expected_cursor=cursor)


class _Tally:
    """How far a pass has come, told to people."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.start(Amount(0, 0))

    def start(self, amount: Amount) -> None:
        """Begin a pass with so much to do."""
        self._amount = amount
        self._files = self._size_bytes = 0

    def moved(self, size_bytes: int) -> None:
        """So many bytes of a large file are on their way."""
        self._size_bytes += size_bytes
        self._tell()

    def pushed(self, files: int, size_bytes: int) -> None:
        """So many files are on the server, and bytes that were not told as moved."""
        self._files += files
        self._size_bytes += size_bytes
        self._tell()

    def end(self) -> None:
        """All is done."""
        if self._files or self._size_bytes:
            self._reporter.progress(Progressed("pushing", self._files, self._size_bytes, 1.0))

    def _tell(self) -> None:
        done = self._files * _FILE_WEIGHT_BYTES + self._size_bytes
        total = max(done + 1, self._amount.files * _FILE_WEIGHT_BYTES + self._amount.size_bytes)
        self._reporter.progress(Progressed("pushing", self._files, self._size_bytes, done / total))
