"""The server process: what starts in which order, and how it stops (docs/operations.md 1.1 and 2.2).

Start: logging, database, migrations, stores and lanes, application, listening socket. Stop: no more
connections, sessions close with 1001, requests end, then everything is closed in reverse order of opening.
"""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

import structlog
import uvloop

from less_sync.bins.admin.listener import AdminListener, open_admin
from less_sync.bins.errors import CommandError
from less_sync.bins.hangups import has_terminal, hold_hangups, take_hangups
from less_sync.bins.http_server import HttpServer
from less_sync.bins.listening import bound_address, open_listeners
from less_sync.bins.logs import configure_logging, log_loop_fault
from less_sync.bins.postgres.embedded import EmbeddedPostgresError
from less_sync.bins.postgres.keeper import OwnPostgres
from less_sync.bins.postgres.reach import migrate_when_reachable
from less_sync.bins.profiler.listener import profiler
from less_sync.bins.reload import Reloading
from less_sync.bins.services import Opened, beside, fetch_issuer_keys, open_services
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.start_page import StartPage
from less_sync.bins.supervisor import Ended, Supervisor
from less_sync.client.kept_key import KeyFileError
from less_sync.sync.background import run_background

OPEN_FILES_MAX: Final = 1 << 20

_log = structlog.get_logger(__name__)

T = TypeVar("T")


def _to_nobody(address: ListenAddress) -> None:
    """For whoever does not want to know where the admin listener is: the log says so too."""


class Started(NamedTuple):
    """What accepts connections."""

    server: HttpServer
    admin: AdminListener | None


class OpenServices(Protocol):
    """Connects to the migrated database at `url`; `stack` closes again what it opens, `vital` runs it."""

    async def __call__(
        self, settings: Settings, url: str, stack: AsyncExitStack, vital: Supervisor, /
    ) -> Opened: ...


def run_server(
    settings: Settings,
    announce: Callable[[ListenAddress], None],
    announce_admin: Callable[[ListenAddress], None] = _to_nobody,
) -> None:
    """Serve until a signal. A second one ends the process at once, with status 1.

    Args:
        announce: called once with the address really bound, when the server accepts connections.
        announce_admin: called behind it with that of the admin listener, if there is one.

    Raises:
        CommandError: the start failed, or something vital ended.
    """
    configure_logging(level=settings.log.level, form=settings.log.form)
    _raise_open_files_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_signal(settings, announce, announce_admin))


async def _serve_until_signal(
    settings: Settings,
    announce: Callable[[ListenAddress], None],
    announce_admin: Callable[[ListenAddress], None],
) -> None:
    asyncio.get_running_loop().set_exception_handler(log_loop_fault)
    signals = Signals()
    try:
        await serve(settings, announce, signals.stop, announce_admin=announce_admin, reload=signals.reload)
    finally:
        hold_hangups()  # the loop takes its handlers away when it is closed


def _raise_open_files_limit() -> None:
    """Every connection is an open file, and many systems start a process with a limit of 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(OPEN_FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _settle_heap() -> None:
    """Take what start-up left behind out of the collector's sight, and let it look less often at the rest.

    A full collection walks every module, class and function otherwise, about 100 ms during which no client is
    served; new connections, which allocate and keep, bring it on. Connecting got 10-20 % cheaper.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


