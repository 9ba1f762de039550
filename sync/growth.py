"""Which spaces are written to most just now: counted only while somebody looks (docs/operations.md 18.2).

Counting costs a push something, so the recorder has no `Growth` until a console is open.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple
from uuid import UUID

WINDOW_S: Final = 60.0
SLICES: Final = 6
"""The window moves on by a sixth at a time."""
SPACES_MAX: Final = 10_000
"""Of one slice. What is written to further spaces meanwhile is not told apart, nor told."""


class Grown(NamedTuple):
    """What was written to a space within the window."""

    space: UUID
    records: int
    bytes: int
    """Of blobs and DEKs."""


class Growth:
    """Records and bytes by space, of the last minute.

    Args:
        clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_slices")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slices: deque[tuple[float, dict[UUID, list[int]]]] = deque(maxlen=SLICES)

    def add(self, space: UUID, records: int, size_bytes: int) -> None:
        """Count one push that was written."""
        now_s = self._clock()
        if not self._slices or now_s - self._slices[-1][0] >= WINDOW_S / SLICES:
            self._slices.append((now_s, {}))
        counts = self._slices[-1][1]
        found = counts.get(space)
        if found is not None:
            found[0] += records
            found[1] += size_bytes
        elif len(counts) < SPACES_MAX:
            counts[space] = [records, size_bytes]

    def top(self, limit: int) -> list[Grown]:
        """The spaces with most bytes, at most `limit`, those with most first."""
        oldest_s = self._clock() - WINDOW_S
        sums: dict[UUID, list[int]] = {}
        for began_s, counts in self._slices:
            if began_s >= oldest_s:
                for space, (records, size_bytes) in counts.items():
                    found = sums.setdefault(space, [0, 0])
                    found[0] += records
                    found[1] += size_bytes
        grown = [Grown(space, records, size_bytes) for space, (records, size_bytes) in sums.items()]
        return sorted(grown, key=lambda one: (-one.bytes, -one.records, one.space.int))[:limit]
