"""WebSockets of clients: the upgrade, messages in, bytes out, back-pressure. Knows uvicorn and websockets.

uvicorn hands an upgraded connection to the class made here instead of its own ASGI bridge: a message goes
straight to the session and a frame straight to the transport, without a task or a queue in between. Of
websockets' sans-I/O core only the receiving half is used; what is sent is framed by `ws_frame`, unmasked and
unfragmented. The base class's hooks that matter are overridden here; `tests/sync/test_socket.py` drives each.
"""

import asyncio
from collections.abc import Generator
from typing import Any, ClassVar, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Close as CloseData
from websockets.frames import CloseCode as WebSocketCloseCode
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from sync.http_headers import COMMON_HEADERS
from sync.protocol import codes
from sync.protocol.codes import Close
from sync.services import Services
from sync.session import Session

CLIENT_PATH = "/api/v1/ws"

_REASONS = {400: "Bad Request", 405: "Method Not Allowed", 503: "Service Unavailable"}
_COMMON = "".join(f"{name}: {value}\r\n" for name, value in COMMON_HEADERS)
_WRITE_BUFFER_BYTES = 256 * 1024
_FRAGMENTS_MAX = 1024
"""Pieces of a fragmented message kept apart; beyond, they are joined, so that empty ones cost nothing."""


class _Receiver(ServerProtocol):
    """websockets' receiving half, which reports a violation instead of closing in its own words."""

    failure: WebSocketCloseCode | int | None = None

    def fail(self, code: WebSocketCloseCode | int, reason: str = "") -> None:
        self.failure = code
        self.parser = self._swallow()
        next(self.parser)

    def _swallow(self) -> Generator[None]:
        """Discard input for good: the rest of an oversize message, frames after a violation."""
        while True:
            self.reader.discard()
            yield


