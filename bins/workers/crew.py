"""The workers of a server, kept running: started, started anew when one ends, replaced one by one.

Each has a slot: sockets of its own, which the supervisor keeps open. What waits in the queue of a worker that
died is served by its successor (docs/scaling.md 1.3).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from less_sync.bins.errors import CommandError
from less_sync.bins.process import first_of
from less_sync.bins.supervisor import Supervisor
from less_sync.bins.workers.messages import Begin, Reload
from less_sync.bins.workers.places import WorkerPlace
from less_sync.bins.workers.process import WorkerFailed, WorkerProcess

FIRST_ATTEMPTS: Final = 3
"""At the start of the server, of a worker that ends without a word."""
FAILURES_MAX: Final = 5
"""In a row, of a worker that does not get ready, while no other serves."""

_log = structlog.get_logger(__name__)


class Pace(NamedTuple):
    """When a worker is started again, and what time it is (monotonic seconds)."""

    pauses_s: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 5.0)
    """Before each attempt; the last one before all that follow."""
    lasting_s: float = 60.0
    """One that ran for so long has recovered: its end is the first one again."""
    clock: Callable[[], float] = time.monotonic

    def pause_s(self, attempts: int) -> float:
        """Before the next one."""
        return self.pauses_s[min(attempts, len(self.pauses_s) - 1)]


class Orders(NamedTuple):
    """What workers are started with."""

    command: Sequence[str]
    """What runs one; the descriptor of its channel is put behind it."""
    environment: Mapping[str, str]
    files: Callable[[int], Sequence[int]]
    """Descriptors that they inherit, by number."""
    begin: Callable[[int, bool], Begin]
    """Their first message as it would be now, by number and whether that one migrates the database."""


class Crew:
    """All workers.

    Args:
        number: how many.
        vital: what keeps them runs there.
        ending_s: how long the end of one may take that was told to; then it is killed.
    """

    def __init__(
        self, number: int, orders: Orders, vital: Supervisor, *, ending_s: float, pace: Pace | None = None
    ) -> None:
        self._orders = orders
        self._vital = vital
        self._ending_s: Final = ending_s
        self._slots: Final = [_Slot(k, self, pace or Pace()) for k in range(1, number + 1)]
        self._living: Final[dict[WorkerProcess, Path | None]] = {}
        """Every process that is not collected yet, with the path of its admin socket if it has one."""
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self._asked = asyncio.Event()
        """Set when all shall be replaced."""
        self.restarts = 0
        """How often one was started because another had ended by itself."""

    def places(self) -> list[WorkerPlace]:
        """The workers that live and are ready, and can be asked about themselves."""
        return [
            WorkerPlace(one.number, one.pid, path)
            for one, path in self._living.items()
            if one.is_ready and path is not None
        ]

    @property
    def somebody_serves(self) -> bool:
        """Whether a worker is ready."""
        return any(one.is_ready for one in self._living)

    async def gather(self) -> None:
        """Start the processes: they import what they need, and wait for `begin`.

        Raises:
            CommandError: the system gives none.
        """
        for slot in self._slots:
            await slot.fill()

    async def begin(self) -> None:
        """Let all serve, the others once the first one has migrated; and keep them from then on.

        Raises:
            CommandError: one of them does not start, with its own words if it has any.
        """
        first, *others = self._slots
        first.begin(migrates=True)
        await first.until(WorkerProcess.migrated)
        for slot in others:
            slot.begin(migrates=False)
        for slot in self._slots:
            await slot.until(WorkerProcess.ready)
        for slot in self._slots:
            self._tasks.append(self._vital.start(f"keeper of worker {slot.number}", slot.keep()))
        self._tasks.append(self._vital.start("replacement of workers", self._replace_when_asked()))

    def reload(self) -> None:
        """Let all look at their settings and keys again."""
        for one in self._living:
            if one.begun:
                one.send(Reload())

    def replace(self) -> None:
        """Replace all, one after the other. Asked again meanwhile, it is done once more."""
        self._asked.set()

    def keep_no_more(self) -> None:
        """Start nobody from now on. To be called before the sockets are closed that a worker is given."""
        for task in self._tasks:
            self._vital.cancel(task)

    async def stop(self) -> None:
        """Let all drain together, and kill what is left when the time is over."""
        for task in self._tasks:
            await self._vital.stop(task)
        for one in self._living:
            one.stop(replaced=False)
        await asyncio.gather(*(self.see_off(one) for one in list(self._living)))

    def kill(self) -> None:
        """End all at once."""
        for one in self._living:
            one.kill()

    async def start(self, number: int) -> WorkerProcess:
        """Start a process for a slot; raises as `WorkerProcess.start`."""
        orders = self._orders
        started = await WorkerProcess.start(
            number, orders.command, orders.environment, orders.files(number), gone=self._gone
        )
        self._living[started] = None
        return started

    def let_begin(self, worker: WorkerProcess, *, migrates: bool = False) -> None:
        """Send a process its first message."""
        message = self._orders.begin(worker.number, migrates)
        self._living[worker] = None if message.admin is None else Path(message.admin)
        worker.begin(message)

    async def see_off(self, worker: WorkerProcess) -> None:
        """Wait for the end of one that was told to stop."""
        try:
            async with asyncio.timeout(self._ending_s):
                await worker.over.wait()
        except TimeoutError:
            _log.error("a worker does not end, and is killed", number=worker.number, pid=worker.pid)
            worker.kill()
            await worker.over.wait()

    def _gone(self, worker: WorkerProcess) -> None:
        path = self._living.pop(worker, None)
        if path is not None:
            with suppress(OSError):  # of one that was killed
                path.unlink(missing_ok=True)

    async def _replace_when_asked(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            _log.info("the workers are replaced one by one")
            for slot in self._slots:
                if not await slot.replace():
                    _log.error("the workers are not replaced", from_number=slot.number)
                    break
            else:
                _log.info("the workers were replaced")


class _Slot:
    """A place for one worker, who has the sockets of this number."""

    def __init__(self, number: int, crew: Crew, pace: Pace) -> None:
        self.number: Final = number
        self._crew = crew
        self._pace = pace
        self._starting = asyncio.Lock()
        """Held by whoever puts another process here."""
        self._current: WorkerProcess
        self._replaced = asyncio.Event()
        """Set when another one is the current one: the end of that one is to be waited for."""

    async def fill(self) -> None:
        """Start the first process.

        Raises:
            CommandError: the system gives none.
        """
        try:
            self._current = await self._crew.start(self.number)
        except WorkerFailed as failed:
            raise CommandError(f"worker {self.number} does not start: {failed}") from failed

    def begin(self, *, migrates: bool) -> None:
        """Let it serve."""
        self._crew.let_begin(self._current, migrates=migrates)

    async def until(self, wait: Callable[[WorkerProcess], Awaitable[None]]) -> None:
        """Wait for something of it, with another process if it ends without a word.

        Raises:
            CommandError: it said why it cannot, or ended again and again.
        """
        for attempt in range(1, FIRST_ATTEMPTS + 1):
            try:
                await wait(self._current)
            except WorkerFailed as failed:
                if failed.told:
                    raise CommandError(str(failed), failed.causes) from failed
                if attempt == FIRST_ATTEMPTS:
                    raise CommandError(f"worker {self.number} does not start: {failed}") from failed
                _log.error("a worker does not start", number=self.number, reason=str(failed))
            else:
                return
            await self._current.over.wait()
            await self.fill()
            # Another one may have migrated before: then there is nothing to do.
            self.begin(migrates=True)

    async def keep(self) -> None:
        """Start another process whenever one ends.

        Raises:
            CommandError: none gets ready, and nobody else serves.
        """
        attempts = failures = 0
        while True:
            ended = self._current
            await first_of(ended.over, self._replaced)
            self._replaced.clear()
            async with self._starting:
                if self._current is not ended or not ended.over.is_set():
                    continue
                if self._pace.clock() - ended.started_s >= self._pace.lasting_s:
                    attempts = 0
                _log.error(
                    "a worker has ended and is started again",
                    number=self.number,
                    pid=ended.pid,
                    end=ended.end,
                    pause_s=self._pace.pause_s(attempts),
                )
                while self._current is ended:
                    await asyncio.sleep(self._pace.pause_s(attempts))
                    attempts += 1
                    failures = 0 if await self._gets_ready(failures + 1) else failures + 1

    async def _gets_ready(self, failures: int) -> bool:
        """Start a process and say whether it gets ready; that none did so often and nobody else serves ends
        the server."""
        try:
            started = await self._crew.start(self.number)
            self._current = started
            self._crew.restarts += 1
            self._crew.let_begin(started)
            await started.ready()
        except WorkerFailed as failed:
            _log.error("a worker does not start", number=self.number, reason=str(failed))
            if failures >= FAILURES_MAX and not self._crew.somebody_serves:
                raise CommandError(str(failed), failed.causes) from failed
            return False
        _log.info("a worker is ready", number=self.number, pid=started.pid)
        return True

    async def replace(self) -> bool:
        """Put another process here: once it is ready at the same sockets, the one before drains and ends.

        Returns:
            False when the other one does not get ready: then the one before stays.
        """
        async with self._starting:
            before, after = self._current, None
            try:
                after = await self._crew.start(self.number)
                self._crew.let_begin(after)
                await after.ready()
            except WorkerFailed as failed:
                _log.error("a worker does not start", number=self.number, reason=str(failed))
                if after is not None:
                    await self._crew.see_off(after)
                return False
            self._current = after
            self._replaced.set()
            before.stop(replaced=True)
        _log.info("a worker is replaced", number=self.number, pid=after.pid, before=before.pid)
        await self._crew.see_off(before)
        return True
