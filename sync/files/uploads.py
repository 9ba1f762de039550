"""The end of an upload: content and row come from the same one, whatever dies in between (docs/files.md 3.1).

Clients seal anew for every attempt, so the content of one attempt beside the key of another would be lost for
good. Therefore, under the file's lock:

    no row                       publish, then record: a crash in between leaves a content that nothing names,
                                 which the next attempt overwrites and no download serves
    row and its content          the file is there: nothing is changed
    row, and no such content     the row is deleted and committed first, as nobody can read it any more; if it
                                 stayed until the new content is stored, a crash would leave the two together

A backup copies contents of rows that it read before. While one is under way no content takes the place of one
that may have been there then: such an upload has to be repeated later.
"""

from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from less_sync.storage import (
    BlobKey,
    BlobStore,
    Caller,
    FileLock,
    FileStore,
    RecordFileOutcome,
    RecordFileStatus,
    Staged,
    StorageError,
)
from less_sync.sync.announce import Announcer, Change, Notice
from less_sync.sync.files.removals import HeldByBackup, Removals
from less_sync.sync.protocol.messages import FileChange
from less_sync.sync.protocol.notifications import file_notification

_ATTEMPTS_MAX: Final = 3
"""A row without content is deleted, and the file is looked at anew: once, unless others do the same."""

_log = structlog.get_logger(__name__)


class Upload(NamedTuple):
    """What a client says about a content: where it belongs, and the key it is sealed with."""

    key: BlobKey
    record: UUID
    wrapped_dek: bytes
    """44 bytes."""
    caller: Caller
    person: str
    """Who takes a turn for the file's lock."""


class Uploads:
    """One per process."""

    def __init__(
        self,
        files: FileStore,
        blobs: BlobStore,
        removals: Removals,
        announce: Announcer,
        *,
        frame_bytes_max: int,
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._removals = removals
        self._announce = announce
        self._frame_bytes_max = frame_bytes_max

    async def finish(self, upload: Upload, staged: Staged) -> RecordFileStatus:
        """Publish a content that came whole, record it and announce it; EXISTS when the file was there.

        To be run in a task of the announcer's: a hang-up must not cut it.

        Raises:
            HeldByBackup: the file is as it was.
            StorageError: the file is as it was; after `Unavailable` perhaps recorded, which is found out.
        """
        for _ in range(_ATTEMPTS_MAX):
            async with self._files.lock(*upload.key, user=upload.person) as lock:
                if lock.row is None:
                    if lock.held_by_backup and await self._blobs.find(upload.key) is not None:
                        raise HeldByBackup
                    outcome = await self._store(upload, staged, lock)
                    break
                if await self._has_content(upload.key, lock.row.size_bytes):
                    return RecordFileStatus.EXISTS
                if lock.held_by_backup:
                    raise HeldByBackup
                await lock.forget()
        else:
            raise StorageError("a file keeps losing its content while it is repaired")
        if outcome.status is not RecordFileStatus.RECORDED:
            await self._removals.remove_soon(upload.key)
        elif outcome.replaced:
            # Another server, which knows no lock of files, wrote its row meanwhile: the file was there.
            return RecordFileStatus.EXISTS
        return outcome.status

    async def _has_content(self, key: BlobKey, size_bytes: int) -> bool:
        found = await self._blobs.find(key)
        if found is None:
            _log.warning("content was lost, and is replaced", space=str(key.space), file=str(key.file))
            return False
        if found.size_bytes != size_bytes:
            _log.warning(
                "content has not the length of its row, and is replaced",
                space=str(key.space),
                file=str(key.file),
                row_bytes=size_bytes,
                content_bytes=found.size_bytes,
            )
            return False
        return True

    async def _store(self, upload: Upload, staged: Staged, lock: FileLock) -> RecordFileOutcome:
        """Safe under concurrency: see `FileLock`, held from before the look at the row to the commit."""
        await staged.publish(lock.check)
        size_bytes = staged.size_bytes
        statement = lock.record(
            upload.record, size_bytes, upload.wrapped_dek, replace=True, caller=upload.caller
        )
        announcement = partial(self._announcement, upload, size_bytes)
        return await self._announce.write(upload.key.space, statement, announcement)

    def _announcement(self, upload: Upload, size_bytes: int, outcome: RecordFileOutcome) -> Change | None:
        if outcome.status is not RecordFileStatus.RECORDED:
            return None
        file = FileChange(
            id=str(upload.key.file), record_id=str(upload.record), size=size_bytes, dek=upload.wrapped_dek
        )

        def build(space: str) -> bytes:
            return file_notification(space, outcome.cursor, [file], frame_bytes_max=self._frame_bytes_max)

        return Change(outcome.cursor, [Notice(build)], len(upload.wrapped_dek))
