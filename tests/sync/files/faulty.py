"""Stores that stop or fail at a chosen step, around real ones: faults that cannot be provoked otherwise."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from less_sync.storage import BlobError, BlobKey, Staged
from less_sync.storage.objects.memory import MemoryBlobs


class Gate:
    """A step at which whoever comes waits until it is opened."""

    def __init__(self) -> None:
        self.reached: Final = asyncio.Event()
        self.open: Final = asyncio.Event()

    async def pass_(self) -> None:
        self.reached.set()
        await self.open.wait()


class FaultyBlobs(MemoryBlobs):
    """Contents in memory, behind gates and faults that tests set."""

    def __init__(self) -> None:
        super().__init__()
        self.before_publish: Gate | None = None
        self.after_publish: Gate | None = None
        self.publish_fails: Exception | None = None
        """Raised once the content shows, as when the answer of a store is lost."""
        self.removals_fail = 0
        """So many removals, from now on."""
        self.removals_tried = 0

    @asynccontextmanager
    async def stage(self, key: BlobKey) -> AsyncIterator["_Staged"]:  # type: ignore[override]  # a narrower type
        async with super().stage(key) as staged:
            yield _Staged(self, staged)

    async def remove(self, key: BlobKey) -> None:
        self.removals_tried += 1
        if self.removals_fail:
            self.removals_fail -= 1
            raise BlobError("the store is away")
        await super().remove(key)


class _Staged:
    def __init__(self, store: FaultyBlobs, staged: Staged) -> None:
        self._store = store
        self._staged = staged

    @property
    def size_bytes(self) -> int:
        return self._staged.size_bytes

    async def write(self, data: bytes) -> None:
        await self._staged.write(data)

    async def publish(self, check: Callable[[], Awaitable[None]]) -> None:
        store = self._store
        if store.before_publish is not None:
            await store.before_publish.pass_()
        await self._staged.publish(check)
        if store.after_publish is not None:
            await store.after_publish.pass_()
        if store.publish_fails is not None:
            failure, store.publish_fails = store.publish_fails, None
            raise failure
