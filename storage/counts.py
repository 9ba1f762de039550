"""What is counted, as plain numbers: adding costs next to nothing, and whoever wants to know reads them."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

UNSORTED_MAX: Final = 256
"""Values of one histogram that are not yet in their buckets."""


class Histogram:
    """How many values were at most as large as each bound, and their sum.

    Values are noted as they come, and put into buckets many at once: that takes a fraction of the time.

    Args:
        bounds: ascending; one more bucket takes what is beyond the last.
    """

    __slots__ = ("_bounds", "_counts", "_total", "_unsorted")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._unsorted: list[float] = []

    def add(self, value: float) -> None:
        """Count one value."""
        unsorted = self._unsorted
        unsorted.append(value)
        if len(unsorted) >= UNSORTED_MAX:
            self._sort()

    @property
    def total(self) -> float:
        """The sum of all values."""
        self._sort()
        return self._total

    @property
    def count(self) -> int:
        """How many values there are."""
        self._sort()
        return sum(self._counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """For each bound, as text, how many values were not above it; the last bound is `+Inf`."""
        self._sort()
        names = [*(f"{float(bound):g}" for bound in self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))

    def _sort(self) -> None:
        values, self._unsorted = sorted(self._unsorted), []
        self._total += sum(values)
        before = 0
        for index, bound in enumerate(self._bounds):
            here = bisect_right(values, bound)
            self._counts[index] += here - before
            before = here
        self._counts[-1] += len(values) - before


class LaneCounts:
    """What all push lanes of a process have sent."""

    __slots__ = ("pushes", "refused", "seconds")

    def __init__(self) -> None:
        self.pushes = Histogram((1, 2, 4, 8, 16))
        """Pushes that shared a statement."""
        self.seconds = Histogram((0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0))
        """From when a statement was sent until its result was here, flush to disk and lock waits included."""
        self.refused = 0
        """Pushes that the queue had no room for, or that came when the lanes had ended."""


class PoolCounts:
    """Who asks for connections of a pool."""

    __slots__ = ("failed", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        """Those who wait for a connection now."""
        self.failed = 0
        """How often none was had: none became free in time, or none could be opened."""


REFUSALS: Final = ("behind", "away", "cancelled", "stranger")
"""Why a pull was not read from a replica that was asked for it: it did not yet have everything; it did not
answer; it gave up, or cut the pull off, as recovery makes it do; it is no standby of our database."""


class ReplicaCounts:
    """What one replica was asked for."""

    __slots__ = ("continued", "refused", "served")

    def __init__(self) -> None:
        self.served = 0
        """Pulls that were read from it, at least to begin with."""
        self.refused = dict.fromkeys(REFUSALS, 0)
        """Tries that ended at the primary."""
        self.continued = 0
        """Those of them that had begun, and went on at the primary in the middle."""
