"""Rate limits that hold over all processes (docs/storage.md 5.7). Implements `storage.stores.RateLimitStore`.

`lsync_rate_take_v1` counts and inserts under an advisory lock of action and actor that ends with its
transaction: those who take at once take turns, and each sees the slots of those before.
"""

from less_sync.storage.postgres.maintenance import purge
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.types import RateSlot


class PostgresRateLimitStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def take(self, action: str, actor_hash: str, *, window_s: int, slots_max: int) -> RateSlot | None:
        """Take one of `slots_max` slots that an actor has for an action within `window_s`."""
        [row] = await self._pool.fetch("take_rate", action, actor_hash, window_s, slots_max)
        taken, place, taken_at = row
        return RateSlot(action, actor_hash, place, taken_at) if taken else None

    async def undo(self, slot: RateSlot) -> None:
        """Give a slot back: the row it is, told from any later one in its place by actor and time."""
        await self._pool.fetch("undo_rate", slot.action, slot.actor_hash, slot.row, slot.taken_at)

    async def forget_before(self, slot: RateSlot) -> None:
        """Delete the slots of its action and actor that were taken earlier."""
        await self._pool.fetch("forget_slots", slot.action, slot.actor_hash, slot.taken_at)

    async def cleanup(self, *, window_s: int) -> int:
        """Delete slots older than `window_s`."""
        return await purge(self._pool, "purge_rates", window_s)
