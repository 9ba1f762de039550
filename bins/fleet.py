"""The process of a fleet plane: what starts in which order, and how it stops (docs/fleet.md).

Start: logging, database, migrations, keys, listening sockets, plane, admin listener, application, workers.
Stop: no more connections; requests and what workers have in hand end, within one grace period; then
everything is closed in reverse order of opening.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog
from starlette.types import ASGIApp

from less_sync.bins.admin.fleet import FleetAdmin, open_fleet_admin
from less_sync.bins.bounded_protocol import BoundedProtocol
from less_sync.bins.errors import CommandError
from less_sync.bins.fleet_keys import MANAGEMENT_KEY_FILE, SECRET_KEY_FILE, with_kept_keys
from less_sync.bins.heap import settle_heap
from less_sync.bins.http_server import SteppedServer
from less_sync.bins.listening import bound_address, open_listeners
from less_sync.bins.postgres.reach import migrate_when_reachable
from less_sync.bins.process import failure_of, first_of, own_database, run_process, unless
from less_sync.bins.settings.fleet import FleetServer
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.client.kept_key import KeyFileError
from less_sync.fleet.api.app import create_app
from less_sync.fleet.line import FleetLine
from less_sync.fleet.plane import Plane
from less_sync.fleet.store.sealed import open_samples
from less_sync.fleet.workers.kinds import workers
from less_sync.storage import StorageError
from less_sync.sync.http.shared_bytes import SharedBytes

CONNECTIONS_MAX: Final = 10_000
"""At once; a fleet that reports with a new connection each time has a few."""
LARGE_HEADS_BYTES_MAX: Final = 4 * 1024 * 1024
"""Heads beyond 8 KiB, of all connections together."""
KEEP_ALIVE_S: Final = 75

Announce = Callable[[ListenAddress], None]
Work = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until what it is called with is set, and then ends when it is done with what it has in hand."""

_log = structlog.get_logger(__name__)


class FleetProtocol(BoundedProtocol):
    """One connection of an agent, an operator or a script. The application is told where it comes from."""

    connections_max = CONNECTIONS_MAX
    large_heads = SharedBytes(LARGE_HEADS_BYTES_MAX)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Remember the peer: failed attempts are counted by address."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.client = name[:2] if isinstance(name, tuple) else None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process makes of its plane."""

    app: Callable[[Plane], ASGIApp] = create_app
    workers: Callable[[Plane], Mapping[str, Work]] = workers


@dataclass(frozen=True, slots=True)
class Started:
    """What accepts connections and works."""

    plane: Plane
    server: SteppedServer
    admin: FleetAdmin | None
    workers: tuple[asyncio.Task[None], ...]
    no_more: asyncio.Event
    """Tells workers to begin nothing new."""

    async def drain(self, grace_s: float, vital: Supervisor) -> None:
        """Refuse what is new, let requests and workers end what they have in hand; `grace_s` at most."""
        self.plane.draining = True
        self.no_more.set()
        self.server.close_doors()
        await asyncio.gather(self.server.finish(grace_s), self._rest(grace_s, vital))

    async def _rest(self, grace_s: float, vital: Supervisor) -> None:
        if self.workers:
            await asyncio.wait(self.workers, timeout=grace_s)
        for worker in self.workers:
            if not worker.done():
                _log.warning("a worker was cut short", worker=worker.get_name())
            await vital.stop(worker)


def run_fleet(settings: FleetServer, announce: Announce, announce_admin: Announce) -> None:
    """Serve until a signal. A second one ends the process at once, with status 1.

    Args:
        announce: called once with the address really bound, when the plane accepts connections.
        announce_admin: called behind it with that of the admin listener, if there is one.

    Raises:
        CommandError: the start failed, or something vital ended.
    """
    run_process(
        settings.log,
        lambda signals: serve_fleet(settings, announce, signals.stop, announce_admin=announce_admin),
    )


