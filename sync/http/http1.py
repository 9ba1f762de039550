"""uvicorn's HTTP/1.1 parser with bounds: size of a request head, time for it, time a connection may idle.

The base class has none for a head, and closes an idle connection only after its first response. Which
upgrades become WebSockets is decided here too: those of paths that a socket serves and that have no gate, or
whose gate lets the peer in; all else is plain HTTP.

How a connection ends is decided here as well. Closing a socket that has unread input resets it, and a reset
takes an answer away that the peer has not read yet. So whenever more may be coming, the answer is followed by
a FIN, and what comes is discarded until the peer closes, or for so long and so much (RFC 9112 9.6).
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from less_sync.auth import Identity
from less_sync.sync.http.gate import UNAVAILABLE, Answer, Gate, GateWait
from less_sync.sync.http.headers import last_answer
from less_sync.sync.http.shared_bytes import SharedBytes
from less_sync.sync.http.socket import ClientSocket, GuardedRoute
from less_sync.sync.http.upgrade import Refusal, UpgradeRequest, refusal
from less_sync.sync.http.write_watch import WriteWatch
from less_sync.sync.limits import Limits
from less_sync.sync.metrics import OTHER
from less_sync.sync.services import Services

HEAD_BYTES_MAX: Final = 384 * 1024
HEAD_FIELDS_MAX: Final = 100
TARGET_BYTES_MAX: Final = 65_534
HEAD_TIMEOUT_S: Final = 10.0
KEEP_ALIVE_S: Final = 75
REQUEST_BYTES: Final = 2048
"""What a request costs beyond its head: counted with it, lest thousands of tiny ones be pipelined."""
DISCARD_BYTES_MAX: Final = 8 * 1024 * 1024
DISCARD_S: Final = 10.0
"""How much is discarded of what comes behind an early answer, and for how long."""
WRITE_STALL_S: Final = 60.0
"""How long a peer may take nothing of what is sent to it."""


class _HeadRefused(Exception):
    """Leaves the parser from inside one of its callbacks."""


class _Outlet:
    """What a request's answer knows of the transport: uvicorn closes it as soon as the last byte is handed
    over, and so would reset who is still sending."""

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class HttpProtocol(HttpToolsProtocol):
    """One TCP connection (docs/operations.md 4.6).

    A head beyond 384 KiB or 100 fields is 431, a target beyond 65,534 bytes 414, a head not complete 10 s
    after its first byte 408, anything malformed 400; each with an empty body, and the connection is closed.
    A connection without a request under way is closed after `Config.timeout_keep_alive` seconds.

    The heads of a connection's unanswered requests may have `Limits.heads_bytes` together. If they have more,
    they count against `large_heads`, which all connections share, and are 431 when that is full.

    What an answer leaves unread of its request's body is discarded: 8 MiB or for 10 s at most, then the
    connection is closed. It is kept for further requests when so little is known to come; else the answer has
    `Connection: close`. A peer that takes nothing of an answer for 60 s is given up.
    """

    head_timeout_s: float = HEAD_TIMEOUT_S
    discard_s: float = DISCARD_S
    write_stall_s: float = WRITE_STALL_S
    limits: ClassVar[Limits] = Limits()
    large_heads: ClassVar[SharedBytes] = SharedBytes(Limits().large_heads_bytes)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._sockets = cast("type[ClientSocket] | None", config.ws_protocol_class)
        self._refusal = 400
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._received_bytes = 0
        self._other_bytes = 0
        self._unanswered: list[int] = []
        self._unanswered_bytes = 0
        self._charged_bytes = 0
        self._running: RequestResponseCycle | None = None
        self._upgraded = False
        self._ending = False
        self._end_timer: asyncio.TimerHandle | None = None
        self._body_left: int | None = 0
        self._discard_left = DISCARD_BYTES_MAX
        self._asked = False
        self._upgrade: UpgradeRequest | None = None
        self._path = b""
        self._waiting_upgrade: bytes | None = None
        self._gate_wait: GateWait | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Start the idle clock at once: a client that never speaks is idle too.

        The base class would look up both addresses; nothing here reads them, and no log may show them.
        """
        self.connections.add(self)
        self.transport = transport
        self._outlet = cast("asyncio.Transport", _Outlet(transport, self._end))
        self._watch = WriteWatch(transport, self.write_stall_s)
        self.flow = FlowControl(transport)
        self.scheme = "http"
        self._rearm_idle_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget timers and heads, whoever ended the connection."""
        self._end_gate_wait()
        self._end_head()
        self._end_discarding()
        self._watch.stop()
        self._forget_heads()
        self._disconnect_running()
        self._unset_keepalive_if_required()
        self._outlet.close = self.transport.close  # type: ignore[method-assign]  # else nothing here is freed
        super().connection_lost(exc)

    @property
    def has_asked(self) -> bool:
        """Whether a request came whole, and no gate is being asked about it."""
        return self.cycle is not None and self._gate_wait is None

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Answer who asked whole questions and will ask no more; a request cut in two ends the connection."""
        cycle = self.cycle
        if self._ending or cycle is None or cycle.response_complete or cycle.more_body or self._head_timer:
            return False
        cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """The peer takes less than is sent."""
        super().pause_writing()
        self._watch.start()

    def resume_writing(self) -> None:
        """The peer has taken most of it."""
        self._watch.stop()
        super().resume_writing()

    def shutdown(self) -> None:
        """Close the connection if it is idle, else with the answer to the last request that was begun."""
        if self._gate_wait is not None:
            self._refuse_upgrade(UNAVAILABLE)
        elif self._end_timer is not None:
            self._end()
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """The connection has been idle for long."""
        self._close()

    def data_received(self, data: bytes) -> None:
        """Parse, then see whether a head has grown too large or the connection is idle again."""
        if self._ending:
            self._discard_left -= len(data)
            if self._discard_left < 0:
                self._close()
            return
        if self._waiting_upgrade is not None:
            self._refuse(400)  # nothing may be sent behind a request to upgrade (RFC 6455 4.1)
            return
        self._unset_keepalive_if_required()
        self._other_bytes = 0
        self._parse(data)
        if self._head_timer is None or self._ending or self._upgraded:
            self._rearm_idle_timer()
            return
        # A field that never ends reaches no callback, so the bytes of an unfinished head count as they come,
        # but for those of a body or another head in the same chunk.
        self._received_bytes += max(0, len(data) - self._other_bytes)
        if self._received_bytes > HEAD_BYTES_MAX or not self._charge(
            max(self._head_bytes, self._received_bytes)
        ):
            self._refuse(431)

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as pause:
                # The parser stops behind any request that would be upgraded, and says how far it came.
                came_to = pause.args[0]
            except httptools.HttpParserError:
                self._refuse(self._refusal)
                return
            # Not while that is handled: what is raised and kept by then would keep this frame, and its data.
            data = data[came_to:]
            if self._upgrade is not None:
                self._begin_upgrade(data)
                return

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head_bytes = self._received_bytes = 0
        self._asked = False
        self._upgrade = None
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._refuse, 408)

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        super().on_url(url)
        self._head_bytes += len(url)
        if len(self.url) > TARGET_BYTES_MAX:
            self._refusal = 414
            raise _HeadRefused

    def on_header(self, name: bytes, value: bytes) -> None:
        """One complete field. The parser leaves blanks after a value, which are none of it (RFC 9112 5)."""
        super().on_header(name, value.rstrip(b" \t"))
        self._head_bytes += len(name) + len(value) + len(": \r\n")
        if self._head_bytes > HEAD_BYTES_MAX or len(self.headers) > HEAD_FIELDS_MAX:
            self._refusal = 431
            raise _HeadRefused

    def on_headers_complete(self) -> None:
        """The head is whole; from here on the application answers."""
        self._end_head()
        self._other_bytes += self._head_bytes
        self._unanswered.append(self._head_bytes)
        self._unanswered_bytes += self._head_bytes
        if not self._charge(0):
            self._refusal = 431
            raise _HeadRefused
        hosts = [name for name, _ in self.headers].count(b"host")
        http_1_0 = self.parser.get_http_version() == "1.0"
        if hosts > 1 or (hosts == 0 and not http_1_0):
            raise _HeadRefused  # RFC 9112 3.2: who is meant must be said once
        if http_1_0:
            self.expect_100_continue = False  # RFC 9110 10.1.1: it would take the 100 for the answer
        if not self.url.startswith(b"/") and httptools.parse_url(self.url).path is None:
            self.url = b"/"  # of an absolute target that has none (RFC 9110 4.2.3)
        self._body_left = self._body_length()
        super().on_headers_complete()

    def _body_length(self) -> int | None:
        """What the head says of it: the parser has checked the form. None: chunked."""
        for name, value in self.headers:
            if name == b"content-length":
                return int(value)
            if name == b"transfer-encoding":
                return None
        return 0

    def on_response_complete(self) -> None:
        """The next request of the connection may be answered; an upgrade is the last of them."""
        if self._unanswered:  # none are left when the connection is over
            self._unanswered_bytes -= self._unanswered.pop(0)
            self._charge(0)
        if self._ending:
            return
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            # Little is left of the body, or this would have been the last answer.
            self._end_timer = self.loop.call_later(self.discard_s, self._close)
        early = self._waiting_upgrade
        if self.cycle.response_complete and self._head_timer is None and early is None:
            self._forget_request()
        if early is not None and not self.transport.is_closing():
            if self.cycle.response_complete:
                self._hand_over(early)
            else:
                self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._other_bytes += len(body)
        if self._body_left is not None:
            self._body_left -= len(body)
        if not self.cycle.body:
            # Nothing is added to nothing without a copy, and bytes are handed on as they are. As a bytearray,
            # which the base class keeps, each piece would be copied twice.
            self.cycle.body = b""  # type: ignore[assignment]
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole; if it was answered before, the connection can go on."""
        self._end_discarding()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.transport = self._outlet

        async def answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            async def send_decided(message: ASGISendEvent) -> None:
                if message["type"] == "http.response.start" and not self._goes_on(cycle, message["status"]):
                    cycle.keep_alive = False
                await send(message)

            await app(scope, receive, send_decided)

        super()._start_asgi_task(cycle, answer)

    def _goes_on(self, cycle: RequestResponseCycle, status: int) -> bool:
        """Whether the connection can be used again, as far as is known when an answer begins.

        Who waits for a 100 need not send the body any more, or may (RFC 9110 10.1.1): what comes next cannot
        be told. Neither can how much a chunked body still has.
        """
        if status == 408:
            return False  # RFC 9110 15.5.9
        if not cycle.more_body:
            return True
        known = self._body_left is not None and self._body_left <= DISCARD_BYTES_MAX
        return known and not cycle.waiting_for_100_continue

    def _charge(self, head_bytes: int) -> bool:
        """Count what this connection's heads hold, an unfinished one of `head_bytes` included.

        Returns:
            False when they are large, and large heads have no room for them.
        """
        held = self._unanswered_bytes + head_bytes + REQUEST_BYTES * max(0, len(self._unanswered) - 1)
        wanted = held if held > self.limits.heads_bytes else 0
        if wanted == self._charged_bytes:
            return True
        if wanted > self._charged_bytes:
            if not self.large_heads.take(wanted - self._charged_bytes):
                return False
        else:
            self.large_heads.give_back(self._charged_bytes - wanted)
        self._charged_bytes = wanted
        return True

    def _forget_request(self) -> None:
        """Let go of a request that is answered: the connection may idle for long."""
        self.headers, self.url = [], b""
        self.scope = self.cycle.scope = {}  # type: ignore[typeddict-item]  # nothing reads it any more
        self.cycle.body = bytearray()
        self._running = None

    def _forget_heads(self) -> None:
        """Nothing more is parsed or answered here: hold nothing."""
        self.parser = None  # type: ignore[assignment]  # as the base class does in the end
        self.headers, self.url = [], b""
        self.scope = {}  # type: ignore[typeddict-item]  # it has the headers too
        self.pipeline.clear()
        self._unanswered.clear()
        self._unanswered_bytes = 0
        self._charge(0)

    def _begin_upgrade(self, early: bytes) -> None:
        """Upgrade now, or when the requests before are answered: answers leave in order (RFC 9112 9.3.2).

        Args:
            early: what was sent behind the request.
        """
        if self.cycle is None or self.cycle.response_complete:
            self._hand_over(early)
        else:
            self._waiting_upgrade = early
            self.flow.pause_reading()

    def _hand_over(self, early: bytes) -> None:
        """Give the connection to a socket, if the gate of its path has nothing against it."""
        assert self._sockets is not None, "or no path would be upgraded"
        route = self._sockets.routes[self._path]
        if isinstance(route, GuardedRoute):
            self._ask(route.gate, early)
        else:
            self._become_socket(early)

    def _ask(self, gate: Gate, early: bytes) -> None:
        """Ask who it is. While that takes time, head and early bytes stay counted, and nothing may follow."""
        assert self._upgrade is not None, "or this was not called"
        assert self._sockets is not None, "or no path would be upgraded"
        services, pipelined = self._sockets.services, self._sockets.pipelined
        if services.draining:
            self._refuse_upgrade(UNAVAILABLE)
            return
        answer = gate.admit(self._upgrade.signed())
        if isinstance(answer, Identity | Refusal):
            self._gate_answered(answer, early)
            return
        strangers = services.sessions.unauthenticated
        if strangers >= services.limits.unauthenticated_sessions or not pipelined.take(len(early)):
            self._refuse_upgrade(UNAVAILABLE)
            return
        self._waiting_upgrade = early
        # Reading goes on, or nobody would notice that the peer has hung up.
        self.flow.resume_reading()
        self._gate_wait = GateWait(
            answer,
            sessions=services.sessions,
            pipelined=pipelined,
            early_bytes=len(early),
            answered=lambda answer: self._gate_answered(answer, early),
        )

    def _gate_answered(self, answer: Answer, early: bytes) -> None:
        self._gate_wait = None
        if isinstance(answer, Refusal):
            self._refuse_upgrade(answer)
        elif not self._ending and not self.transport.is_closing():
            self._become_socket(early, answer)

    def _end_gate_wait(self) -> None:
        if self._gate_wait is not None:
            self._gate_wait.cancel()
            self._gate_wait = None

    def _refuse_upgrade(self, answer: Refusal) -> None:
        if self._ending or self.transport.is_closing():
            return
        assert self._sockets is not None, "or no path would be upgraded"
        services = self._sockets.services
        services.metrics.http_answered(self._path.decode(), str(answer.status))
        services.metrics.upgrade_refused(answer.status)
        self.transport.write(last_answer(answer, services.now()))
        self._linger()

    def _become_socket(self, early: bytes, identity: Identity | None = None) -> None:
        """Give the connection away, head and all: none of the limits here applies any more.

        The base class would write the head out again for the other side to parse a second time.
        """
        path, request = self._path, self._upgrade
        assert request is not None, "or this was not called"
        assert self._sockets is not None, "or no path would be upgraded"
        self._upgraded = True
        self._watch.stop()
        self._waiting_upgrade = None
        self._forget_heads()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.connections.discard(self)
        protocol = self._sockets(self.config, self.server_state, self.app_state)
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.upgrade(path, request, early, identity)

    def _should_upgrade(self) -> bool:
        # Asked three times a request, once its head is whole.
        if not self._asked:
            self._asked = True
            self._upgrade = self._accepted_upgrade()
        return self._upgrade is not None

    def _accepted_upgrade(self) -> UpgradeRequest | None:
        """The request as one to upgrade; None if it is none, or fails a check: the plain route says which."""
        sockets = self._sockets
        if sockets is None:
            return None
        self._path = httptools.parse_url(self.url).path
        if self._path not in sockets.routes:
            return None
        request = UpgradeRequest(
            self.scope["method"],
            self.scope["http_version"],
            self.headers,
            sockets.services.subprotocols,
            self.url,
        )
        return request if refusal(request) is None else None

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def refused(self, status: int) -> None:
        """Told of what was refused before it was a whole request."""

    def _refuse(self, status: int) -> None:
        self._end_head()
        if self._ending or self.transport.is_closing():
            return
        self._disconnect_running()  # nothing may follow the refusal
        self.refused(status)
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self._linger()

    def _end(self) -> None:
        """Close behind what was sent, at once if the peer can be sending nothing more."""
        if self._ending or self.transport.is_closing():
            return
        if self._running is self.cycle and not self.cycle.more_body and self._head_timer is None:
            self._close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Send no more, and read on for a while."""
        self._end_gate_wait()
        self._end_head()
        self._end_discarding()
        self._ending = True
        self._forget_heads()
        self._discard_left = DISCARD_BYTES_MAX
        self._end_timer = self.loop.call_later(self.discard_s, self._close)
        self.flow.resume_reading()
        self.transport.write_eof()

    def _end_discarding(self) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None

    def _close(self) -> None:
        """Close once what was sent has left."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._watch.start()

    def _disconnect_running(self) -> None:
        """Tell the request that is being answered, which need not be the last one, that nobody listens."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _rearm_idle_timer(self) -> None:
        """The base class stops its timer with each byte and starts it after a response only."""
        answered = self.cycle is None or self.cycle.response_complete
        over = self._upgraded or self._ending or self.transport.is_closing()
        if answered and not over and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )


def http_protocol(services: Services) -> type[HttpProtocol]:
    """The class uvicorn is given as `Config(http=...)`: the limits are those of the services."""

    class BoundProtocol(HttpProtocol):
        limits = services.limits
        large_heads = SharedBytes(services.limits.large_heads_bytes)

        def refused(self, status: int) -> None:
            services.metrics.http_answered(OTHER, str(status))

    return BoundProtocol
