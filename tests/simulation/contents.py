"""File storage that is slow and fails: contents in memory, at the other end of a modelled network."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from tests.simulation.system import BlobError, BlobKey, MemoryBlobs, Opened, Stored

MARK_BYTES: Final = 16
"""How a content begins: what its author is known by."""


class DistantBlobs(MemoryBlobs):
    """Each call takes its time there and back, and may fail on either way.

    Args:
        travel: returns when one way is covered.
        fails: whether the seed wants the next step to fail.
        changed: told which content was put or removed.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        travel: Callable[[str], Awaitable[None]],
        fails: Callable[[], bool],
        changed: Callable[[BlobKey], None],
    ) -> None:
        super().__init__(now=now)
        self._travel = travel
        self._fails = fails
        self.changed = changed
        self.vanished: Final[set[BlobKey]] = set()
        """Whose content was lost once."""

    def mark_at(self, key: BlobKey) -> bytes | None:
        """Whose content it is; None when there is none."""
        content = self._contents.get(key)
        return None if content is None else content.data[:MARK_BYTES]

    @property
    def stored(self) -> list[BlobKey]:
        """What there is."""
        return list(self._contents)

    def vanish(self, key: BlobKey) -> None:
        """Lose a content, as a store does whose disk is gone."""
        self._contents.pop(key, None)
        self.vanished.add(key)

    async def way(self, label: str) -> None:
        """Cover one way, or fail on it."""
        await self._travel(label)
        if self._fails():
            raise BlobError("the store is away")

    async def show(self, key: BlobKey, data: bytes, check: Callable[[], Awaitable[None]]) -> None:
        await self.way("to the store")
        await super().show(key, data, check)
        self.changed(key)
        await self.way("from the store")

    async def find(self, key: BlobKey) -> Stored | None:
        await self.way("to the store")
        found = await super().find(key)
        await self.way("from the store")
        return found

    @asynccontextmanager
    async def open(self, key: BlobKey) -> AsyncIterator[Opened | None]:  # type: ignore[override]  # a wider type
        await self.way("to the store")
        async with super().open(key) as opened:
            await self.way("from the store")
            yield opened

    async def remove(self, key: BlobKey) -> None:
        await self.way("to the store")
        await super().remove(key)
        self.changed(key)
        await self.way("from the store")
