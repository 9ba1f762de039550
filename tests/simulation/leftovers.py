"""What must be as it was before anybody came: tables, counts, slots, tasks and timers of the server.

Nothing is known of what the attributes mean, so nothing has to be changed here when they are: containers are
measured, numbers and semaphores compared.
"""

import asyncio
from collections.abc import Sized
from typing import Final

from tests.simulation.loop import SimulatedLoop

_IGNORED: Final = frozenset(
    {
        "_accounts",
        "_doors",
        "_limits",
        "_recent_looks",
        "_serial",
        "_tasks",
        "_tickets",
        "authenticator",
        "authority",
        "counts",
        "delivered",
        "limits",
        "metrics",
    }
)
"""Caches, counters, what does not change, and tasks of held-up pushes, which are counted by themselves."""
_OURS: Final = "less_sync."


class Leftovers:
    """Remembers a state, and tells what differs from it later.

    Args:
        ignored: names of other attributes that are not looked at.
    """

    def __init__(
        self, loop: SimulatedLoop, objects: list[object], *, ignored: frozenset[str] = frozenset()
    ) -> None:
        self._loop = loop
        self._objects = objects
        self._ignored = _IGNORED | ignored
        self._before = self._measure()
        self._tasks = self._task_names()

    def since_start(self) -> list[str]:
        """Differences while the server still runs."""
        found = self.of_objects()
        if self._task_names() != self._tasks:
            found.append(f"tasks are {self._task_names()}, were {self._tasks}")
        return found

    def of_objects(self) -> list[str]:
        """The same without tasks: those of a loop may be of several servers."""
        return [
            f"{what} is {now}, was {self._before.get(what)}"
            for what, now in self._measure().items()
            if now != self._before.get(what)
        ]

    def at_end(self) -> list[str]:
        """What is left when the server has stopped."""
        tasks = [f"task {name} is left" for name in self._task_names()]
        return tasks + [f"timer {handle!r} is left" for handle in self._loop.timers()]

    def _task_names(self) -> list[str]:
        return sorted(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks(self._loop))

    def _measure(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for one in self._objects:
            _measure(one, type(one).__name__, found, set(), self._ignored)
        return found


def _measure(
    one: object, path: str, found: dict[str, object], seen: set[int], ignored: frozenset[str]
) -> None:
    """Note the size of every attribute, and of theirs if they are objects of the server."""
    seen.add(id(one))
    for name in _attributes(one):
        value = getattr(one, name, None)
        if name in ignored or id(value) in seen:
            continue
        size = _size(value)
        if size is not None:
            found[f"{path}.{name}"] = size
        if type(value).__module__.startswith(_OURS):
            _measure(value, f"{path}.{name}", found, seen, ignored)


def _attributes(one: object) -> list[str]:
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*slots, *getattr(one, "__dict__", ())]


def _size(value: object) -> object:
    if isinstance(value, asyncio.Semaphore):
        return value._value
    if isinstance(value, bool | int):
        return value
    if isinstance(value, Sized) and not isinstance(value, str | bytes):
        return len(value)
    return None
