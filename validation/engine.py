"""The order in which checks run (docs/validation.md 4.1): lanes side by side, each in the manifest's order.

What mostly waits starts first and runs beside the lanes. A window begins before all others and ends after
them; then comes what a window must not see, and at the very end cleaning up. A check that needs others waits
for them without taking anybody's place, and manifests whose needs and order contradict each other were
refused, so no wait is for ever.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from less_sync.validation.attempt import Exclusives, Row, attempted
from less_sync.validation.context import Run
from less_sync.validation.matrix import Check
from less_sync.validation.outcome import Outcome, Status
from less_sync.validation.procedure import Place

INTERRUPTED: Final = Outcome(Status.ERROR, "interrupted")
GRACE_S: Final = 10.0
"""What running checks have to come to an end once the run is interrupted."""
JOBS_MAX: Final = 16
LOOK_S: Final = 15.0
"""For which the others wait for the first looks of windows."""


class Engine:
    """Runs the checks of one run. Every one of them gets a row, whatever happens.

    Args:
        jobs: how many checks run in turn at once; those beside and of windows are not counted.
        preset: the row of a check that is decided before it is tried: that it was not selected, say.
        hear: told of each row when it is finished, in that order.
    """

    def __init__(
        self,
        run: Run,
        checks: Sequence[Check],
        *,
        jobs: int,
        preset: Callable[[Check], Row | None],
        hear: Callable[[Row], None],
    ) -> None:
        assert 1 <= jobs <= JOBS_MAX
        self._run = run
        self._checks = checks
        self._preset = preset
        self._hear = hear
        self._slots = asyncio.Semaphore(jobs)
        self._exclusives = Exclusives()
        self._rows: dict[str, Row] = {}
        self._finished = {check.id: asyncio.Event() for check in checks}
        self._interrupted = asyncio.Event()

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended it early."""
        return self._interrupted.is_set()

    def interrupt(self) -> None:
        """Begin no further check; those that run have ten seconds. Cleaning up is done all the same."""
        self._interrupted.set()

    async def rows(self) -> list[Row]:
        """Run them all; the rows in the manifest's order."""
        windows = {check.id: self._started(check) for check in self._at(Place.WINDOW)}
        try:
            await self._all_looked(windows)
            await self._until_ended_or_interrupted()
            self._run.others_done.set()
            await self._settled(list(windows.values()))
        finally:
            for task in windows.values():
                task.cancel()
            await asyncio.gather(*windows.values(), return_exceptions=True)
        for check in self._at(Place.LAST):
            self._done(await self._one(check))
        for check in self._at(Place.TIDY):
            self._done(await self._one(check, tidying=True))
        for check in self._checks:
            if check.id not in self._rows:
                self._done(Row(check, INTERRUPTED))
        return [self._rows[check.id] for check in self._checks]

    async def _all_looked(self, windows: Mapping[str, asyncio.Task[None]]) -> None:
        """Wait until every window has taken its first look, or has ended: what follows is in all of them."""
        run = self._run
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                while late := [
                    task for name, task in windows.items() if name not in run.looked and not task.done()
                ]:
                    run.look_taken.clear()
                    look = asyncio.create_task(run.look_taken.wait())
                    try:
                        await asyncio.wait((look, *late), return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        look.cancel()  # also when this wait is over or cut off

    def _at(self, place: Place) -> list[Check]:
        return [check for check in self._checks if check.procedure.place is place]

    def _started(self, check: Check) -> asyncio.Task[None]:
        async def one() -> None:
            self._done(await self._one(check))

        return asyncio.create_task(one(), name=check.id)

    async def _until_ended_or_interrupted(self) -> None:
        """Everything in turn and beside; what is not over by the end of the grace is cancelled."""
        tasks = [self._started(check) for check in self._at(Place.BESIDE)]
        lanes = dict.fromkeys(check.lane for check in self._at(Place.IN_TURN))
        tasks += [asyncio.create_task(self._lane(lane), name=lane) for lane in lanes]
        try:
            await self._settled(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _settled(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Return when all have ended, or some time after an interruption. Raises what one of them raised."""
        if not tasks:
            return
        ended = asyncio.ensure_future(asyncio.gather(*tasks))
        watch = asyncio.create_task(self._interrupted.wait())
        try:
            await asyncio.wait((ended, watch), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait((ended,), timeout=GRACE_S)
            if ended.done():
                ended.result()
        finally:
            watch.cancel()
            ended.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            with suppress(asyncio.CancelledError, Exception):
                await ended

    async def _lane(self, lane: str) -> None:
        for check in self._at(Place.IN_TURN):
            if check.lane == lane:
                self._done(await self._one(check, in_turn=True))

    async def _one(self, check: Check, *, in_turn: bool = False, tidying: bool = False) -> Row:
        preset = self._preset(check)
        if preset is not None:
            return preset
        if self.interrupted and not tidying:
            return Row(check, INTERRUPTED, lines=("not begun: the run was interrupted",))
        for need in check.needs:
            await self._finished[need].wait()
            if self._rows[need].outcome.status is not Status.PASSED:
                outcome = Outcome(Status.BLOCKED, f"needs:{need}")
                return Row(check, outcome, lines=(f"{outcome.status}: {outcome.reason}",))
        if not in_turn:
            return await attempted(check, self._run, exclusives=self._exclusives)
        async with self._slots:
            if self.interrupted:
                return Row(check, INTERRUPTED, lines=("not begun: the run was interrupted",))
            return await attempted(check, self._run, exclusives=self._exclusives)

    def _done(self, row: Row) -> None:
        self._rows[row.check.id] = row
        self._finished[row.check.id].set()
        self._hear(row)
