"""Background work: each worker is a loop that survives its own faults and stops between two steps.

Every instance runs all workers. What is periodic is done by one instance at a time: whoever moves the row of
`worker_state` on (`claimed`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog

from less_sync.fleet.database import value

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection
    from less_sync.fleet.plane import Plane

PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0
"""After a fault, doubling from one to the other."""
DUE: Final = 0.9
"""Part of the interval after which a periodic run is due: the clocks of loop and database are not one."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """One kind of background work.

    Attributes:
        work: one step; True when it should look again at once.
        interval_s: the longest wait between two steps.
        woken: what cuts that wait short; the loop clears it before a step. None: nothing.
        finish: ends what steps have left under way, when there are no more of them. None: they leave nothing.
    """

    name: str
    work: "Callable[[Plane], Awaitable[bool]]"
    interval_s: "Callable[[Plane], float]"
    woken: "Callable[[Plane], asyncio.Event] | None" = None
    finish: "Callable[[], Awaitable[None]] | None" = None


async def run(plane: "Plane", worker: Worker, stop: asyncio.Event, *, pause_s: float = PAUSE_S) -> None:
    """Work until `stop` is set; the step in hand is finished. One that raises is logged and tried again."""
    try:
        await _steps(plane, worker, stop, pause_s)
    finally:
        if worker.finish is not None:
            await worker.finish()


async def _steps(plane: "Plane", worker: Worker, stop: asyncio.Event, pause_s: float) -> None:
    wait_s = pause_s
    while not stop.is_set():
        woken = None if worker.woken is None else worker.woken(plane)
        if woken is not None:
            woken.clear()
        try:
            again = await worker.work(plane)
        except Exception:
            _log.exception("worker failed", worker=worker.name, again_in_s=wait_s)
            await _first(stop, None, wait_s)
            wait_s = min(wait_s * 2, PAUSE_MAX_S)
            continue
        wait_s = pause_s
        if not again:
            await _first(stop, woken, worker.interval_s(plane))


async def claimed(connection: "Connection", plane: "Plane", name: str, interval_s: float) -> datetime | None:
    """Whether this instance is the one to run what is periodic now.

    One statement moves `worker_state.last_run_at` on if it is old enough; of two instances that try, the
    second waits for the row and finds it new.

    Returns:
        when the run before this one was claimed (year 1 for the first ever); None: it is not due.
    """
    before: datetime | None = await value(connection, "claim_run", name, interval_s * DUE, plane.instance)
    return before


async def _first(stop: asyncio.Event, woken: asyncio.Event | None, within_s: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (stop, woken) if event is not None]
    try:
        await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
            with suppress(asyncio.CancelledError):
                await wait
