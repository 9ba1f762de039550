"""A reporter in this process, whose clock stands still until the test lets it go on."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from less_sync.bins.reporting.start import read_small
from less_sync.client.durable import replace
from less_sync.fleet.reporter.client import REQUEST_S_MAX, Plane
from less_sync.fleet.reporter.messages import Identity
from less_sync.fleet.reporter.report import Report
from less_sync.fleet.reporter.reporter import Reporter, Served, Times
from less_sync.fleet.reporter.state import StateFile
from tests.fleet.stub_plane import WAIT_S, StubPlane

ENROLMENT: Final = "lse_enrolment"
IDENTITY: Final = Identity(
    name="one", kind="sync", hostname="host", os="linux", arch="amd64", version="1.2.3", labels={"a": "b"}
)
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
IMPATIENT_S: Final = 0.3
"""For a request, where nobody answers."""


class Clock:
    """Seconds that pass when the test says so: whoever sleeps waits for `go`."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._asked: asyncio.Queue[float] = asyncio.Queue()
        self._permits = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        self._asked.put_nowait(seconds)
        await self._permits.acquire()
        self.now_s += seconds

    async def wait_s(self) -> float:
        """How long is slept next; whatever happens before that has happened."""
        return await asyncio.wait_for(self._asked.get(), WAIT_S)

    async def next_wait_s(self) -> float:
        """Let the time pass that is slept, and what happens then happen."""
        self._permits.release()
        return await self.wait_s()

    def go(self) -> None:
        """Let the time pass that is slept."""
        self._permits.release()

    def times(self, seed: int = 1) -> Times:
        return Times(
            clock=lambda: self.now_s,
            now=lambda: BEGAN + timedelta(seconds=self.now_s - 1000),
            sleep=self.sleep,
            chance=random.Random(seed),
        )


@dataclass(slots=True)
class Lines:
    """A log."""

    told: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def info(self, message: str, **fields: object) -> None:
        self.told.append(("info", message, fields))

    def warning(self, message: str, **fields: object) -> None:
        self.told.append(("warning", message, fields))

    def error(self, message: str, **fields: object) -> None:
        self.told.append(("error", message, fields))

    def of(self, level: str) -> list[str]:
        """The messages at a level."""
        return [message for one, message, _ in self.told if one == level]


@dataclass(slots=True)
class Running:
    """A reporter that runs."""

    reporter: Reporter
    clock: Clock
    log: Lines
    task: "asyncio.Task[None]"
    drains: list[str]
    stopped: bool = False

    async def stop(self) -> None:
        """End it in order, once."""
        if self.stopped:
            return
        self.stopped = True
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.reporter.farewell()
        self.reporter.give_back()

    async def ended(self) -> None:
        """Wait until it has ended by itself."""
        await asyncio.wait_for(self.task, WAIT_S)


async def small_report() -> Report:
    return Report(connections=3, spaces=2, disk_total_bytes=10, disk_free_ratio=0.5, features=["files"])


def state_file(
    directory: Path,
    *,
    replace: Callable[[Path, bytes], None] = replace,
    read: Callable[[Path], bytes] = read_small,
) -> StateFile:
    return StateFile(directory, replace=replace, read=read)


@asynccontextmanager
async def running(
    plane: StubPlane | Plane,
    directory: Path,
    *,
    enrolment_token: str | None = ENROLMENT,
    minimal: bool = False,
    snapshot: Callable[[], Awaitable[Report]] = small_report,
    served: Served | None = None,
    state: StateFile | None = None,
    request_s_max: float = REQUEST_S_MAX,
    seed: int = 1,
) -> AsyncIterator[Running]:
    """A reporter of a small server."""
    clock, log, drains = Clock(), Lines(), list[str]()
    times = clock.times(seed)

    async def drain() -> None:
        drains.append("drain")

    async def resume() -> None:
        drains.append("resume")

    client = (
        plane
        if isinstance(plane, Plane)
        else Plane(plane.url, version="1.2.3", now=times.now, request_s_max=request_s_max)
    )
    reporter = Reporter(
        client,
        state or state_file(directory),
        IDENTITY,
        served or Served(snapshot, drain, resume),
        log,
        enrolment_token=enrolment_token,
        minimal=minimal,
        times=times,
    )
    task = asyncio.create_task(reporter.run())
    found = Running(reporter, clock, log, task, drains)
    try:
        yield found
    finally:
        await found.stop()
