"""The WebSocket of a link: websockets' sans-I/O client below, messages in order above.

It is dialled by `federation.outbound.dial`. Writing never waits: whoever writes looks at `writable` first.
Reading waits when messages are not taken, and then TCP holds the peer back.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol, cast

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State

from less_sync.federation.outbound.limits import LinkLimits
from less_sync.sync.client.connection import LinkSocket

UNTAKEN_BYTES_HIGH: Final = 256 * 1024
"""Reading pauses while so much waits to be taken ..."""
UNTAKEN_BYTES_LOW: Final = 64 * 1024
"""... and goes on when no more than this is left."""
READ_BYTES: Final = 16 * 1024
"""So much is read in one turn of the loop: a flood of small messages leaves turns to others."""
GATHERED_BYTES: Final = 64 * 1024
"""So much is written at once, without waiting for more."""
UNTAKEN_MESSAGE_BYTES: Final = 256
"""What a message counts for beside its own bytes."""


class PeerSocket(LinkSocket, Protocol):
    """What a dial gives."""

    on_writable: Callable[[], None]
    """Told when `writable` becomes true again."""

    @property
    def writable(self) -> bool:
        """Whether the transport takes another message: less than `unsent_bytes` wait in it."""

    def write(self, message: bytes) -> None:
        """Send one binary message. Never waits, raises nothing; dropped when the connection is over."""

    def probe(self) -> None:
        """Ask for a sign of life now, and give the connection up if none comes within the pong's time."""

    def abort(self) -> None:
        """Drop the connection without a close frame."""