class Signals:
    """SIGTERM and SIGINT: the first asks for a stop, the second ends the process at once with status 1.

    SIGHUP asks for another look at what may have changed, or for a stop when the terminal is gone that the
    server was started from: a server that nobody sees would go on otherwise.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self._had_terminal = has_terminal()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        take_hangups()

    def _on_stop(self) -> None:
        if self.stop.is_set():
            # Not sys.exit: nothing may hold this up. The next start tidies up after an embedded Postgres.
            os._exit(1)
        self.stop.set()

    def _on_hangup(self) -> None:
        if self._had_terminal and not has_terminal():
            self.stop.set()
        else:
            self.reload.set()


async def serve(
    settings: Settings,
    announce: Callable[[ListenAddress], None],
    stop: asyncio.Event,
    *,
    announce_admin: Callable[[ListenAddress], None] = _to_nobody,
    reload: asyncio.Event | None = None,
    open_services: OpenServices = open_services,
) -> None:
    """Serve until `stop` is set, also while starting.

    Args:
        announce: called once with the address really bound, when the server accepts connections.
        announce_admin: called behind it with that of the admin listener, if there is one.
        reload: set when settings and own keys shall be looked at again; it is cleared then.
        open_services: connects to the database and builds what sessions need.

    Raises:
        CommandError: the start failed, or something vital ended; sessions were drained then.
    """
    async with Supervisor() as vital, AsyncExitStack() as stack:
        try:
            starting = _start(settings, stack, vital, reload or asyncio.Event(), open_services)
            started = await _unless(starting, stop, vital.ended)
            if started is not None:
                _settle_heap()
                announce(started.server.address)
                if started.admin is not None:
                    announce_admin(started.admin.address)
                await _first_of(stop, vital.ended)
                _log.info("shutting down", grace_s=settings.shutdown_grace_s)
                vital.expect_ends()
                await started.server.drain(settings.shutdown_grace_s)
        finally:
            vital.expect_ends()
    if vital.first is not None:
        raise CommandError(_words(vital.first)) from vital.first.fault
    _log.info("server stopped")


def _words(ended: Ended) -> str:
    """What an operator reads who did not see the log."""
    if isinstance(ended.fault, EmbeddedPostgresError):
        return str(ended.fault)
    return f"the {ended.task} ended unexpectedly, so the server was stopped; the log says where"


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _unless(work: Coroutine[object, object, T], *events: asyncio.Event) -> T | None:
    """The result of `work`, or None when an event was set first; then it is cancelled and awaited."""
    working, interrupted = asyncio.create_task(work), asyncio.create_task(_first_of(*events))
    try:
        await asyncio.wait({working, interrupted}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        interrupted.cancel()
        working.cancel()
        await asyncio.wait({working})
    return None if working.cancelled() else working.result()


async def _start(
    settings: Settings,
    stack: AsyncExitStack,
    vital: Supervisor,
    reload: asyncio.Event,
    open_services: OpenServices,
) -> Started:
    for warning in settings.warnings():
        _log.warning(warning)
    url = settings.database.url
    if url is None:
        url = await _own_database(settings.data_dir, stack, vital)
    await migrate_when_reachable(url)
    opened = await open_services(settings, url, stack, vital)
    services, federation = opened.services, opened.federation
    look_at_keys = asyncio.Event()
    keeping = vital.start("keeper of the federation keys", federation.keys.keep_current(look_at_keys))
    stack.push_async_callback(vital.stop, keeping)
    reloading = Reloading(settings, services).run(reload, look_at_keys)
    stack.push_async_callback(vital.stop, vital.start("reloading of the settings", reloading))
    background = run_background(
        services,
        maintenance_interval_s=settings.maintenance_interval_s,
        orphan_sweep_s=settings.files.orphan_sweep_interval_s,
    )
    stack.push_async_callback(vital.stop, vital.start("background tasks", background))
    if settings.admin.profiler is not None:
        await stack.enter_async_context(profiler(settings.admin.profiler))
    # Before the public port: if this one is taken, no client has come yet. And behind all that a stop closes
    # after its sessions, so that it goes on telling until then.
    admin = await open_admin(settings, services, stack, vital, pool=opened.pool, lanes=opened.lanes)
    start_page = _start_page(settings.data_dir) if settings.dev else None
    listeners = open_listeners(settings.listen)
    server = HttpServer(
        services,
        federation,
        expose_etag=settings.cors_expose_etag,
        pages=() if start_page is None else start_page.routes(map(bound_address, listeners)),
    )
    await server.start(listeners, partial(vital.start, "HTTP server"))
    _log.info("server listening", address=str(server.address))
    if admin is not None:
        admin.public_port_is_open()
    await stack.enter_async_context(beside(fetch_issuer_keys(services)))
    return Started(server, admin)


def _start_page(data_dir: Path) -> StartPage:
    try:
        return StartPage(data_dir)
    except KeyFileError as error:
        raise CommandError(str(error)) from error


async def _own_database(data_dir: Path, stack: AsyncExitStack, vital: Supervisor) -> str:
    try:
        postgres = await stack.enter_async_context(OwnPostgres(data_dir))
    except EmbeddedPostgresError as error:
        raise CommandError(str(error)) from error
    stack.push_async_callback(vital.stop, vital.start("keeper of the embedded Postgres", postgres.keep()))
    _log.info("embedded database started", data_dir=str(data_dir))
    return postgres.url
