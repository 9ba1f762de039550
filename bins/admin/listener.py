"""The admin listener: a small HTTP server of its own, opened before the public one and closed after it."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import ClassVar, Final

import structlog

from less_sync.bins.admin.access import WITHIN, Access, kept_node_id, kept_token
from less_sync.bins.admin.console import Console, Shown
from less_sync.bins.admin.metrics import Exposition, NodeLabels
from less_sync.bins.admin.operated import OneServer, Operated
from less_sync.bins.admin.readiness import Readiness
from less_sync.bins.admin.routes import AdminApp, Handler
from less_sync.bins.admin.shown import OwnState
from less_sync.bins.admin.watchdog import Watchdog
from less_sync.bins.admin.within import within_routes
from less_sync.bins.errors import CommandError
from less_sync.bins.http_server import SteppedServer
from less_sync.bins.listening import bound_address, open_listeners
from less_sync.bins.own_spaces import OWN_SPACES
from less_sync.bins.services import log_at
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.client.kept_key import KeyFileError
from less_sync.storage import PostgresPool, PostgresSurveys, PushLanes
from less_sync.sync.canary import canary_space
from less_sync.sync.http.http1 import HttpProtocol
from less_sync.sync.http.shared_bytes import SharedBytes
from less_sync.sync.services import Services

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


class AdminProtocol(HttpProtocol):
    """One connection. There are `CONNECTIONS_MAX` at most, and whoever only occupies one makes room.

    The oldest without a whole request goes when another one comes. So neither idle connections nor slow
    heads, however many, keep an operator out.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    discard_s = DISCARD_S
    write_stall_s = WRITE_STALL_S
    large_heads = SharedBytes(0)
    """There is no room for heads beyond the 8 KiB that each connection has."""
    held: ClassVar[dict["AdminProtocol", None]]
    """The open connections, oldest first. Those of one listener."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Make room if there is none, and remember where this arrived: `Host` is compared with it."""
        super().connection_made(transport)
        name = transport.get_extra_info("sockname")
        self.server = (name, 0) if isinstance(name, str) else name[:2]
        if len(self.held) >= CONNECTIONS_MAX:
            idle = next((one for one in self.held if not one.answering), None)
            if idle is None:
                transport.abort()
                return
            idle.transport.abort()
            del self.held[idle]
        self.held[self] = None

    @property
    def answering(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self.held.pop(self, None)
        super().connection_lost(exc)


def _protocol() -> type[AdminProtocol]:
    class BoundProtocol(AdminProtocol):
        held: ClassVar[dict[AdminProtocol, None]] = {}

    return BoundProtocol


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
) -> AdminListener | None:
    """Listen where `ADMIN_ADDR` says, and let the watchdog run; `stack` ends both.

    Args:
        within: of a worker, the Unix socket to listen at instead. Only its supervisor comes to it, which has
            asked who may.
        worker: the worker's number; 0 is a server without any.

    Returns:
        None: there is no `ADMIN_ADDR`.

    Raises:
        CommandError: the address cannot be listened on, or a file in the data directory is not as it must be.
    """
    address = settings.admin.listen
    if address is None:
        return None
    try:
        space = canary_space(kept_node_id(settings.data_dir), worker)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    watchdog = Watchdog(services, space)
    readiness = Readiness(services, watchdog.delivery)
    metrics = Exposition(
        services,
        pool=pool,
        lanes=lanes,
        delivery=watchdog.delivery,
        data_dir=settings.data_dir,
        node=NodeLabels(settings.cluster.node, worker),
    )
    surveys = PostgresSurveys(pool, left_out=OWN_SPACES, question_s=SURVEY_S)
    state = OwnState(services, metrics, readiness, surveys, vital)
    operated = OneServer(services, readiness, metrics, partial(log_at, services))
    more = None if within is None else within_routes(metrics, state)
    server = await serve_operators(settings, operated, state, stack, vital, within=within, more=more)
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
        address = settings.admin.listen
        assert address is not None, "asked of nobody else"
        try:
            token = settings.admin.token or kept_token(settings.data_dir)
        except KeyFileError as error:
            raise CommandError(str(error)) from error
        listeners = open_listeners(address, setting="ADMIN_ADDR")
        reading_is_free = all(bound_address(one).is_loopback for one in listeners)
        access = Access(token, reading_is_free=reading_is_free, name=address.host)
    else:
        listeners, access = [within], WITHIN
    console = Console(shown)
    app = AdminApp(access, operated, console, more=more)
    server = SteppedServer("admin listener", app, http=_protocol(), keep_alive_s=KEEP_ALIVE_S)
    await server.start(listeners, partial(vital.start, "admin listener"))
    stack.push_async_callback(server.finish, FINISH_S)
    stack.push_async_callback(console.aclose)  # before that: its answers do not end by themselves
    if within is None:
        _log.info("admin listener open", address=str(server.address))
    return server
