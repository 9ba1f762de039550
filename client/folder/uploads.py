"""Large contents out: their part files, encrypted as they are sent, and what earlier commands have left.

    begin ─▶ the content record is pushed ─▶ send ─▶ the record of a file is pushed that points to it

Everything random of a part is in the state before its first byte leaves: a repetition sends the same bytes,
so that whichever attempt the server keeps is the right one. The plaintext must be the same for that too: a
chunk is compared with what was noted of it before it is encrypted. An upload is found by its content, so a
file that was renamed meanwhile, or became a conflict copy, goes on with it.
"""

import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from io import FileIO
from typing import Final
from uuid import UUID, uuid4

from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.changes import Change
from less_sync.client.folder.conversation import Conversation
from less_sync.client.folder.file_storage import FileStorage, refusals
from less_sync.client.folder.hashing import chunk_digest, read_into
from less_sync.client.folder.plaintext import PART_BYTES_MAX, PART_BYTES_MIN, part_count
from less_sync.client.folder.stream import (
    CHUNK_BYTES,
    NONCE_BYTES,
    PartCipher,
    PartPlace,
    header,
    sealed_size,
)
from less_sync.client.folder.transfers import CHUNK_DIGEST_BYTES, Upload, UploadPart
from less_sync.client.folder.walk import ChangedMeanwhile
from less_sync.sync.client import FileRefused, FileTooLarge

_LIMIT: Final = re.compile(r"\b([0-9]{1,6}) MB\b")
_BAD_REQUEST: Final = 400


class ContentGone(Exception):
    """The server does not have the content record any more: a pull tells."""


class PartsTooLarge(Exception):
    """The server takes no files of this size; smaller parts are to be tried."""


class Uploads:
    """See the module.

    Args:
        learn: has the newest key of a shared space; asked before each part.
        moved: told about each piece of plaintext that was handed to the connection, in bytes.
        part_bytes: plaintext of a part; whole chunks.
    """

    def __init__(
        self,
        talk: Conversation,
        storage: FileStorage,
        *,
        learn: Callable[[], Awaitable[None]],
        moved: Callable[[int], None],
        part_bytes: int = PART_BYTES_MAX,
    ) -> None:
        assert part_bytes % CHUNK_BYTES == 0
        self._talk = talk
        self._storage = storage
        self._learn = learn
        self._moved = moved
        self._part_bytes = part_bytes
        self._side = talk.replica.side
        self._transfers = talk.replica.state.transfers

    def begin(self, change: Change) -> Upload:
        """The upload of a file's content: the one that was begun, else a new one, noted whole."""
        assert change.large is not None
        found = self._transfers.upload_of(change.digest)
        if found is not None:
            return found
        size_bytes = change.large.stat.size
        parts = tuple(
            UploadPart(uuid4(), self._side.cipher.new_dek(epoch=self._talk.epoch), os.urandom(NONCE_BYTES))
            for _ in range(part_count(size_bytes, self._part_bytes))
        )
        upload = Upload(uuid4(), size_bytes, change.digest, self._part_bytes, change.large.chunks, parts)
        self._transfers.begin(upload)
        return upload

    async def send(self, upload: Upload, change: Change) -> None:
        """Send the parts that the server is not known to have. Its content record is there.

        Raises:
            ChangedMeanwhile: the file is not the one any more that the upload was begun for.
            Obstacle: it cannot be read.
            ContentGone, PartsTooLarge, NoFileStorage: as they say.
            SyncClientError, FolderError: see `FileClient.upload`, and as `learn`.
        """
        side = self._side
        with side.tree.reading(side.raw(change.path)) as (stat, file):
            if stat != change.stat:
                raise ChangedMeanwhile
            for number, part in enumerate(upload.parts):
                if part.done:
                    self._moved(upload.plain.part_size(number))
                    continue
                # Of parts the server takes old keys too: a rotation meanwhile shows in nothing else.
                await self._learn()
                await self._send_part(upload, number, part, file)
                await in_thread(self._transfers.part_sent, upload.record, number)
                self._talk.done(str(part.id))

    async def _send_part(self, upload: Upload, number: int, part: UploadPart, file: FileIO) -> None:
        talk, cipher = self._talk, self._side.cipher
        dek, size_bytes = cipher.unwrap(part.dek), upload.plain.part_size(number)
        pieces = _Pieces(
            PartCipher(dek, part.nonce, PartPlace(UUID(talk.space), upload.record, part.id), size_bytes),
            file,
            number * upload.part_bytes,
            upload.chunks,
        )

        async def content() -> AsyncGenerator[bytes, None]:
            yield header(part.nonce)
            for index in range(pieces.number):
                piece = await in_thread(pieces.sealed, index)
                yield piece
                talk.reach(str(part.id), index + 1)
                self._moved(pieces.size(index))

        try:
            with refusals():
                await self._storage.client.upload(
                    talk.space,
                    part.id,
                    record=upload.record,
                    wrapped_dek=cipher.wrap(dek, epoch=talk.epoch),
                    size_bytes=sealed_size(size_bytes),
                    content=content,
                    ucan=talk.ucan,
                )
        except FileTooLarge as error:
            raise self._smaller_parts(error, upload) from error
        except FileRefused as error:
            if error.status == _BAD_REQUEST and "record not found" in error.error:
                raise ContentGone from error
            raise

    def _smaller_parts(self, error: FileTooLarge, upload: Upload) -> Exception:
        """Go on with parts that fit, if the server says how much it takes; else the error stays."""
        found = _LIMIT.search(error.error)
        fitting = (int(found[1]) - 1) * CHUNK_BYTES if found else 0  # a chunk less, for what encryption adds
        if not PART_BYTES_MIN <= fitting < upload.part_bytes:
            return error
        self._part_bytes = min(self._part_bytes, fitting)
        return PartsTooLarge()

    def left_over(self, wanted: Collection[bytes]) -> list[tuple[UUID, int]]:
        """Content records of ours that nothing points to, with their cursors: to be deleted.

        To be asked after a pull. Uploads of which the server has nothing are forgotten by this.

        Args:
            wanted: digests of contents that are to be sent.
        """
        found = []
        for record, digest, cursor in self._transfers.uploads():
            if digest in wanted:
                continue
            if cursor is None or self._transfers.is_pointed_to(record):
                self._transfers.end_upload(record)
            else:
                found.append((record, cursor))
        return found


class _Pieces:
    """The chunks of one part of a file, sealed one at a time."""

    def __init__(self, cipher: PartCipher, file: FileIO, start: int, chunks: bytes) -> None:
        self._cipher = cipher
        self._file = file
        self._start = start
        self._chunks = chunks
        self.number = cipher.chunks

    def size(self, index: int) -> int:
        """Bytes of plaintext."""
        return self._cipher.plain_size(index)

    def sealed(self, index: int) -> bytes:
        """Read and encrypt one.

        Raises:
            ChangedMeanwhile: it is not what was noted: then it must not be encrypted under this key.
        """
        plaintext = bytearray(self.size(index))
        at = self._start + index * CHUNK_BYTES
        self._file.seek(at)
        if read_into(self._file, memoryview(plaintext)) != len(plaintext):
            raise ChangedMeanwhile
        noted = at // CHUNK_BYTES * CHUNK_DIGEST_BYTES
        if plaintext and chunk_digest(plaintext) != self._chunks[noted : noted + CHUNK_DIGEST_BYTES]:
            raise ChangedMeanwhile
        return self._cipher.seal(index, plaintext)
