"""Contents in memory, for tests. No thread, no clock of its own and no chance: a simulation replays it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobKey, Stored

_LISTED_MAX: Final = 1000


class _Content(NamedTuple):
    data: bytes
    stored: Stored


class MemoryBlobs:
    """`BlobStore` without a disk. Each call lets other tasks run before it does anything, as real ones do.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now: Final = now
        self._contents: Final[dict[BlobKey, _Content]] = {}
        self._shown = 0
        self.staged = 0
        """How many contents are being written aside."""

    @asynccontextmanager
    async def stage(self, key: BlobKey) -> AsyncIterator["_Staged"]:
        """As `BlobStore.stage`."""
        await asyncio.sleep(0)
        self.staged += 1
        try:
            yield _Staged(self, key)
        finally:
            self.staged -= 1

    async def show(self, key: BlobKey, data: bytes, check: Callable[[], Awaitable[None]]) -> None:
        """Publish a content that was staged: where a test lets that wait or fail."""
        await check()
        self._shown += 1
        moment = datetime.fromtimestamp(self._now(), UTC)
        stored = Stored(key, len(data), moment, str(self._shown))
        self._contents[key] = _Content(data, stored)

    async def find(self, key: BlobKey) -> Stored | None:
        """As `BlobStore.find`."""
        await asyncio.sleep(0)
        content = self._contents.get(key)
        return None if content is None else content.stored

    @asynccontextmanager
    async def open(self, key: BlobKey) -> AsyncIterator["_Opened | None"]:
        """As `BlobStore.open`."""
        await asyncio.sleep(0)
        content = self._contents.get(key)
        yield None if content is None else _Opened(content)

    async def remove(self, key: BlobKey) -> None:
        """As `BlobStore.remove`."""
        await asyncio.sleep(0)
        self._contents.pop(key, None)

    async def listing(self) -> AsyncIterator[Sequence[Stored]]:
        """As `BlobStore.listing`."""
        everything = [content.stored for content in self._contents.values()]
        for start in range(0, len(everything), _LISTED_MAX):
            await asyncio.sleep(0)
            yield everything[start : start + _LISTED_MAX]

    async def of_space(self, space: UUID) -> AsyncIterator[Sequence[Stored]]:
        """As `BlobStore.of_space`."""
        async for page in self.listing():
            stored = [one for one in page if one.key.space == space]
            if stored:
                yield stored

    async def tidy(self, *, older_than_s: float) -> int:
        """Nothing: what was staged ends with the process."""
        await asyncio.sleep(0)
        return 0

    async def aclose(self) -> None:
        """Nothing is held."""


class _Staged:
    def __init__(self, store: MemoryBlobs, key: BlobKey) -> None:
        self.size_bytes = 0
        self._store: Final = store
        self._key: Final = key
        self._pieces: Final[list[bytes]] = []

    async def write(self, data: bytes) -> None:
        assert len(data) <= CHUNK_BYTES_MAX
        await asyncio.sleep(0)
        self._pieces.append(data)
        self.size_bytes += len(data)

    async def publish(self, check: Callable[[], Awaitable[None]]) -> None:
        await self._store.show(self._key, b"".join(self._pieces), check)


class _Opened:
    def __init__(self, content: "_Content") -> None:
        self._data: Final = content.data
        self.version: Final = content.stored.version

    @property
    def size_bytes(self) -> int:
        return len(self._data)

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), CHUNK_BYTES_MAX):
            await asyncio.sleep(0)
            yield self._data[start : start + CHUNK_BYTES_MAX]
