"""Where CPU time goes, by looking at every thread a hundred times a second from one of our own.

A thread counts at a look if it has used CPU since the look before. That alone would also count the place
where a loop waits that had something to do in between. So a place where a thread was once found without
having used any is a waiting place, and what was counted there is left away. Where the system does not tell a
thread's CPU time, every look counts.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from less_sync.bins.profiler.places import frames_of, function

INTERVAL_S: Final = 0.01
SWITCH_INTERVAL_S: Final = 0.00001
"""How long a look waits for the interpreter's lock before it asks for it. With the usual 5 ms it would get
the lock when the loop lets go of it by itself, which is where it waits, and find it at no work at all."""
STACKS_MAX: Final = 10_000
"""Different ones; what else is seen counts as `other`."""
OTHER: Final = ("other",)

Place = tuple[int, int, int]
"""Thread, code and instruction."""


def cpu_ns(native_id: int) -> int | None:
    """CPU time that a thread of this process has used; None where it cannot be known."""
    try:
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_bytes().split()[0])
    except (OSError, ValueError, IndexError):
        return None


class Sampler:
    """Counts stacks."""

    def __init__(self, used_ns: Callable[[int], int | None] = cpu_ns) -> None:
        self._used_ns = used_ns
        self._before: dict[int, int | None] = {}
        self._counts: Counter[tuple[Place, tuple[str, ...]]] = Counter()
        self._waiting: set[Place] = set()

    def run(self, seconds: float, stop: threading.Event) -> None:
        """Look until the time is over or `stop` is set. One at a time: the interpreter's pace is changed."""
        ends_s = time.monotonic() + seconds
        former_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            while time.monotonic() < ends_s and not stop.wait(INTERVAL_S):
                self.look(sys._current_frames())
        finally:
            sys.setswitchinterval(former_s)

    def look(self, frames: dict[int, FrameType]) -> None:
        """Count the threads that are at work, but for this one."""
        native = {thread.ident: thread.native_id for thread in threading.enumerate()}
        now: dict[int, int | None] = {}
        for ident, frame in frames.items():
            number = native.get(ident)
            if ident == threading.get_ident() or number is None:
                continue
            used = now[ident] = self._used_ns(number)
            place = (ident, id(frame.f_code), frame.f_lasti)
            if ident not in self._before:
                continue
            if used is not None and used == self._before[ident]:
                self._waiting.add(place)
            else:
                self._count(place, tuple(function(one) for one in frames_of(frame)))
        self._before = now

    def collapsed(self) -> str:
        """A line for each stack, outermost function first, with how often it was seen."""
        totals: Counter[tuple[str, ...]] = Counter()
        for (place, stack), count in self._counts.items():
            if place not in self._waiting:
                totals[stack] += count
        return "".join(f"{';'.join(stack)} {count}\n" for stack, count in totals.most_common())

    def _count(self, place: Place, stack: tuple[str, ...]) -> None:
        key = (place, stack)
        if key not in self._counts and len(self._counts) >= STACKS_MAX:
            key = ((0, 0, 0), OTHER)
        self._counts[key] += 1
