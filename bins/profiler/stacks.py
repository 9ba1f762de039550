"""Where every task of the loop and every thread stands now. Equal stacks are told once, with their number."""

import asyncio
import sys
import threading
from collections import Counter
from typing import Final

from less_sync.bins.profiler.places import frames_of, place, waiting_places

STACKS_MAX: Final = 1000
TASKS_BETWEEN_PAUSES: Final = 200
"""So that looking at thousands of sessions does not hold up any of them."""

Stack = tuple[str, ...]


async def tasks() -> str:
    """The tasks of the running loop, the most frequent stack first."""
    counts: Counter[Stack] = Counter()
    for number, task in enumerate(asyncio.all_tasks()):
        if number % TASKS_BETWEEN_PAUSES == TASKS_BETWEEN_PAUSES - 1:
            await asyncio.sleep(0)
        if not task.done():
            counts[tuple(waiting_places(task.get_coro()))] += 1
    return _listed(counts, "task")


def threads() -> str:
    """The threads of the process."""
    names = {thread.ident: "daemon thread" if thread.daemon else "thread" for thread in threading.enumerate()}
    blocks = [
        _block(names.get(ident, "thread of a library"), tuple(place(one) for one in frames_of(frame)))
        for ident, frame in list(sys._current_frames().items())[:STACKS_MAX]
    ]
    return "\n".join(blocks)


def _listed(counts: Counter[Stack], what: str) -> str:
    blocks = [
        _block(f"{count} {what}{'s' if count > 1 else ''}", stack)
        for stack, count in counts.most_common(STACKS_MAX)
    ]
    left = sum(counts.values()) - sum(count for _, count in counts.most_common(STACKS_MAX))
    return "\n".join([f"{sum(counts.values())} {what}s, {left} of them not shown\n", *blocks])


def _block(title: str, stack: Stack) -> str:
    return "".join([f"{title}\n", *(f"    {one}\n" for one in stack)])
