"""Starting and stopping a reporter beside a server: whatever becomes of it, the server serves."""

import asyncio
from pathlib import Path
from typing import Final

from less_sync.bins.reporting.identity import identity
from less_sync.bins.settings.reporter import MINIMAL, ReporterSettings
from less_sync.client.durable import make_directories, replace
from less_sync.client.kept_key import opened
from less_sync.fleet.reporter.client import Plane
from less_sync.fleet.reporter.reporter import Log, Reporter, Served, Standing
from less_sync.fleet.reporter.state import StateFile

ENDING_S_MAX: Final = 1.0
STATE_BYTES_MAX: Final = 64 * 1024


class Reporting:
    """A reporter of this process.

    It is no vital task: its end ends no server, and it ends before all that it asks.
    """

    def __init__(self, reporter: Reporter, directory: Path, log: Log) -> None:
        self._reporter: Final = reporter
        self._directory: Final = directory
        self._log: Final = log
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def standing(self) -> Standing:
        """What metrics tell."""
        return self._reporter.standing

    def begin(self) -> None:
        """Report from now on. To be called once clients are served."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it, with a last heartbeat; takes 3 s at most. Does nothing the second time."""
        if self._task is None or self._stopped:
            return
        self._stopped = True
        self._task.cancel()
        # A database that hangs may hold up the end of a question to it.
        ended, _ = await asyncio.wait({self._task}, timeout=ENDING_S_MAX)
        await self._reporter.farewell()
        if ended:  # else a write may still be under way, and the lock goes with the process
            self._reporter.give_back()

    async def _run(self) -> None:
        try:
            await asyncio.to_thread(make_directories, self._directory)
        except OSError as error:
            self._log.error(
                "this server does not report to its fleet plane",
                reason=f"cannot make {self._directory}: {error.strerror}",
            )
            return
        await self._reporter.run()


def reporting(kind: str, settings: ReporterSettings, directory: Path, served: Served, log: Log) -> Reporting:
    """A reporter that is about to begin.

    Args:
        kind: `sync` or `volume`.
        settings: with a URL.
        directory: where the state is kept; made if it is missing.
    """
    assert settings.url is not None, "asked of nobody else"
    who = identity(kind, settings)
    reporter = Reporter(
        Plane(settings.url, version=who.version),
        StateFile(directory, replace=replace, read=read_small),
        who,
        served,
        log,
        enrolment_token=settings.enrolment_token,
        minimal=settings.report == MINIMAL,
    )
    return Reporting(reporter, directory, log)


def read_small(path: Path) -> bytes:
    """The content of a file of ours; a pipe in its place is refused. Raises OSError."""
    with opened(path) as file:
        return file.read(STATE_BYTES_MAX)
