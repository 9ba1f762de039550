"""When a link dials again: what follows from how the last connection, or the last dial, ended."""

import random
from typing import Final

from less_sync.federation.outbound.limits import LinkLimits
from less_sync.sync.protocol.codes import CloseCode

NOT_FOR_US: Final = (400, 403, 404, 501)
"""Answers to an upgrade that another dial will hardly change: somebody must configure something."""

RECYCLED: Final = (CloseCode.TOKEN_EXPIRED, CloseCode.GOING_AWAY)
"""Closed as planned: its lifetime is over, or the peer restarts."""


class Backoff:
    """Doubles the wait with each failure in a row, up to a bound.

    Args:
        chance: draws the jitter, so that the peers of a server that restarts do not all come back at once.
    """

    def __init__(self, chance: random.Random, limits: LinkLimits) -> None:
        self._chance = chance
        self._limits = limits
        self._next_s = limits.backoff_first_s

    def unreachable(self) -> float:
        """Seconds to wait after a dial that found nobody, or a connection that broke."""
        return self._wait(0.0, self._limits.backoff_max_s)

    def refused(self, status: int) -> float:
        """Seconds to wait after an answer other than 101."""
        limits = self._limits
        if status == 401:
            return self._wait(0.0, limits.refused_max_s)
        if status in NOT_FOR_US:
            return self._wait(limits.refused_first_s, limits.refused_max_s)
        return self.unreachable()

    def closed(self, code: int, open_s: float) -> float:
        """Seconds to wait after a connection that was open for so long."""
        limits = self._limits
        if open_s >= limits.settled_s:
            self._next_s = limits.backoff_first_s
        # One that is recycled as soon as it opens is not: it would be dialled in a circle.
        if code in RECYCLED and open_s >= limits.recycled_s:
            return self._chance.uniform(0.0, limits.recycled_s)
        if code == CloseCode.TOO_MANY_CONNECTIONS:
            return self._wait(limits.refused_first_s, limits.backoff_max_s)
        if code == CloseCode.PROTOCOL_ERROR:
            return self._wait(limits.violated_first_s, limits.backoff_max_s)
        return self.unreachable()

    def _wait(self, first_s: float, max_s: float) -> float:
        wait_s = min(max(self._next_s, first_s), max_s)
        self._next_s = min(wait_s * 2, max_s)
        jitter = self._limits.backoff_jitter
        return wait_s * self._chance.uniform(1 - jitter, 1 + jitter)
