"""The server process: what starts in which order, and how it stops (docs/operations.md 1.1 and 2.2).

Start: logging, database, migrations, stores and lanes, application, listening socket. Stop: no more
connections, sessions close with 1001, requests end, then everything is closed in reverse order of opening.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from less_sync.bins.errors import CommandError
from less_sync.bins.heap import settle_heap
from less_sync.bins.http_server import HttpServer
from less_sync.bins.listening import bound_address, listen, open_listeners
from less_sync.bins.postgres.reach import migrate_when_reachable
from less_sync.bins.process import failure_of, first_of, own_database, run_process, unless
from less_sync.bins.reload import Reloading
from less_sync.bins.services import Opened, beside, fetch_issuer_keys, open_services
from less_sync.bins.settings.config import DatabaseSettings, Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.sync.background import run_background

if TYPE_CHECKING:
    # What some servers do without is loaded by those that need it: docs/architecture.md.
    from less_sync.bins.admin.listener import AdminListener
    from less_sync.bins.nats.access import BusAccess
    from less_sync.bins.reporting.start import Reporting
    from less_sync.bins.start_page import StartPage
    from less_sync.sync.live.bus import Bus

KEYS_AHEAD_S_MAX: Final = 5.0
"""How long a worker waits for the key sets of issuers before it listens."""

_log = structlog.get_logger(__name__)


def _to_nobody(address: ListenAddress) -> None:
    """For whoever does not want to know where the admin listener is: the log says so too."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What a worker is given by its supervisor. A server alone makes all of it for itself."""

    number: int
    """Of the worker, from 1."""
    database: Callable[[], Awaitable[str]]
    """Says where a database is that is migrated. Raises as `migrate_when_reachable`."""
    share: DatabaseSettings
    """This worker's part of what the settings allow the node."""
    listeners: list[socket.socket]
    """Bound, for clients; whoever bound them keeps them open."""
    people: Path
    """A directory where the start pages of all workers keep who has signed in."""
    admin: socket.socket | None = None
    """A Unix socket for the supervisor's questions, where it has some."""
    profiler: list[socket.socket] = field(default_factory=list)
    """Listening, where there is one."""
    bus: "BusAccess | None" = None
    """How the other workers are reached."""
    replaced: Callable[[], bool] = lambda: False
    """Asked at the stop: whether a successor accepts connections at the same sockets."""


class Started(NamedTuple):
    """What accepts connections."""

    server: HttpServer
    admin: "AdminListener | None"
    reporting: "Reporting | None"


OpenServices = Callable[..., Awaitable[Opened]]
"""As `open_services`: given settings, the URL of a migrated database, what closes again what it opens, and
what runs it; and `open_bus` where there are other nodes."""


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
    run_process(
        settings.log,
        lambda signals: serve(
            settings, announce, signals.stop, announce_admin=announce_admin, reload=signals.reload
        ),
    )


async def serve(
    settings: Settings,
    announce: Callable[[ListenAddress], None],
    stop: asyncio.Event,
    *,
    announce_admin: Callable[[ListenAddress], None] = _to_nobody,
    reload: asyncio.Event | None = None,
    open_services: OpenServices = open_services,
    handed: Handed | None = None,
) -> None:
    """Serve until `stop` is set, also while starting.

    Args:
        announce: called once with the address really bound, when the server accepts connections.
        announce_admin: called behind it with that of the admin listener, if there is one.
        reload: set when settings and own keys shall be looked at again; it is cleared then.
        open_services: connects to the database and builds what sessions need.
        handed: for a worker.

    Raises:
        CommandError: the start failed, or something vital ended; sessions were drained then.
    """
    async with Supervisor() as vital, AsyncExitStack() as stack:
        try:
            starting = _start(settings, stack, vital, reload or asyncio.Event(), open_services, handed)
            started = await unless(starting, stop, vital.ended)
            if started is not None:
                settle_heap()
                announce(started.server.address)
                if started.admin is not None:
                    announce_admin(started.admin.address)
                if started.reporting is not None:
                    started.reporting.begin()
                await first_of(stop, vital.ended)
                _log.info("shutting down", grace_s=settings.shutdown_grace_s)
                vital.expect_ends()
                if started.reporting is not None:
                    await started.reporting.stop()
                if handed is not None and handed.replaced():
                    await started.server.leave_the_door()
                await started.server.drain(settings.shutdown_grace_s)
        finally:
            vital.expect_ends()
    if vital.first is not None:
        raise failure_of(vital.first) from vital.first.fault
    _log.info("server stopped")


