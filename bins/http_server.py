"""uvicorn, driven step by step: the only module of this room that knows it."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from less_sync.bins.errors import CommandError
from less_sync.bins.federation import Federation
from less_sync.bins.listening import bound_address
from less_sync.sync.http.app import create_app
from less_sync.sync.http.http1 import KEEP_ALIVE_S, HttpProtocol, http_protocol
from less_sync.sync.http.routing import RawRoute
from less_sync.sync.http.socket import ClientSocket, Route, websocket_protocol
from less_sync.sync.services import Services

LEAVING_S: Final = 2.0
"""What a connection that was accepted last may take for its first request, before its server is replaced."""
LEAVING_LOOK_S: Final = 0.01

Run = Callable[[Coroutine[object, object, None]], "asyncio.Task[None]"]


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers, which end with status 143 and ignore a second SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(
    app: ASGIApp, http: type[HttpProtocol], sockets: type[ClientSocket] | None, keep_alive_s: int
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,
        ws="none" if sockets is None else sockets,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # no forwarding header is trusted
        server_header=False,
        timeout_keep_alive=keep_alive_s,
    )


class SteppedServer:
    """An HTTP server whose start and stop are apart, each in steps.

    Args:
        name: what the operator calls it, for when it does not start.
        http: makes a connection.
        sockets: makes a WebSocket; None: there are none.
        keep_alive_s: how long a connection may idle.
    """

    def __init__(
        self,
        name: str,
        app: ASGIApp,
        *,
        http: type[HttpProtocol],
        sockets: type[ClientSocket] | None = None,
        keep_alive_s: int = KEEP_ALIVE_S,
    ) -> None:
        self._name = name
        self._config: Final = _config(app, http, sockets, keep_alive_s)
        self._uvicorn: Final = _Uvicorn(self._config)

    async def start(self, listeners: list[socket.socket], run: Run = asyncio.create_task) -> None:
        """Accept connections on sockets that listen already.

        Args:
            run: makes the task that accepts them, which lasts until `finish`.

        Raises:
            CommandError: that task ended while it began.
        """
        self.address = bound_address(listeners[0])
        self._serving = run(self._uvicorn.serve(sockets=listeners))
        while not self._uvicorn.started and not self._serving.done():  # noqa: ASYNC110  # no event is offered
            await asyncio.sleep(0.005)
        if self._serving.done():
            await self._serving
            raise CommandError(f"the {self._name} ended while it was starting")

    def close_doors(self) -> None:
        """Accept no connection more, and close those without a request."""
        for server in self._uvicorn.servers:
            server.close()
        for connection in list(self._uvicorn.server_state.connections):
            if isinstance(connection, HttpProtocol):
                connection.shutdown()

    async def finish(self, within_s: float) -> None:
        """Wait for running requests and open connections, cancel what is left when the time is over, end."""
        # uvicorn calls this an integer.
        self._config.timeout_graceful_shutdown = max(0, within_s)  # type: ignore[assignment]
        self._uvicorn.should_exit = True
        await self._serving


class HttpServer(SteppedServer):
    """The public one, which stops in the order of docs/operations.md 2.2."""

    def __init__(
        self,
        services: Services,
        federation: Federation | None = None,
        *,
        expose_etag: bool = False,
        pages: Sequence[RawRoute] = (),
    ) -> None:
        self._services = services
        super().__init__(
            "HTTP server",
            create_app(
                services,
                expose_etag=expose_etag,
                federation=None if federation is None else federation.routes,
                pages=pages,
            ),
            http=http_protocol(services),
            sockets=websocket_protocol(services, None if federation is None else federation.sockets),
        )

    async def leave_the_door(self, within_s: float = LEAVING_S) -> None:
        """Accept no connection more, and wait for what those that were accepted ask first.

        A successor accepts at the same sockets, so nobody need be refused: who has connected here gets an
        answer here, or is upgraded and then moved like the others.
        """
        deadline_s = asyncio.get_running_loop().time() + within_s
        for server in self._uvicorn.servers:
            server.close()
        while self._silent() and asyncio.get_running_loop().time() < deadline_s:  # noqa: ASYNC110  # no event is offered
            await asyncio.sleep(LEAVING_LOOK_S)

    def _silent(self) -> bool:
        """Whether somebody has connected and asked nothing yet."""
        connections = self._uvicorn.server_state.connections
        return any(isinstance(one, HttpProtocol) and not one.has_asked for one in connections)

    async def drain(self, grace_s: float) -> None:
        """Refuse what is new, let what runs end, close every session with 1001; `grace_s` at most."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + grace_s
        self._services.sessions.refuse()
        self.close_doors()
        await self._services.sessions.shutdown(grace_s)
        await self.finish(deadline_s - loop.time())
        if self._services.files is not None:
            await self._services.files.removals.aclose(max(0.0, deadline_s - loop.time()))


def serve_within(
    services: Services, routes: Mapping[bytes, Route]
) -> Callable[[socket.socket], Coroutine[object, object, None]]:
    """What takes connections that come from inside this process, and upgrades them by these routes alone.

    Nothing listens: whoever has the other end of a socket pair is the only one who can ask.
    """
    protocol = http_protocol(services)
    config = _config(_nowhere, protocol, websocket_protocol(services, routes), KEEP_ALIVE_S)
    config.load()
    state = ServerState()

    async def take(end: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: protocol(config, state, {}), end)

    return take


async def _nowhere(scope: object, receive: object, send: object) -> None:
    """Nothing but upgrades is asked for there."""
    raise LookupError("only WebSockets are served within")
