"""Hourly limits on what one person may do, over all connections and processes (docs/protocol.md 12.2)."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from less_sync.auth import Identity
from less_sync.storage import RateLimitStore, RateSlot, StorageError, Unavailable
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode

log = structlog.get_logger(__name__)


class RateLimits:
    """Off without a key: persons are counted under a keyed hash and in no other way.

    Args:
        key: 32 bytes, `IDENTITY_HASH_KEY`.
        window_s: how long a slot stays taken.
    """

    def __init__(self, store: RateLimitStore, *, key: bytes | None, window_s: float) -> None:
        self._store = store
        self._key = key
        self._window_s = int(window_s)

    @asynccontextmanager
    async def slot(
        self, action: str, identity: Identity, *, slots_max: int, what: str
    ) -> AsyncIterator[None]:
        """Take a slot for what the block does; it is given back when the block says that it was not done.

        A refusal says that, and so does an error the database reported. After a lost connection, a time-out
        or a cancellation the outcome is unknown and the slot stays taken: a stricter limit, not a looser one.

        Args:
            what: what is limited, in words, for the error.

        Raises:
            RpcError: `rate_limited` when all slots are taken, `internal` when they cannot be counted.
        """
        if self._key is None:
            yield
            return
        taken = await self._take(action, actor_hash(self._key, identity), slots_max, what)
        try:
            yield
        except Unavailable:
            raise
        except (RpcError, StorageError):
            await self._give_back(taken)
            raise

    async def _take(self, action: str, actor: str, slots_max: int, what: str) -> RateSlot:
        try:
            taken = await self._store.take(action, actor, window_s=self._window_s, slots_max=slots_max)
        except StorageError as error:
            log.error("storage failed", action=action, error=str(error))
            raise RpcError(ErrorCode.INTERNAL, "internal error") from error
        if taken is None:
            raise RpcError(ErrorCode.RATE_LIMITED, f"rate limit exceeded: max {slots_max} {what} per hour")
        return taken

    async def _give_back(self, slot: RateSlot) -> None:
        try:
            await self._store.undo(slot)
        except StorageError as error:
            # The slot stays taken until its window is over: a stricter limit, not a looser one.
            log.error("storage failed", action=slot.action, error=str(error))

    async def clean_up(self) -> int:
        """Delete slots whose window is over; return how many."""
        return await self._store.cleanup(window_s=self._window_s)


def actor_hash(key: bytes, identity: Identity) -> str:
    """Name a person to the table of limits: hex of HMAC-SHA256(key, issuer | 00 | user id)."""
    message = f"{identity.issuer}\x00{identity.user_id}".encode()
    return hmac.digest(key, message, hashlib.sha256).hex()