async def _start(
    settings: Settings,
    stack: AsyncExitStack,
    vital: Supervisor,
    reload: asyncio.Event,
    open_services: OpenServices,
    handed: Handed | None,
) -> Started:
    if handed is None:
        url, share = await _database(settings, stack, vital), settings
    else:
        url, share = await handed.database(), replace(settings, database=handed.share)
    access = _bus_access(settings, handed)
    if access is not None:
        open_services = partial(open_services, open_bus=partial(_open_bus, access, settings, handed, vital))
    opened = await open_services(share, url, stack, vital)
    services, federation = opened.services, opened.federation
    look_at_keys = asyncio.Event()
    keeping = vital.start("keeper of the federation keys", federation.keys.keep_current(look_at_keys))
    stack.push_async_callback(vital.stop, keeping)
    # The settings of the node, of which a share is no other value.
    reloading = Reloading(settings, services).run(reload, look_at_keys)
    stack.push_async_callback(vital.stop, vital.start("reloading of the settings", reloading))
    background = run_background(
        services,
        maintenance_interval_s=settings.maintenance_interval_s,
        orphan_sweep_s=settings.files.orphan_sweep_interval_s,
    )
    stack.push_async_callback(vital.stop, vital.start("background tasks", background))
    if settings.admin.profiler is not None:
        from less_sync.bins.profiler.listener import profiler

        place = settings.admin.profiler if handed is None else handed.profiler
        await stack.enter_async_context(profiler(place))
    # Before the public port: if this one is taken, no client has come yet. And behind all that a stop closes
    # after its sessions, so that it goes on telling until then.
    reporting = _reporting(settings, url, opened, stack) if handed is None else None
    admin = await _open_admin(settings, opened, stack, vital, handed, reporting)
    listeners = open_listeners(settings.listen) if handed is None else listen(handed.listeners)
    server = HttpServer(
        services,
        federation,
        expose_etag=settings.cors_expose_etag,
        pages=_start_page(settings, handed).routes(map(bound_address, listeners)) if settings.dev else (),
    )
    fetching = beside(fetch_issuer_keys(services))
    if handed is not None:
        # It may replace another one, whose clients come all at once.
        await asyncio.wait({await stack.enter_async_context(fetching)}, timeout=KEYS_AHEAD_S_MAX)
    await server.start(listeners, partial(vital.start, "HTTP server"))
    if handed is None:
        _log.info("server listening", address=str(server.address))
    if admin is not None:
        admin.public_port_is_open()
    if handed is None:
        await stack.enter_async_context(fetching)
    return Started(server, admin, reporting)


async def _database(settings: Settings, stack: AsyncExitStack, vital: Supervisor) -> str:
    for warning in settings.warnings():
        _log.warning(warning)
    url = settings.database.url
    if url is None:
        url = await own_database(settings.data_dir, settings.database.connections, stack, vital)
    await migrate_when_reachable(url)
    return url


def _bus_access(settings: Settings, handed: Handed | None) -> "BusAccess | None":
    if handed is not None:
        return handed.bus
    if settings.cluster.bus is None:
        return None
    from less_sync.bins.nats.access import configured_access

    return configured_access(settings.cluster.bus)


def _open_bus(access: "BusAccess", settings: Settings, handed: Handed | None, vital: Supervisor) -> "Bus":
    from less_sync.bins.nats.open import open_bus

    name = settings.cluster.node
    return open_bus(access, name=name if handed is None else f"{name}/{handed.number}", vital=vital)


async def _open_admin(
    settings: Settings,
    opened: Opened,
    stack: AsyncExitStack,
    vital: Supervisor,
    handed: Handed | None,
    reporting: "Reporting | None",
) -> "AdminListener | None":
    if settings.admin.listen is None and (handed is None or handed.admin is None):
        return None
    from less_sync.bins.admin.listener import open_admin

    return await open_admin(
        settings,
        opened.services,
        stack,
        vital,
        pool=opened.pool,
        lanes=opened.lanes,
        within=None if handed is None else handed.admin,
        worker=0 if handed is None else handed.number,
        reporter=lambda: None if reporting is None else reporting.standing,
    )


def _reporting(settings: Settings, url: str, opened: Opened, stack: AsyncExitStack) -> "Reporting | None":
    """What reports to a fleet plane, where there is one. It has stopped before; after a fault it has not."""
    if settings.reporter.url is None:
        return None
    from less_sync.bins.reporting.server import OwnServer, server_reporting

    found = server_reporting(settings, OwnServer(opened.services, opened.pool), url)
    stack.push_async_callback(found.stop)
    return found


def _start_page(settings: Settings, handed: Handed | None) -> "StartPage":
    from less_sync.bins.people import KeptPeople
    from less_sync.bins.start_page import StartPage
    from less_sync.client.kept_key import KeyFileError

    try:
        return StartPage(settings.data_dir, people=None if handed is None else KeptPeople(handed.people))
    except KeyFileError as error:
        raise CommandError(str(error)) from error
