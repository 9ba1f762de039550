"""Large contents in: their parts, decrypted as they come, put together in `.less-sync/partial/`.

A part that is whole is on the disk before the state says so, and a download that was stopped goes on with the
first one that is missing. Nothing of it is where the folder's files are: only a content of the right size and
SHA-256 is handed on to be placed.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from uuid import UUID

from less_sync.client.folder.arrivals import Wanted
from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.conversation import Conversation
from less_sync.client.folder.crypto import Undecryptable
from less_sync.client.folder.file_storage import FileStorage, refusals
from less_sync.client.folder.partial import Partial
from less_sync.client.folder.plaintext import PlainContent
from less_sync.client.folder.report import Progressed
from less_sync.client.folder.scan import FILE_BYTES_MAX, too_large
from less_sync.client.folder.stream import HEADER_BYTES, PartCipher, PartPlace, nonce_of, sealed_size
from less_sync.client.folder.walk import Obstacle
from less_sync.sync.client import FileDownload


class NotFetched(Exception):
    """A content cannot be had; `str()` says why. `is_missing`: the server does not have all of it."""

    def __init__(self, reason: str, *, is_missing: bool = False) -> None:
        super().__init__(reason)
        self.is_missing = is_missing


class Downloads:
    """See the module.

    Args:
        learn: has the keys of a shared space; asked when a part has a key of an epoch not yet known.
    """

    def __init__(
        self, talk: Conversation, storage: FileStorage, *, learn: Callable[[], Awaitable[None]]
    ) -> None:
        self._talk = talk
        self._storage = storage
        self._learn = learn
        self._files = self._done_bytes = self._whole_bytes = 0
        self._side = talk.replica.side
        self._transfers = talk.replica.state.transfers

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """These are going to be fetched: progress is told as a share of them."""
        self._files = self._done_bytes = 0
        self._whole_bytes = sum(one.pointer.size_bytes for one in wanted)

    async def fetch(self, wanted: Wanted) -> str:
        """Download a content and return what it is called aside.

        Raises:
            NotFetched: it cannot be had, or is not what it should be.
            NoFileStorage: files cannot be used.
            DiskFull: no space; what is here stays, and the next attempt goes on with it.
            SyncClientError: see `FileClient.download`.
        """
        pointer = wanted.pointer
        content = self._content(wanted)
        try:
            with self._side.tree.partial(pointer.content) as partial:
                if partial.is_new:
                    await in_thread(self._transfers.drop_downloads, [pointer.content])
                here = self._transfers.parts_here(pointer.content)
                for number in range(len(content.parts)):
                    if number in here:
                        self._moved(content.part_size(number))
                        continue
                    await self._fetch_part(pointer.content, content, number, partial)
                    await in_thread(partial.sync)
                    await in_thread(self._transfers.part_here, pointer.content, number)
                    self._talk.done(str(content.parts[number]))
                if await in_thread(partial.digest, content.size_bytes) != content.digest:
                    await in_thread(self._transfers.drop_downloads, [pointer.content])
                    raise NotFetched("its content is not what its record says")
                await in_thread(partial.finish, wanted.mtime_ns)
                self._files += 1
                return partial.name
        except Obstacle as obstacle:
            raise NotFetched(str(obstacle)) from obstacle

    def _content(self, wanted: Wanted) -> PlainContent:
        pointer = wanted.pointer
        if pointer.size_bytes > FILE_BYTES_MAX:
            raise NotFetched(too_large(pointer.size_bytes))
        known = self._side.content(pointer.content)
        if known is None:
            raise NotFetched("its content is not on the server", is_missing=True)
        if (known.plain.size_bytes, known.plain.digest) != (pointer.size_bytes, pointer.digest):
            raise NotFetched("its content record is that of another file")
        return known.plain

    async def _fetch_part(self, record: UUID, content: PlainContent, number: int, partial: Partial) -> None:
        talk, part, size_bytes = self._talk, content.parts[number], content.part_size(number)
        with refusals():
            async with self._storage.client.download(talk.space, part, ucan=talk.ucan) as found:
                if found is None:
                    raise NotFetched("a part of it is not on the server", is_missing=True)
                if found.size_bytes != sealed_size(size_bytes):
                    raise NotFetched("a part of it has another length than it should have")
                try:
                    dek = await self._unwrap(found.wrapped_dek)
                    place = PartPlace(UUID(talk.space), record, part)
                    opener = _Opener(dek, place, size_bytes, partial, number * content.part_bytes)
                    await self._take_in(found, opener, str(part))
                except Undecryptable:
                    raise NotFetched("a part of it does not decrypt: it was altered, or moved") from None

    async def _take_in(self, found: FileDownload, opener: "_Opener", name: str) -> None:
        waiting, taken = bytearray(), 0
        async with aclosing(found.chunks()) as pieces:
            async for piece in pieces:
                waiting += piece
                while len(waiting) >= opener.next_bytes > 0:
                    sealed = bytes(waiting[: opener.next_bytes])
                    del waiting[: len(sealed)]
                    self._moved(await in_thread(opener.take, sealed))
                    taken += 1
                    self._talk.reach(name, taken)

    async def _unwrap(self, wrapped: bytes) -> bytes:
        try:
            return self._side.cipher.unwrap(wrapped)
        except Undecryptable:
            await self._learn()
            return self._side.cipher.unwrap(wrapped)

    def _moved(self, size_bytes: int) -> None:
        """So many bytes more are on the disk."""
        self._done_bytes += size_bytes
        part = self._done_bytes / max(self._done_bytes + 1, self._whole_bytes)
        self._talk.reporter.progress(Progressed("downloading", self._files, self._done_bytes, part))

    def finish(self) -> None:
        """What was expected was fetched, or named."""
        if self._done_bytes:
            self._talk.reporter.progress(Progressed("downloading", self._files, self._done_bytes, 1.0))

    def clean_up(self) -> None:
        """Remove what was downloaded of contents that no record waits for any more."""
        self._side.flush()
        with suppress(Obstacle):  # the next pull tries again
            self._transfers.drop_downloads(self._side.tree.drop_partials(self._transfers.awaited()))


class _Opener:
    """Takes a part in: its first bytes, then each chunk, which goes to the disk."""

    def __init__(self, dek: bytes, place: PartPlace, size_bytes: int, partial: Partial, start: int) -> None:
        self._dek = dek
        self._place = place
        self._size_bytes = size_bytes
        self._partial = partial
        self._at = start
        self._index = 0
        self._cipher: PartCipher | None = None

    @property
    def next_bytes(self) -> int:
        """How many sealed bytes come next; 0 at the end."""
        if self._cipher is None:
            return HEADER_BYTES
        return self._cipher.sealed_size(self._index) if self._index < self._cipher.chunks else 0

    def take(self, sealed: bytes) -> int:
        """Take so many bytes, and return how much plaintext they were.

        Raises:
            Undecryptable: they do not belong there.
            Obstacle, DiskFull: as `Partial.write`.
        """
        if self._cipher is None:
            self._cipher = PartCipher(self._dek, nonce_of(sealed), self._place, self._size_bytes)
            return 0
        plaintext = self._cipher.open(self._index, sealed)
        self._partial.write(plaintext, self._at)
        self._index += 1
        self._at += len(plaintext)
        return len(plaintext)