class ClientSocket(WebSocketsSansIOProtocol):
    """One upgraded TCP connection. Subclassed by `websocket_protocol`, which binds the services."""

    services: ClassVar[Services]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: _Receiver = _Receiver(max_size=self.services.limits.frame_bytes, logger=self.logger)
        self._session: Session | None = None
        self._closing_handshake = False
        self._close_deadline: asyncio.TimerHandle | None = None
        self._failed = False

    # Upgrade (protocol 2).

    def handle_connect(self, event: Request) -> None:
        """Answer the upgrade request by hand: our order of checks, our headers."""
        self.handshake_initiated = True
        self.handshake_complete = True
        status, text = _refusal(event)
        subprotocol = None if status else self._subprotocol(event)
        if not status and subprotocol is None:
            status = 400
        limits, sessions = self.services.limits, self.services.sessions
        if not status and (
            self.services.draining or sessions.unauthenticated >= limits.unauthenticated_sessions
        ):
            status = 503
        if status:
            self._refuse(status, text)
            return
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        accept = accept_key(event.headers.get_all("Sec-WebSocket-Key")[0])
        self.transport.write(
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n{_COMMON}\r\n"
            ).encode("latin-1")
        )
        self.conn.state = OPEN
        self._session = Session(self.services, self)

    def _subprotocol(self, request: Request) -> str | None:
        """The first of our own subprotocols that any header line offers, compared exactly."""
        lines = request.headers.get_all("Sec-WebSocket-Protocol")
        offered = {token.strip() for line in lines for token in line.split(",")}
        return next((name for name in self.services.subprotocols if name in offered), None)

    def _refuse(self, status: int, text: str) -> None:
        body = text.encode()
        kind = "Content-Type: text/plain; charset=utf-8\r\n" if text else ""
        allow = "Allow: GET,HEAD\r\n" if status == 405 else ""
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\n{_COMMON}{kind}{allow}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.close_sent = True
        self.transport.write(head.encode("latin-1") + body)
        self.transport.close()

    # Bytes and messages in.

    def data_received(self, data: bytes) -> None:
        """Feed the receiver; messages that came before a violation are handled before it."""
        self.conn.receive_data(data)
        session = self._session
        if session is not None:
            session.heard = True
        self.handle_events()
        if self.conn.failure is not None and not self._failed:
            self._failed = True
            self._violated(self.conn.failure)

    def _violated(self, failure: WebSocketCloseCode | int) -> None:
        session = self._session
        if session is None:
            self._refuse(400, "")
        elif failure == WebSocketCloseCode.MESSAGE_TOO_BIG:
            session.violated(codes.MESSAGE_TOO_BIG)
        else:
            session.violated(codes.PROTOCOL_VIOLATION)

    def handle_cont(self, event: Frame) -> None:
        """Gather the pieces of a fragmented message, however small they are."""
        self.frames.append(cast(bytes, event.data))
        if len(self.frames) > _FRAGMENTS_MAX:
            self.frames = [b"".join(self.frames)]
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """One complete message: hand it to the session, which bounds its own backlog."""
        frames, self.frames = self.frames, []
        session = self._session
        if session is None or session.closing:
            return
        if self.curr_msg_data_type == "text":
            session.text_received()
        else:
            session.binary_received(bytes(frames[0]) if len(frames) == 1 else b"".join(frames))

    def handle_ping(self) -> None:
        """Send the pongs, unless the peer does not read: they may not pile up."""
        output = self.conn.data_to_send()
        if self.writable.is_set() and not self._closing_handshake:
            self.transport.write(b"".join(output))

    def handle_pong(self, event: Frame) -> None:
        """Nothing to do: any input shows that the peer lives."""

    def handle_close(self, event: Frame) -> None:
        """The peer's close frame: echo it unless it answers ours, then close TCP (RFC 6455 5.5.1, 7.1.1)."""
        output = self.conn.data_to_send()
        if not self._closing_handshake:
            self.transport.write(b"".join(output))
        if self._session is not None:
            self._session.lost()
        self.transport.close()

    # What the session asks for.

    def write(self, data: bytes) -> None:
        """Send complete frames."""
        self.transport.write(data)

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
        self.close_sent = True
        # With a mark of 0 `pause_writing` and `resume_writing` tell whether anything is unsent.
        self.transport.set_write_buffer_limits(high=0)
        data = CloseData(int(close.code), close.reason).serialize()
        self.transport.write(Frame(Opcode.CLOSE, data).serialize(mask=False))
        if self._failed and self.transport.can_write_eof():
            self.transport.write_eof()
        if self.writable.is_set():
            self._await_peer_close()

    def _await_peer_close(self) -> None:
        if self._close_deadline is None:
            self._close_deadline = self.loop.call_later(
                self.services.limits.close_timeout_s, self.transport.abort
            )

    # Back-pressure and the end of the connection.

    def pause_writing(self) -> None:
        """The transport's buffer is over its mark."""
        super().pause_writing()
        if self._session is not None:
            self._session.writing_paused()

    def resume_writing(self) -> None:
        """The transport takes bytes again."""
        super().resume_writing()
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
        """Clean up, then let the base class unlist the connection."""
        if self._close_deadline is not None:
            self._close_deadline.cancel()
        if self._session is not None:
            self._session.lost()
        super().connection_lost(exc)


def _refusal(request: Request) -> tuple[int, str]:
    """Status and text of the first failed check of the upgrade (protocol 2), or (0, "")."""
    headers = request.headers
    if request.method != "GET":
        return 405, ""
    if not any("upgrade" in value.lower() for value in headers.get_all("Connection")):
        return 400, "Connection header did not include 'upgrade'"
    if not any(value.lower() == "websocket" for value in headers.get_all("Upgrade")):
        return 400, "`Upgrade` header did not include 'websocket'"
    if headers.get_all("Sec-WebSocket-Version")[:1] != ["13"]:
        return 400, "`Sec-WebSocket-Version` header did not include '13'"
    if not headers.get_all("Sec-WebSocket-Key"):
        return 400, "`Sec-WebSocket-Key` header missing"
    return 0, ""


def websocket_protocol(bound: Services) -> type[ClientSocket]:
    """The class uvicorn is given as `Config(ws=...)`: one instance per upgraded connection."""

    class BoundSocket(ClientSocket):
        services = bound

    return BoundSocket
