"""How many presence updates and events one connection may send (docs/protocol.md 8.1).

A token bucket lets short bursts through and drops what exceeds the rate in the long run. A client that keeps
sending far more than that costs the decoding of every message it sends, so it is disconnected.
"""

from enum import Enum, auto
from typing import Final

FLOOD_FACTOR: Final = 10
FLOOD_WINDOW_S: Final = 10.0
"""So many times the rate, on average over such a window, is a flood."""


class Verdict(Enum):
    """What to do with one message."""

    PASS = auto()
    DROP = auto()
    CLOSE = auto()
    """Close the connection with 4007 `rate limited`."""


class TokenBucket:
    """The bucket of one connection; it begins full. Constant work and memory per message."""

    __slots__ = ("_burst", "_filled_at_s", "_flood", "_per_s", "_seen", "_tokens", "_window_start_s")

    def __init__(self, *, per_s: int, burst: int, now_s: float) -> None:
        """`now_s` here and later comes from one monotonic clock."""
        self._per_s = per_s
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at_s = now_s
        self._flood = per_s * FLOOD_FACTOR * FLOOD_WINDOW_S
        self._window_start_s = now_s
        self._seen = 0

    def take(self, now_s: float) -> Verdict:
        """Count one message and judge it. Dropped ones count towards a flood but use no token."""
        if now_s - self._window_start_s >= FLOOD_WINDOW_S:
            self._window_start_s = now_s
            self._seen = 0
        self._seen += 1
        if self._seen >= self._flood:
            return Verdict.CLOSE
        earned = (now_s - self._filled_at_s) * self._per_s
        self._filled_at_s = now_s
        self._tokens = min(float(self._burst), self._tokens + earned)
        if self._tokens < 1:
            return Verdict.DROP
        self._tokens -= 1
        return Verdict.PASS
