"""How often an agent may send a heartbeat: counted in memory, by each instance for itself."""

import time
from collections.abc import Callable
from typing import Final

PER_INTERVAL_MAX: Final = 6
TOKENS_MAX: Final = 200_000
"""Tokens counted at once; those beyond are let pass."""


class HeartbeatLimit:
    """Counts heartbeats by the hash of the token, so that nobody uses up what is another's.

    One window for all begins when the one before it is over: a dictionary that is emptied once an interval.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began_s = 0.0
        self._counts: dict[bytes, int] = {}

    def wait_s(self, token_hash: bytes, interval_s: int) -> int:
        """Count one more, and say after how many seconds the next may come; 0: this one is good."""
        now = self._now()
        if now - self._began_s >= interval_s:
            self._began_s = now
            self._counts.clear()
        count = self._counts.get(token_hash, 0)
        if count >= PER_INTERVAL_MAX:
            return max(1, round(self._began_s + interval_s - now))
        if count or len(self._counts) < TOKENS_MAX:
            self._counts[token_hash] = count + 1
        return 0
