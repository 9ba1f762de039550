"""Stores that stop or fail at a chosen step, around real ones: faults that cannot be provoked otherwise."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from less_sync.storage import BlobError, BlobKey
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

    async def show(self, key: BlobKey, data: bytes, check: Callable[[], Awaitable[None]]) -> None:
        if self.before_publish is not None:
            await self.before_publish.pass_()
        await super().show(key, data, check)
        if self.after_publish is not None:
            await self.after_publish.pass_()
        if self.publish_fails is not None:
            failure, self.publish_fails = self.publish_fails, None
            raise failure

    async def remove(self, key: BlobKey) -> None:
        self.removals_tried += 1
        if self.removals_fail:
            self.removals_fail -= 1
            raise BlobError("the store is away")
        await super().remove(key)
