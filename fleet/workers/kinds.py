"""Every kind of background work of an instance."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from less_sync.fleet.workers.delivery import delivery
from less_sync.fleet.workers.health import health
from less_sync.fleet.workers.retention import retention
from less_sync.fleet.workers.runner import Worker, run

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

Kind = Worker | Callable[["Plane"], Worker]
"""A worker, or how one is made that remembers something between its steps."""

WORKERS: Final[Mapping[str, Kind]] = {"delivery": delivery, "health": health, "retention": retention}
"""Every kind there is."""


def workers(
    plane: "Plane", kinds: Mapping[str, Kind] | None = None
) -> Mapping[str, Callable[[asyncio.Event], Awaitable[None]]]:
    """All workers of an instance by name: each, called with what stops it, is to be run as a task.

    Args:
        kinds: those to run; None: all there are.
    """

    def running(kind: Kind) -> Callable[[asyncio.Event], Awaitable[None]]:
        worker = kind if isinstance(kind, Worker) else kind(plane)
        return lambda stop: run(plane, worker, stop)

    return {name: running(kind) for name, kind in (WORKERS if kinds is None else kinds).items()}
