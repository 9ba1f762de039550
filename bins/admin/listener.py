"""The admin listener: a small HTTP server of its own, opened before the public one and closed after it."""

import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from less_sync.bins.admin.access import WITHIN, Access, kept_node_id, kept_token
from less_sync.bins.admin.console import Console, Shown
from less_sync.bins.admin.holdings import HoldingsWatch
from less_sync.bins.admin.metrics import Exposition, NodeLabels
from less_sync.bins.admin.operated import OneServer, Operated
from less_sync.bins.admin.readiness import Readiness
from less_sync.bins.admin.routes import AdminApp, Handler, console_page, operator_routes
from less_sync.bins.admin.shown import OwnState
from less_sync.bins.admin.watchdog import Watchdog
from less_sync.bins.admin.within import within_routes
from less_sync.bins.bounded_protocol import BoundedProtocol
from less_sync.bins.errors import CommandError
from less_sync.bins.http_server import SteppedServer
from less_sync.bins.listening import bound_address, open_listeners
from less_sync.bins.own_spaces import OWN_SPACES
from less_sync.bins.services import log_at
from less_sync.bins.settings.config import AdminSettings, Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.client.kept_key import KeyFileError
from less_sync.storage import PostgresPool, PostgresSurveys, PushLanes
from less_sync.sync.canary import NODE_BYTES, canary_space
from less_sync.sync.http.shared_bytes import SharedBytes
from less_sync.sync.services import Services

if TYPE_CHECKING:
    from less_sync.fleet.reporter.reporter import Standing

CONNECTIONS_MAX: Final = 64
HEAD_TIMEOUT_S: Final = 5.0
KEEP_ALIVE_S: Final = 30
DISCARD_S: Final = 2.0
"""For what answers leave unread of bodies: nobody has a reason to send one."""
WRITE_STALL_S: Final = 5.0
SURVEY_S: Final = 20.0
"""For the search for the largest spaces."""
FINISH_S: Final = 1.0
"""How long an answer that is under way may take when the server stops."""

_log = structlog.get_logger(__name__)


class AdminProtocol(BoundedProtocol):
    """One connection of an operator. `Host` is compared with where it arrived."""

    connections_max = CONNECTIONS_MAX
    head_timeout_s = HEAD_TIMEOUT_S
    discard_s = DISCARD_S
    write_stall_s = WRITE_STALL_S
    large_heads = SharedBytes(0)
    """There is no room for heads beyond the 8 KiB that each connection has."""


class AdminListener:
    """The listener while it is open, and what it watches."""

    def __init__(self, server: SteppedServer, readiness: Readiness, watchdog: Watchdog) -> None:
        self._server = server
        self._readiness = readiness
        self.watchdog: Final = watchdog

    @property
    def address(self) -> ListenAddress:
        """Where it really listens."""
        return self._server.address

    def public_port_is_open(self) -> None:
        """From now on it may say that the server is ready."""
        self._readiness.listening = True


async def open_admin(
    settings: Settings,
    services: Services,
    stack: AsyncExitStack,
    vital: Supervisor,
    *,
    pool: PostgresPool,
    lanes: PushLanes,
    within: socket.socket | None = None,
    worker: int = 0,
    reporter: "Callable[[], Standing | None]" = lambda: None,
) -> AdminListener | None:
    """Listen where `ADMIN_ADDR` says, and let the watchdog run; `stack` ends both.

    Args:
        within: of a worker, the Unix socket to listen at instead. Only its supervisor comes to it, which has
            asked who may.
        worker: the worker's number; 0 is a server without any.
        reporter: as of `Exposition`.

    Returns:
        None: there is no `ADMIN_ADDR`, and no Unix socket.

    Raises:
        CommandError: the address cannot be listened on, or a file in the data directory is not as it must be.
    """
    if settings.admin.listen is None and within is None:
        return None
    watched = settings.admin.listen is not None
    try:
        node_id = kept_node_id(settings.data_dir) if watched else secrets.token_bytes(NODE_BYTES)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    watchdog = Watchdog(services, canary_space(node_id, worker))
    readiness = Readiness(services, watchdog.delivery)
    metrics = Exposition(
        services,
        pool=pool,
        lanes=lanes,
        delivery=watchdog.delivery,
        data_dir=settings.data_dir,
        node=NodeLabels(settings.cluster.node, worker),
        reporter=reporter,
    )
    surveys = PostgresSurveys(pool, left_out=OWN_SPACES, question_s=SURVEY_S)
    state = OwnState(services, metrics, readiness, surveys, vital)
    operated = OneServer(services, readiness, metrics, partial(log_at, services))
    more = None if within is None else within_routes(metrics, state, HoldingsWatch(services, pool))
    server = await serve_operators(settings, operated, state, stack, vital, within=within, more=more)
    if watched:  # else nobody sees what it finds out
        stack.push_async_callback(vital.stop, vital.start("delivery watchdog", watchdog.run()))
    return AdminListener(server, readiness, watchdog)


async def serve_operators(
    settings: Settings,
    operated: Operated,
    shown: Shown,
    stack: AsyncExitStack,
    vital: Supervisor,
    *,
    within: socket.socket | None = None,
    more: Mapping[str, Handler] | None = None,
) -> SteppedServer:
    """Let operators ask at `ADMIN_ADDR`, or a supervisor at a Unix socket, until `stack` ends.

    Args:
        more: what only this listener answers (`AdminApp`).

    Raises:
        CommandError: as `open_admin`.
    """
    if within is None:
        listeners, access = admin_place(settings.admin, settings.data_dir, "ADMIN_ADDR")
    else:
        listeners, access = [within], WITHIN
    console = Console(shown)
    routes = {
        **operator_routes(operated, console),
        **{path: {"GET": it} for path, it in (more or {}).items()},
    }
    app = AdminApp(access, operated, page=console_page(), more=routes)
    server = await serve_admin(app, listeners, stack, vital)
    stack.push_async_callback(console.aclose)  # before that: its answers do not end by themselves
    return server


def admin_place(admin: AdminSettings, data_dir: Path, setting: str) -> tuple[list[socket.socket], Access]:
    """The sockets of an admin listener, which has an address, and the rules of who may ask there.

    Args:
        data_dir: where a token is kept, if none is set.
        setting: what chooses another address.

    Raises:
        CommandError: as `open_admin`.
    """
    assert admin.listen is not None, "asked of nobody else"
    try:
        token = admin.token or kept_token(data_dir)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    listeners = open_listeners(admin.listen, setting=setting)
    reading_is_free = all(bound_address(one).is_loopback for one in listeners)
    return listeners, Access(token, reading_is_free=reading_is_free, name=admin.listen.host)


async def serve_admin(
    app: AdminApp, listeners: list[socket.socket], stack: AsyncExitStack, vital: Supervisor
) -> SteppedServer:
    """Let an application answer at these sockets until `stack` ends; the log says where, if it is a port."""
    server = SteppedServer("admin listener", app, http=AdminProtocol.apart(), keep_alive_s=KEEP_ALIVE_S)
    await server.start(listeners, partial(vital.start, "admin listener"))
    stack.push_async_callback(server.finish, FINISH_S)
    if server.address.port:
        _log.info("admin listener open", address=str(server.address))
    return server
