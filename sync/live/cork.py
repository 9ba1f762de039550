"""Notices that fall into one turn of the event loop leave in one write for each who hears them.

A write to a socket costs ten times what all else of a delivery does, and where many write into one space the
lane answers a dozen of them at once. So the first notice of a turn goes out at once, which is all there is
where nobody hurries; those behind it wait for the end of the turn, and go together. Whatever else a session
sends goes behind what waits for it: the order of one connection is what it would be without.
"""

from collections.abc import Callable
from typing import Final, Protocol

CORKED_FRAMES_MAX: Final = 16
"""What may wait for one session."""
CORKED_FRAME_BYTES_MAX: Final = 4096
"""Larger ones do not wait: to copy them together, for each who hears them, takes as long as a write."""

Later = Callable[[Callable[[], None]], object]
"""Has something called at the end of the turn of the loop."""


class Corked(Protocol):
    """What has something to write at the end of a turn."""

    def uncork(self) -> None:
        """Write it. Must not block, raise, or publish anything."""


class Cork:
    """The turn in which something is published, one for all sessions of a process.

    Args:
        later: None: there are no turns, and nothing waits.
    """

    __slots__ = ("_later", "_serial", "_turn", "_waiting")

    def __init__(self, later: Later | None = None) -> None:
        self._later = later
        self._serial = 0
        self._waiting: list[Corked] = []
        """Those with something to write, for a turn; who has written and waits again stands there twice."""
        self._turn = 0
        """The number of the turn that runs; 0 while nothing was published in it."""

    def begin(self) -> int:
        """Something is about to be published: the number of the turn that runs, 0 where there are none."""
        if not self._turn and self._later is not None:
            self._serial += 1
            self._turn = self._serial
            self._later(self._end)
        return self._turn

    def add(self, corked: Corked) -> None:
        """Have it write at the end of this turn."""
        self._waiting.append(corked)

    def _end(self) -> None:
        self._turn = 0
        waiting, self._waiting = self._waiting, []
        for corked in waiting:
            corked.uncork()


OPEN: Final = Cork()
"""Under which nothing waits."""
