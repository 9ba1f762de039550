"""A server of several processes: this one supervises, the workers serve (docs/scaling.md 1).

It makes what they share, once: the embedded Postgres, the sockets, the news between them, the admin listener.
What it imports serves no client, so that it stays small; the admin listener is half of it.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from less_sync.bins.errors import CommandError, os_error_text
from less_sync.bins.hangups import hold_hangups
from less_sync.bins.heap import forget_modules
from less_sync.bins.listening import bound_address, open_listeners, open_shares
from less_sync.bins.logs import configure_logging, log_loop_fault, set_log_level
from less_sync.bins.nats.access import BusAccess, configured_access
from less_sync.bins.process import failure_of, first_of, own_database, raise_open_files_limit, unless
from less_sync.bins.run_folder import run_folder
from less_sync.bins.settings.config import ConfigError, Settings, environment
from less_sync.bins.settings.issuers import read_issuers_file
from less_sync.bins.settings.live import refusal_of
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.settings.regular_file import NotRegular
from less_sync.bins.signals import Signals
from less_sync.bins.supervisor import Supervisor
from less_sync.bins.workers.crew import Crew, Orders
from less_sync.bins.workers.messages import Begin, Sources
from less_sync.bins.workers.orphans import collect_orphans
from less_sync.bins.workers.process import worker_command

if TYPE_CHECKING:
    from less_sync.bins.admin.merged import MergedListener, MergedServer
    from less_sync.bins.reporting.start import Reporting

PPROF_SETTING: Final = "--pprof-addr or PPROF_ADDR"
FOLDER: Final = "less-sync-node-"
"""Has the sockets that workers are asked at, and what they keep for each other."""
DIRECTORY_BYTES_MAX: Final = 80
"""Of that folder's path: the system allows 107 for a socket's (103 on macOS), and its name takes up to 20."""
RELOAD_S_MAX: Final = 10.0
CLOSING_S: Final = 10.0
"""For what a worker does beside the grace period: leaving the door, lanes, links, pool."""

_log = structlog.get_logger(__name__)


def run_node(
    settings: Settings,
    announce: Callable[[ListenAddress], None],
    announce_admin: Callable[[ListenAddress], None],
) -> None:
    """Supervise workers until a signal. A second one ends all processes at once, with status 1.

    Args:
        announce: called once with the address really bound, when all workers accept connections.
        announce_admin: called behind it with that of the admin listener, if there is one.

    Raises:
        CommandError: the start failed, or something vital ended.
    """
    forget_modules()
    configure_logging(level=settings.log.level, form=settings.log.form)
    raise_open_files_limit()
    with asyncio.Runner() as runner:
        runner.run(Node(settings, announce, announce_admin).run())


class Node:
    """The supervisor's process. See `run_node`."""

    def __init__(
        self,
        settings: Settings,
        announce: Callable[[ListenAddress], None],
        announce_admin: Callable[[ListenAddress], None],
    ) -> None:
        self._settings = settings
        self._announce = announce
        self._announce_admin = announce_admin
        self._sources = Sources.of(replace(settings.given, issuers=_issuers(settings)))
        self._live: Sources | None = None
        self._level = settings.log.level
        self._url = ""
        self._sockets: list[list[int]] = []
        """Descriptors of each worker's listeners."""
        self._profilers: list[list[int]] = []
        self._bus: BusAccess | None = None
        self._admin: MergedListener | None = None
        self._reporting: Reporting | None = None
        self._directory = Path()
        self._nats_directory: Path | None = None
        """Of the private one."""
        self._serial = count(1)
        self._crew: Crew | None = None

    async def run(self) -> None:
        """Supervise until a signal. Raises as `run_node`."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_loop_fault)
        signals = Signals(self._end_at_once)
        loop.add_signal_handler(signal.SIGUSR2, self._replace)
        try:
            await self._supervise(signals)
        finally:
            # The loop takes its handlers away when it is closed, and with each what was said of the signal.
            hold_hangups()
            loop.remove_signal_handler(signal.SIGUSR2)
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    async def _supervise(self, signals: Signals) -> None:
        async with Supervisor() as vital, AsyncExitStack() as stack:
            try:
                close_doors = await unless(self._start(stack, vital), signals.stop, vital.ended)
                if close_doors is not None:
                    reloading = vital.start("reloading of the settings", self._reload(signals.reload))
                    stack.push_async_callback(vital.stop, reloading)
                    await first_of(signals.stop, vital.ended)
                    _log.info("shutting down", grace_s=self._settings.shutdown_grace_s)
                    vital.expect_ends()
                    if self._reporting is not None:
                        await self._reporting.stop()
                    if self._crew is not None:
                        self._crew.keep_no_more()
                    close_doors()
            finally:
                vital.expect_ends()
        if vital.first is not None:
            raise failure_of(vital.first) from vital.first.fault
        _log.info("server stopped")

    async def _start(self, stack: AsyncExitStack, vital: Supervisor) -> Callable[[], None]:
        """Make what all share, and let the workers serve; returns what closes the listening sockets."""
        settings = self._settings
        for warning in settings.warnings():
            _log.warning(warning)
        if os.getpid() == 1:
            stack.push_async_callback(vital.stop, vital.start("collector of orphans", collect_orphans()))
        try:
            self._directory = stack.enter_context(run_folder(FOLDER))
        except OSError as error:
            raise CommandError(f"cannot make a temporary directory: {os_error_text(error)}") from error
        if len(os.fsencode(self._directory)) > DIRECTORY_BYTES_MAX:
            raise CommandError(
                f"{self._directory.parent} is too long for sockets: set TMPDIR to a shorter path"
            )
        shares, doors = open_shares(settings.listen, settings.cluster.workers)
        stack.enter_context(doors)
        self._sockets = [[one.fileno() for one in share] for share in shares]
        self._profilers = self._open_profilers(stack)
        self._crew = crew = Crew(
            settings.cluster.workers,
            Orders(worker_command(), _environment(settings), self._files, self._first_message),
            vital,
            ending_s=settings.shutdown_grace_s + CLOSING_S,
        )
        # Closed again twice: if the start fails below, and before all that they need.
        stack.push_async_callback(crew.stop)
        await crew.gather()
        self._url = settings.database.url or await own_database(
            settings.data_dir, settings.database.connections, stack, vital
        )
        self._bus = await self._open_bus(stack, vital)
        merged = self._merged(crew, stack, vital)
        if merged is not None and settings.admin.listen is not None:
            from less_sync.bins.admin.merged import open_merged

            self._admin = await open_merged(settings, merged, stack, vital)
        stack.push_async_callback(crew.stop)
        await crew.begin()
        address = bound_address(shares[0][0])
        _log.info("server listening", address=str(address), workers=settings.cluster.workers)
        self._announce(address)
        if self._admin is not None:
            self._announce_admin(self._admin.address)
        if merged is not None and settings.reporter.url is not None:
            self._report(merged, stack)
        return doors.close

    async def _open_bus(self, stack: AsyncExitStack, vital: Supervisor) -> BusAccess:
        """The operator's NATS, or a private one."""
        if self._settings.cluster.bus is not None:
            return configured_access(self._settings.cluster.bus)
        from less_sync.bins.nats.private import PrivateNats

        private = await stack.enter_async_context(PrivateNats())
        self._nats_directory = private.directory
        stack.push_async_callback(vital.stop, vital.start("keeper of the private NATS", private.keep()))
        return private.access

    @property
    def _asks_workers(self) -> bool:
        """Whether anybody wants to know what they say of themselves."""
        return self._settings.admin.listen is not None or self._settings.reporter.url is not None

    def _merged(self, crew: Crew, stack: AsyncExitStack, vital: Supervisor) -> "MergedServer | None":
        if not self._asks_workers:
            return None
        from less_sync.bins.admin.merged import Workers, merged_server

        workers = Workers(crew.places, self._settings.cluster.workers, lambda: crew.restarts)
        return merged_server(workers, stack, vital)

    def _report(self, merged: "MergedServer", stack: AsyncExitStack) -> None:
        """Report of all workers to the fleet plane; the last of it goes out before they stop."""
        from less_sync.bins.reporting.server import AllWorkers, server_reporting

        self._reporting = server_reporting(self._settings, AllWorkers(merged), self._url)
        merged.reporter = lambda: None if self._reporting is None else self._reporting.standing
        stack.push_async_callback(self._reporting.stop)
        self._reporting.begin()

    def _open_profilers(self, stack: AsyncExitStack) -> list[list[int]]:
        """A port for each worker, the first that of `PPROF_ADDR`; a successor answers at the same one."""
        first, found = self._settings.admin.profiler, []
        for number in range(self._settings.cluster.workers):
            listeners = []
            if first is not None:
                address = replace(first, port=first.port + number) if first.port else first
                listeners = [stack.enter_context(one) for one in open_listeners(address, PPROF_SETTING)]
            found.append([one.fileno() for one in listeners])
        return found

    def _files(self, number: int) -> list[int]:
        return [*self._sockets[number - 1], *self._profilers[number - 1]]

    def _first_message(self, number: int, migrates: bool) -> Begin:
        admin = self._directory / f"{number}-{next(self._serial)}.sock"
        return Begin(
            number=number,
            sources=self._sources,
            live=self._live,
            database=self._url,
            migrate=migrates,
            listeners=tuple(self._sockets[number - 1]),
            profiler=tuple(self._profilers[number - 1]),
            admin=str(admin) if self._asks_workers else None,
            bus=self._bus,
            people=str(self._directory),
        )

    def _replace(self) -> None:
        if self._crew is not None:
            self._crew.replace()

    def _end_at_once(self) -> None:
        if self._crew is None:
            os._exit(1)
        self._crew.kill()
        for directory in (self._directory, self._nats_directory):
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)
        os._exit(1)  # nothing may hold this up; what else this process has started follows it

    async def _reload(self, asked: asyncio.Event) -> None:
        """Look at the files among the settings when asked, and let the workers do so, who tell of it."""
        assert self._crew is not None, "only once they serve"
        reading: asyncio.Task[tuple[Sources, str] | None] | None = None
        while True:
            await asked.wait()
            asked.clear()
            if reading is None or reading.done():
                reading = asyncio.create_task(asyncio.to_thread(self._read_again))
            await asyncio.wait({reading}, timeout=RELOAD_S_MAX)
            if reading.done() and (read := reading.result()) is not None:
                self._live, level = read
                if level != self._level:  # else an operator may have changed it meanwhile
                    set_log_level(level)
                    if self._admin is not None:
                        self._admin.forget_level()
                self._level = level
            self._crew.reload()

    def _read_again(self) -> tuple[Sources, str] | None:
        """What workers that start later begin with, and the log's level; None: it is not usable."""
        try:
            new = self._settings.again()
            if refusal_of(self._settings, new) is not None:
                return None
            return Sources.of(replace(new.given, issuers=_issuers(new))), new.log.level
        except (ConfigError, CommandError):
            return None


def _environment(settings: Settings) -> dict[str, str]:
    """Of the workers: settings reach them by another way, since others may see it (`ps e`)."""
    return {name: value for name, value in environment().items() if name not in settings.asked}


def _issuers(settings: Settings) -> bytes | None:
    """What `ISSUERS_FILE` holds, if there is one, and it is usable."""
    if settings.issuers.file is None:
        return None
    try:
        content = read_issuers_file(settings.issuers.file)
        Settings.from_given(replace(settings.given, issuers=content))
    except (OSError, NotRegular, ConfigError) as error:
        raise CommandError(f"ISSUERS_FILE was changed while it was read: {error}") from error
    return content