class WebSocket(asyncio.BufferedProtocol):
    """One connection, from its TCP handshake on; `upgrade` first."""

    def __init__(self, protocol: ClientProtocol, limits: LinkLimits) -> None:
        self._protocol = protocol
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Response] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._fragments = bytearray()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._untaken: deque[str | bytes] = deque()
        self._untaken_bytes = 0
        self._taker: asyncio.Future[None] | None = None
        self._reading = True
        self._heard_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._asking = False
        self._gathering: asyncio.Handle | None = None
        self._gathered_bytes = 0
        self._abort_timer: asyncio.TimerHandle | None = None
        self.writable = True
        self.on_writable: Callable[[], None] = lambda: None

    # The upgrade (RFC 6455 4.1).

    async def upgrade(self, headers: Mapping[str, str]) -> Response:
        """Ask for the upgrade and return the answer, whatever its status.

        Raises:
            OSError: the connection ended, or what came is no HTTP.
        """
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()
        response = await self._answer
        if self._protocol.state is State.OPEN:
            self._timer = self._loop.call_later(self._limits.ping_interval_s, self._tick)
        return response

    @property
    def subprotocol(self) -> str | None:
        """What the peer selected."""
        return self._protocol.subprotocol

    # What a link asks for.

    @property
    def close_code(self) -> int | None:
        """The code of the peer's close frame."""
        close = self._protocol.close_rcvd
        return None if close is None else close.code

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it."""
        close = self._protocol.close_rcvd
        return None if close is None else close.reason

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Messages in order; what came before the end is told before it."""
        while True:
            while self._untaken:
                message = self._untaken.popleft()
                self._untaken_bytes -= len(message) + UNTAKEN_MESSAGE_BYTES
                if not self._reading and self._untaken_bytes <= UNTAKEN_BYTES_LOW:
                    self._read_again()
                yield message
            if self._closed.done():
                return
            self._taker = self._loop.create_future()
            try:
                await self._taker
            finally:
                self._taker = None

    def write(self, message: bytes) -> None:
        """Send one binary message: with all others of this turn of the loop, in one call to the system."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(message)
            self._gathered_bytes += len(message)
            if self._gathered_bytes > GATHERED_BYTES:
                self._flush()
            elif self._gathering is None:
                self._gathering = self._loop.call_soon(self._flush)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame and wait until the peer closes, for at most `close_timeout_s`."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
        if not self._reading:
            self._drop_untaken()
        self._abort_later()
        await asyncio.shield(self._closed)

    def probe(self) -> None:
        """Ask for a sign of life, unless one is being waited for."""
        if self._timer is not None and not self._asking:
            self._timer.cancel()
            self._tick()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP, and TLS, are there."""
        self._transport = cast("asyncio.Transport", transport)  # by what it does: uvloop's is none by name
        self._transport.set_write_buffer_limits(high=self._limits.unsent_bytes)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where what comes next is put."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Feed the protocol."""
        self._heard_s = self._loop.time()
        self._protocol.receive_data(bytes(self._buffer[:nbytes]))
        self._take_events()
        if self._gathering is None:
            if not self.writable and self._protocol.state is State.OPEN:
                self._protocol.data_to_send()  # pongs may not pile up for a peer that does not read
            self._flush()
        if self._protocol.close_expected():
            self._abort_later()

    def eof_received(self) -> None:
        """The peer has shut its half: the transport closes itself. An answer without a length is complete."""
        self._protocol.receive_eof()
        self._take_events()

    def pause_writing(self) -> None:
        """More is unsent than may be."""
        self.writable = False

    def resume_writing(self) -> None:
        """The transport takes messages again."""
        self.writable = True
        self.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more; what came is still told."""
        self.eof_received()
        for timer in (self._timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        self._fail_upgrade(exc or ConnectionResetError("the connection was closed"))
        self._closed.set_result(None)
        self._wake()

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._frame_received(event)
            elif not self._answer.done():
                self._answer.set_result(cast("Response", event))
        if self._protocol.handshake_exc is not None:
            self._fail_upgrade(ConnectionResetError("the other end is no WebSocket server, or hung up"))

    def _fail_upgrade(self, error: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
            self._answer.exception()  # whoever has given up is not told

    def _frame_received(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.BINARY | Opcode.CONT if frame.fin and not self._fragments:
                self._message_received(bytes(frame.data))
            case Opcode.BINARY | Opcode.CONT:
                self._fragments += frame.data
                if frame.fin:
                    message, self._fragments = bytes(self._fragments), bytearray()
                    self._message_received(message)
            case _:  # a link has no use for text; pings are answered, a close frame is noted below
                pass

    def _message_received(self, message: bytes) -> None:
        self._untaken.append(message)
        self._untaken_bytes += len(message) + UNTAKEN_MESSAGE_BYTES
        if self._untaken_bytes > UNTAKEN_BYTES_HIGH and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def _read_again(self) -> None:
        self._reading = True
        self._heard_s = self._loop.time()  # silence was ours
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _drop_untaken(self) -> None:
        self._untaken.clear()
        self._untaken_bytes = 0
        self._read_again()

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)

    def _flush(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._gathered_bytes = 0
        data = b"".join(self._protocol.data_to_send())
        if (
            data and not self._transport.is_closing()
        ):  # an end of file is left to the peer, or to the timer of `close`
            self._transport.write(data)

    # Signs of life.

    def _tick(self) -> None:
        """Send a ping, and look a little later whether anything has come since."""
        if self._protocol.state is not State.OPEN:
            return
        if self.writable:
            self._protocol.send_ping(b"")
            self._flush()
        self._asking = True
        asked_s = self._loop.time()
        self._timer = self._loop.call_later(self._limits.pong_timeout_s, self._judge, asked_s)

    def _judge(self, asked_s: float) -> None:
        self._asking = False
        if self._reading and self._heard_s < asked_s:
            self._transport.abort()
            return
        rest_s = max(0.0, self._limits.ping_interval_s - self._limits.pong_timeout_s)
        self._timer = self._loop.call_later(rest_s, self._tick)

    def _abort_later(self) -> None:
        if self._abort_timer is None and not self._closed.done():
            self._abort_timer = self._loop.call_later(self._limits.close_timeout_s, self._transport.abort)
