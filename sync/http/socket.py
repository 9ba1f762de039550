"""WebSockets of clients: the upgrade, messages in, bytes out, back-pressure. In place of uvicorn's own class.

uvicorn is given the class as `Config(ws=...)` and asks three things of it: to list itself among the server's
connections, to be an asyncio protocol, and to have a `shutdown`. This one hands a message straight to the
session and a frame straight to the transport: no ASGI task, queue or wake-up in between. Of websockets'
sans-I/O core only the receiving half is used; what is sent was framed by `ws_frame`, unmasked, unfragmented.

A stranger is given little: one message of 32 KiB, and what one read brings behind it waits unread, out of a
share of all connections, until the session says `accepted` (docs/protocol.md 2.3).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, cast

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.frames import Close as CloseData
from websockets.frames import CloseCode as WebSocketCloseCode
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from less_sync.auth import Identity
from less_sync.sync.http.framing import PING, ws_frame, ws_header
from less_sync.sync.http.gate import UNAVAILABLE, Gate
from less_sync.sync.http.headers import head_lines, last_answer
from less_sync.sync.http.receiver import Receiver
from less_sync.sync.http.shared_bytes import SharedBytes
from less_sync.sync.http.upgrade import UpgradeRequest
from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.frames import KEEPALIVE
from less_sync.sync.services import Services
from less_sync.sync.session.clients import client_sessions
from less_sync.sync.session.session import SessionWire

CLIENT_PATH: Final = b"/api/v1/ws"

SWITCHING: Final = "101"
"""Status of a request that became a WebSocket, where requests are counted."""
_WRITE_BUFFER_BYTES = 256 * 1024


class SocketSession(Protocol):
    """What a socket tells its session, and asks of it. Each call returns at once and raises nothing."""

    heard: bool
    """Set whenever anything arrives."""

    @property
    def closing(self) -> bool:
        """True once it takes no message any more."""

    def binary_received(self, data: bytes) -> None: ...

    def text_received(self) -> None: ...

    def violated(self, close: Close) -> None:
        """The peer broke the protocol below the messages: close once what came before is handled."""

    def writing_paused(self) -> None: ...

    def writing_resumed(self) -> None: ...

    def close(self, close: Close) -> None: ...

    def lost(self) -> None:
        """The connection is gone, or the peer closes it."""


SessionFactory = Callable[[SessionWire], SocketSession]
"""Makes the session of one connection that was just upgraded."""


@dataclass(frozen=True, slots=True)
class GuardedRoute:
    """A path that not everybody may upgrade."""

    gate: Gate
    sessions: Callable[[SessionWire, Identity], SocketSession]
    """As a `SessionFactory`, for somebody the gate knows."""


Route = SessionFactory | GuardedRoute


class ClientSocket(asyncio.Protocol):
    """One upgraded TCP connection. Subclassed by `websocket_protocol`, which binds the services."""

    services: ClassVar[Services]
    routes: ClassVar[Mapping[bytes, Route]]
    """Raw path to what serves it. A request for any other path is not upgraded."""
    pipelined: ClassVar[SharedBytes]
    """What has come behind first messages whose tokens are being looked at."""

    __slots__ = (
        "_close_deadline",
        "_closing_handshake",
        "_connections",
        "_failed",
        "_fragments",
        "_held_bytes",
        "_loop",
        "_receiver",
        "_session",
        "_taking",
        "_text",
        "_waiting",
        "_writable",
        "transport",
        "write",
    )

    write: Callable[[bytes], None]
    """Send bytes that are complete frames: the transport's own method."""
    frame = staticmethod(ws_frame)
    frame_header = staticmethod(ws_header)
    heartbeat: Final = ws_frame(KEEPALIVE) + PING

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._connections = server_state.connections
        self._loop = asyncio.get_running_loop()
        limits = self.services.limits
        self._receiver = Receiver(
            first_message_bytes=limits.first_message_bytes, first_frames=limits.first_message_frames
        )
        self._fragments = bytearray()
        self._taking = False
        self._waiting = False
        self._held_bytes = 0
        self._text = False
        self._session: SocketSession | None = None
        self._writable = True
        self._closing_handshake = False
        self._close_deadline: asyncio.TimerHandle | None = None
        self._failed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is handed over by the HTTP protocol."""
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        self._connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own classes there

    # Upgrade (docs/protocol.md 2.1).

    def upgrade(
        self, path: bytes, request: UpgradeRequest, early: bytes, identity: Identity | None = None
    ) -> None:
        """Answer a request to upgrade that passed the checks: 101, or 503 while there is no room.

        Args:
            path: a key of `routes`.
            early: what the peer sent behind its request, without waiting for the answer.
            identity: whom the gate of a guarded route has let in. Strangers are no reason to turn them away.
        """
        route, limits, sessions = self.routes[path], self.services.limits, self.services.sessions
        full = identity is None and sessions.unauthenticated >= limits.unauthenticated_sessions
        if self.services.draining or full:
            self.services.metrics.http_answered(path.decode(), str(UNAVAILABLE.status))
            self.services.metrics.upgrade_refused(UNAVAILABLE.status)
            self.write(last_answer(UNAVAILABLE, self.services.now()))
            self.transport.close()
            return
        self.services.metrics.http_answered(path.decode(), SWITCHING)
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self.write(
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept_key(request.key)}\r\n"
                f"Sec-WebSocket-Protocol: {request.subprotocol}\r\n{head_lines(self.services.now())}\r\n"
            ).encode("latin-1")
        )
        if isinstance(route, GuardedRoute):
            assert identity is not None, "the gate says who it is"
            self._session = route.sessions(self, identity)
        else:
            self._session = route(self)
        if early:
            self.data_received(early)

    # Bytes and messages in.

    def data_received(self, data: bytes) -> None:
        """Take a message that came by itself, or feed the receiver."""
        session = self._session
        if session is None:
            return  # refused: whatever follows is not read
        session.heard = True
        message = self._receiver.whole_message(data)
        if message is not None:
            if not session.closing:
                session.binary_received(message)
            return
        self._receiver.receive_data(data)
        self._take(session)

    def _take(self, session: SocketSession) -> None:
        """Handle what the receiver has; messages that came before a violation are handled before it."""
        receiver, reader = self._receiver, self._receiver.reader
        self._taking = True
        try:
            while True:
                for event in receiver.events_received():
                    self._frame_received(session, cast(Frame, event))
                held = reader.held
                if not (held and receiver.trusted):
                    break
                receiver.resume()
        finally:
            self._taking = False
        if held:
            self._await_token(session)
        if receiver.failure is not None and not self._failed:
            self._failed = True
            too_big = receiver.failure == WebSocketCloseCode.MESSAGE_TOO_BIG
            session.violated(codes.MESSAGE_TOO_BIG if too_big else codes.PROTOCOL_VIOLATION)

    def _frame_received(self, session: SocketSession, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.BINARY | Opcode.TEXT:
                self._text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    self._message_received(session, bytes(frame.data))
                else:
                    self._fragments = bytearray(frame.data)
            case Opcode.CONT:
                self._fragment_received(session, frame)
            case Opcode.PING:
                self._send_pong()
            case Opcode.CLOSE:
                self._close_received(session)
            case _:  # a pong: that anything came is noted already
                pass

    def _fragment_received(self, session: SocketSession, frame: Frame) -> None:
        # One buffer: a list of pieces would cost more than they hold, if they are small.
        self._fragments += frame.data
        if frame.fin:
            data, self._fragments = bytes(self._fragments), bytearray()
            self._message_received(session, data)

    def _message_received(self, session: SocketSession, data: bytes) -> None:
        if session.closing:
            return
        if self._text:
            session.text_received()
        else:
            session.binary_received(data)

    def _send_pong(self) -> None:
        """Send what the receiver has prepared, unless the peer does not read: pongs may not pile up."""
        output = self._receiver.data_to_send()
        if self._writable and not self._closing_handshake:
            self.write(b"".join(output))

    def _close_received(self, session: SocketSession) -> None:
        """The peer's close frame: echo it unless it answers ours, then close TCP (RFC 6455 5.5.1, 7.1.1)."""
        output = self._receiver.data_to_send()
        if not self._closing_handshake:
            self.write(b"".join(output))
        session.lost()
        self.transport.close()

    # The time in which a token is looked at.

    def accepted(self) -> None:
        """The session knows who is there: go on reading, by the bounds of messages after the first."""
        self._receiver.trust(self.services.limits.frame_bytes)
        if self._session is not None and not self._taking:  # else whoever takes goes on
            self._end_wait()
            if self._receiver.held:
                self._receiver.resume()
                self._take(self._session)

    def _await_token(self, session: SocketSession) -> None:
        """Read nothing until the token is accepted. What came in the same read stays as it is."""
        if self._waiting:
            return
        self._waiting = True
        self.pause_reading()
        unread = self._receiver.unread_bytes
        if self.pipelined.take(unread):
            self._held_bytes = unread
        else:
            session.close(codes.AUTH_UNAVAILABLE)

    def _end_wait(self) -> None:
        if self._waiting:
            self._waiting = False
            self.pipelined.give_back(self._held_bytes)
            self._held_bytes = 0
            self.resume_reading()

    def eof_received(self) -> None:
        """The peer has shut its half: the transport closes itself."""

    # What the session asks for.

    def unsent_bytes(self) -> int:
        """Bytes the transport still buffers."""
        return self.transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Let TCP push back on the peer."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection without a close frame."""
        self.transport.abort()

    def send_close(self, close: Close) -> None:
        """Send the close frame, then discard input until the peer closes, for at most `close_timeout_s`.

        The time counts from when the frame has left the buffer; until then the write deadline holds. After
        a violation the peer's own close frame cannot be told from the rest, so our half is shut at once.
        """
        if self._closing_handshake or self.transport.is_closing():
            return
        self._closing_handshake = True
        self._end_wait()
        self._receiver.close_only()
        # With a mark of 0 `pause_writing` and `resume_writing` tell whether anything is unsent.
        self.transport.set_write_buffer_limits(high=0)
        data = CloseData(int(close.code), close.reason).serialize()
        self.write(Frame(Opcode.CLOSE, data).serialize(mask=False))
        if self._failed and self.transport.can_write_eof():
            self.transport.write_eof()
        if self._writable:
            self._await_peer_close()

    def _await_peer_close(self) -> None:
        if self._close_deadline is None:
            self._close_deadline = self._loop.call_later(
                self.services.limits.close_timeout_s, self.transport.abort
            )

    # Back-pressure and the end of the connection.

    def pause_writing(self) -> None:
        """The transport's buffer is over its mark."""
        self._writable = False
        if self._session is not None:
            self._session.writing_paused()

    def resume_writing(self) -> None:
        """The transport takes bytes again."""
        self._writable = True
        if self._closing_handshake:
            self._await_peer_close()
        if self._session is not None:
            self._session.writing_resumed()

    def shutdown(self) -> None:
        """uvicorn stops. `Sessions.shutdown` ran before and closed the sessions: this is for what is left."""
        if self._session is not None:
            self._session.close(codes.SHUTTING_DOWN)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self._end_wait()
        if self._close_deadline is not None:
            self._close_deadline.cancel()
        if self._session is not None:
            self._session.lost()
        self._connections.discard(self)


def websocket_protocol(bound: Services, routes: Mapping[bytes, Route] | None = None) -> type[ClientSocket]:
    """The class uvicorn is given as `Config(ws=...)`: one instance per upgraded connection.

    Args:
        routes: raw path to what serves it; by default clients alone are served.
    """
    served: Mapping[bytes, Route] = {CLIENT_PATH: client_sessions(bound)} if routes is None else routes

    class BoundSocket(ClientSocket):
        __slots__ = ()
        services = bound
        pipelined = SharedBytes(bound.limits.pipelined_bytes)
        routes = served

    return BoundSocket
