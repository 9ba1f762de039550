"""Contents of files, behind one Protocol: a local directory, an S3-compatible store, memory (docs/files.md).

A content is written aside first (*staged*), then *published* under its key by one step that nobody sees half
done. Which content belongs to which row of `files` is not known here.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from less_sync.storage.errors import StorageError

CHUNK_BYTES_MAX: Final = 256 * 1024
"""Of a content, held in memory on its way in or out."""


class BlobKey(NamedTuple):
    """Names the content of one file of one space."""

    space: UUID
    file: UUID

    @property
    def path(self) -> str:
        """The same as existing servers name it: `spaces/{space}/files/{file}`, lower-case and hyphenated."""
        return f"spaces/{self.space}/files/{self.file}"


class BlobError(StorageError):
    """The store failed or did not answer; the cause is chained. A content that is not there is no error."""

    def __init__(self, message: str = "file storage failed") -> None:
        super().__init__(message)


class Stored(NamedTuple):
    """A content that is in the store."""

    key: BlobKey
    size_bytes: int
    modified_at: datetime
    """Timezone-aware."""
    version: str
    """Another one for every content that is published under the key. One content may have several, as in a
    listing or when the store was moved; two contents never have the same."""


class Staged(Protocol):
    """A content that is being written aside."""

    @property
    def size_bytes(self) -> int:
        """How much was written."""

    async def write(self, data: bytes) -> None:
        """Append at most `CHUNK_BYTES_MAX`; returns when more can be taken.

        Twice that much may wait to be written then, so a failure may come with a later piece, or at the end.

        Raises:
            BlobError: this or what was before it cannot be written (no space, a read-only disk).
        """

    async def publish(self, check: Callable[[], Awaitable[None]]) -> None:
        """Put the content under its key, whole, in place of whatever is there. To be called once.

        It survives a power cut once this has returned. When it is cancelled or fails, the key has its former
        content or this one, nothing in between, and nothing is left aside.

        Args:
            check: awaited when all is ready, just before the step that shows the content (the rename, the
                end of a multipart upload). What it raises stops that step, and is raised from here.

        Raises:
            BlobError: the store failed; which of the two the key has is unknown.
        """


class Opened(Protocol):
    """One published content, the same until it is closed, whatever is published under its key meanwhile."""

    @property
    def size_bytes(self) -> int:
        """Its length, as the store says."""

    @property
    def version(self) -> str:
        """As `Stored.version`, of the very content that is open."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield it from start to end, 64 to 256 KiB at a time but for the last. To be called once.

        Raises:
            BlobError: the store failed, or no byte came for 60 s.
        """


class BlobStore(Protocol):
    """Where contents are. Safe to use from many tasks of one event loop; whoever publishes and removes under
    one key at once must take turns (`FileStore.lock`)."""

    def stage(self, key: BlobKey) -> AbstractAsyncContextManager[Staged]:
        """Begin a content for `key`. Leaving the block removes what was not published.

        Raises:
            BlobError: nothing can be written.
        """

    async def find(self, key: BlobKey) -> Stored | None:
        """Say what is stored under a key; None when the store is certain that nothing is.

        Raises:
            BlobError: the store cannot tell.
        """

    def open(self, key: BlobKey) -> AbstractAsyncContextManager[Opened | None]:
        """Open a content to read it; None when there certainly is none. Leaving the block closes the source.

        Raises:
            BlobError: the store failed.
        """

    async def remove(self, key: BlobKey) -> None:
        """Remove a content; there being none is success.

        Raises:
            BlobError: the store failed; whether it is gone is unknown.
        """

    def listing(self) -> AsyncIterator[Sequence[Stored]]:
        """Yield everything that is stored, at most 1000 at a time, in any order.

        Nothing that is staged, and no object whose name is not that of a `BlobKey`.

        Raises:
            BlobError: the store failed.
        """

    def of_space(self, space: UUID) -> AsyncIterator[Sequence[Stored]]:
        """Yield what is stored of one space, as `listing` does.

        Raises:
            BlobError: the store failed.
        """

    async def tidy(self, *, older_than_s: float) -> int:
        """Remove what was staged longer than that ago by a process that died; return how many.

        Raises:
            BlobError: the store failed.
        """

    async def aclose(self) -> None:
        """Let go of threads and connections."""
