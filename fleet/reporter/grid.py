"""When the next heartbeat is due, and the next try. Pure: the clock and the dice are handed in."""

import math
import random
from typing import Final

JITTER: Final = 0.1
"""Of the interval, to either side, so that servers that started together do not beat together."""
RETRY_S_MIN: Final = 1.0
RETRY_S_MAX: Final = 300.0


class Grid:
    """Points in time, an interval apart from the start on. One that was missed is not made up for.

    Args:
        began_s: monotonic seconds.
    """

    def __init__(self, began_s: float, interval_s: float, chance: random.Random) -> None:
        self._began_s: Final = began_s
        self.interval_s: Final = interval_s
        self._chance: Final = chance
        self._last = 0

    def wait_s(self, now_s: float) -> float:
        """How long until the next point, which is then taken."""
        passed = (now_s - self._began_s) / self.interval_s
        self._last = max(self._last + 1, math.ceil(passed))
        shift = self._chance.uniform(-JITTER, JITTER)
        return max(0.0, self._began_s + (self._last + shift) * self.interval_s - now_s)


def retry_wait_s(failures: int, chance: random.Random, retry_after_s: float = 0.0) -> float:
    """How long to wait after so many failures in a row: anything up to a bound that doubles each time.

    Args:
        retry_after_s: what the plane asked for, which is the least then.
    """
    bound_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(failures - 1, 20))
    return max(retry_after_s, chance.uniform(0.0, bound_s))
