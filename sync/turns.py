"""Whose turn a periodic task is, where several processes share one database (docs/scaling.md 3.6).

A turn is a slot of the rate limits, of which there is one within an interval: the database counts it under a
lock that ends with its transaction, so exactly one process has it, it says when the work was done last, and a
process that dies holds nobody up. The next turn is there at the next interval, whatever became of this one.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from less_sync.storage import RateLimitStore, StorageError

ACTION: Final = "less-sync:turn"
SHARE: Final = 0.85
"""Of an interval, in which there is one turn. Less than the shortest pause between the tries of one process,
however its clock and the database's differ."""


class Turns:
    """Asks for turns. One per process."""

    def __init__(self, store: RateLimitStore) -> None:
        self._store = store

    @asynccontextmanager
    async def taken(self, task: str, interval_s: float) -> AsyncIterator[bool]:
        """Whether the block shall do the work now: False when this or another process did it lately.

        What fails is given back, so that whoever tries next does it. Safe against other processes by
        `lsync_rate_take_v1`, which counts and inserts under an advisory lock of the task.

        Args:
            task: its name, the same in every process.
            interval_s: how often it is to be done; under 1.2 s each process does it.

        Raises:
            StorageError: nobody can tell.
        """
        within_s = int(interval_s * SHARE)
        slot = await self._store.take(ACTION, _hash_of(task), window_s=within_s, slots_max=1)
        if slot is None:
            yield False
            return
        try:
            await self._store.forget_before(slot)
            yield True
        except Exception:
            with suppress(StorageError):  # then the next interval does it
                await self._store.undo(slot)
            raise


def _hash_of(task: str) -> str:
    return hashlib.sha256(task.encode()).hexdigest()
