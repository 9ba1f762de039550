"""A listening socket and its connections: accepting, counting, sweeping idle ones, stopping."""

import asyncio
import ssl
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from less_sync.volume.counters import Counters
from less_sync.volume.http.bodies import BodyPool
from less_sync.volume.http.connection import CLOSING, Connection
from less_sync.volume.http.handlers import Handler, Immediate
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response

if TYPE_CHECKING:
    from less_sync.volume.http.usual import Usual

BACKLOG: Final = 2048
CONNECTIONS_MAX: Final = 16_384
"""Further ones are closed at once."""
SCRATCH_BYTES: Final = 128 << 10
"""What is read of a connection at once, but for bodies."""
TICK_S_MAX: Final = 1.0
LINGER_S_MAX: Final = 1.0
"""How long a client may take to close after its last answer."""
PENDING_BYTES_MAX: Final = 256 << 20
"""Of unfinished heads and waiting requests of all connections. The sweep closes those that hold most."""
PENDING_BYTES_SMALL: Final = 4 << 10
"""A connection that holds no more than this is not closed for what others hold."""
STOP_S_MAX: Final = 30.0

COUNTED: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"))

Route = Callable[[Request], Handler]


class Refusals(Immediate):
    """The handler of requests that nobody else was asked about."""

    def begin(self, request: Request) -> Response:
        """Never called: the connection has an answer already."""
        raise AssertionError(request.path)


class Listener:
    """Accepts connections and answers their requests by what `route` chooses.

    `body_bytes_max` bounds what is kept of a body. A connection on which no byte moved for `idle_s` seconds
    is closed; one whose request is being worked on is not idle. `usual` is asked before `route`.
    """

    def __init__(
        self,
        route: Route,
        counters: Counters,
        pool: BodyPool,
        *,
        body_bytes_max: int,
        idle_s: float,
        is_public: bool = False,
        connections_max: int = CONNECTIONS_MAX,
        usual: "Usual | None" = None,
    ) -> None:
        self.route: Final = route
        self.counters: Final = counters
        self.pool: Final = pool
        self.body_bytes_max: Final = body_bytes_max
        self.is_public: Final = is_public
        self.refusals: Final = Refusals()
        self.usual: Final = usual
        self.scratch: Final = bytearray(SCRATCH_BYTES)
        self.scratch_view: Final = memoryview(self.scratch)
        self.is_closing = False
        self.tick = 0
        """Grows with every sweep; a clock that costs a connection nothing to read."""
        self._connections_max: Final = connections_max
        self._idle_s: Final = idle_s
        self._tick_s: Final = min(TICK_S_MAX, idle_s / 4) or TICK_S_MAX
        self._idle_ticks: Final = round(idle_s / self._tick_s)
        self._linger_ticks: Final = round(LINGER_S_MAX / self._tick_s)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._none_left: asyncio.Future[None] | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen, and say on which port.

        Raises:
            OSError: the address is taken, or not ours.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=self._idle_s if tls is not None else None,
            backlog=BACKLOG,
            reuse_address=True,
        )
        self._timer = loop.call_later(self._tick_s, self._sweep)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self, grace_s: float = STOP_S_MAX) -> None:
        """Accept nobody, close idle connections, let the others finish their request for so long."""
        self.is_closing = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            if connection.is_idle or connection.state == CLOSING:
                connection.transport.close()
        if self._connections:
            self._none_left = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._none_left,), timeout=grace_s)
        for connection in list(self._connections):
            connection.transport.abort()
        if self._timer is not None:
            self._timer.cancel()

    @property
    def connections(self) -> frozenset[Connection]:
        """Those that are open now."""
        return frozenset(self._connections)

    def add(self, connection: Connection) -> None:
        """A connection was made; one too many is closed."""
        self._connections.add(connection)
        self.counters.connections += 1
        if self.is_closing or len(self._connections) > self._connections_max:
            self.counters.connections_refused += 1
            connection.state = CLOSING
            connection.transport.abort()

    def remove(self, connection: Connection) -> None:
        """It is lost."""
        self._connections.discard(connection)
        self.counters.connections -= 1
        if self._none_left is not None and not self._connections and not self._none_left.done():
            self._none_left.set_result(None)

    def count_in(self, request: Request) -> None:
        """A request begins. Methods that strangers make up have one name together."""
        request.counted_as = method = request.method if request.method in COUNTED else "INVALID"
        self.counters.running[method] += 1
        request.started_ns = perf_counter_ns()

    def count_out(self, request: Request, response: Response | None) -> None:
        """It is over; without a response if nobody was left to be answered."""
        method = request.counted_as
        self.counters.running[method] -= 1
        if response is not None:
            self.count(method, response.status, perf_counter_ns() - request.started_ns)

    def count(self, method: str, status: int, took_ns: int) -> None:
        """A request was answered."""
        self.counters.requests[method, status] += 1
        self.counters.request_durations[method].add(took_ns)

    def _sweep(self) -> None:
        """Close what is idle. One timer for all connections: one for each would cost every request."""
        self.tick += 1
        self.pool.trim()
        pending = 0
        for connection in self._connections:
            pending += connection.pending_bytes
            if self._is_overdue(connection):
                connection.transport.abort()
        if pending > PENDING_BYTES_MAX:
            self._shed(pending)
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._sweep)

    def _is_overdue(self, connection: Connection) -> bool:
        unsent = connection.transport.get_write_buffer_size()
        if connection.state == CLOSING and not unsent:
            return self.tick - connection.closing_tick > self._linger_ticks
        if unsent != connection.unsent_bytes:  # the client takes its answer, however slowly
            connection.unsent_bytes = unsent
            connection.seen = self.tick
        return self.tick - connection.seen > self._idle_ticks and not connection.waits_for_handler

    def _shed(self, pending: int) -> None:
        for connection in sorted(self._connections, key=lambda one: -one.pending_bytes):
            if pending <= PENDING_BYTES_MAX or connection.pending_bytes <= PENDING_BYTES_SMALL:
                break
            pending -= connection.pending_bytes
            connection.transport.abort()