async def serve_fleet(
    settings: FleetServer,
    announce: Announce,
    stop: asyncio.Event,
    *,
    announce_admin: Announce = lambda _address: None,
    parts: Parts | None = None,
) -> None:
    """Serve until `stop` is set, also while starting; as `run_fleet`, in the loop that runs.

    Raises:
        CommandError: as above.
    """
    async with Supervisor() as vital, AsyncExitStack() as stack:
        try:
            started = await unless(_start(settings, stack, vital, parts or Parts()), stop, vital.ended)
            if started is not None:
                settle_heap()
                announce(started.server.address)
                if started.admin is not None:
                    announce_admin(started.admin.address)
                await first_of(stop, vital.ended)
                _log.info("shutting down", grace_s=settings.shutdown_grace_s)
                vital.expect_ends()
                await started.drain(settings.shutdown_grace_s, vital)
        finally:
            vital.expect_ends()
    if vital.first is not None:
        raise failure_of(vital.first) from vital.first.fault
    _log.info("fleet plane stopped")


async def _start(
    settings: FleetServer,
    stack: AsyncExitStack,
    vital: Supervisor,
    parts: Parts,
) -> Started:
    for warning in settings.warnings:
        _log.warning(warning)
    url = settings.database_url
    if url is None:
        connections = settings.plane.database_connections_max
        url = await own_database(settings.data_dir, connections, stack, vital)
    await migrate_when_reachable(url, line=FleetLine(settings.plane.schema))
    settings = _with_keys(settings)
    listeners = open_listeners(settings.listen, "PORT or FLEET_LISTEN_ADDR")
    for listener in listeners:
        stack.callback(listener.close)
    plane = await _open_plane(settings, url, bound_address(listeners[0]), stack)
    # Before the public port: if this one is taken, nobody has come yet. And behind all that a stop closes
    # after its requests, so that it goes on telling until then.
    admin = None
    if settings.admin.listen is not None:
        admin = await open_fleet_admin(settings, plane, stack, vital)
    server = await _open_doors(parts.app(plane), listeners, vital)
    if admin is not None:
        admin.public_port_is_open()
    no_more = asyncio.Event()
    running = tuple(
        vital.start(f"worker {name}", _ended(work, no_more)) for name, work in parts.workers(plane).items()
    )
    for task in running:
        stack.push_async_callback(vital.stop, task)
    return Started(plane, server, admin, running, no_more)


async def _ended(work: Work, no_more: asyncio.Event) -> None:
    await work(no_more)


async def _open_doors(app: ASGIApp, listeners: list[socket.socket], vital: Supervisor) -> SteppedServer:
    server = SteppedServer("HTTP server", app, http=FleetProtocol.apart(), keep_alive_s=KEEP_ALIVE_S)
    await server.start(listeners, partial(vital.start, "HTTP server"))
    _log.info("fleet plane listening", address=str(server.address))
    return server


def _with_keys(settings: FleetServer) -> FleetServer:
    """In dev mode keys are kept in the data directory, which the Postgres there has reserved for us."""
    made = settings.plane
    if not settings.dev:
        return settings
    try:
        plane = with_kept_keys(made, settings.data_dir)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    for name, file, given in (
        ("management key", MANAGEMENT_KEY_FILE, made.management_keys[0]),
        ("secret key", SECRET_KEY_FILE, made.secret_keys[0]),
    ):
        if not given:
            _log.info(f"{name} kept in a file", path=str((settings.data_dir / file).absolute()))
    return replace(settings, plane=plane)


async def _open_plane(
    settings: FleetServer, url: str, address: ListenAddress, stack: AsyncExitStack
) -> Plane:
    """Connect, and see whether the secrets in the database can be opened.

    Raises:
        CommandError: the database did not let us in, or none of the secrets can be.
    """
    try:
        plane = await Plane.open(replace(settings.plane, public_url=settings.public_url(address)), url)
        stack.push_async_callback(plane.aclose)
        readable, unreadable = await open_samples(plane.database, plane.box)
    except StorageError as error:
        raise CommandError(f"database error: {str(error).removeprefix('database error: ')}") from error
    if unreadable and not readable:
        raise CommandError("FLEET_SECRET_KEY does not open the stored secrets")
    for place in unreadable:
        _log.warning("a stored secret opens with no key", place=place)
    return plane
