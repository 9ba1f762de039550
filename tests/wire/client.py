"""A raw WebSocket client: every message and close seen as it comes, and control over when to read.

The sans-I/O core of `websockets` frames and masks; this shell moves bytes between it and one TCP socket.
Nothing is decoded, retried or reconnected.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

KEEPALIVE: Final = b"\xf6"
DATA_OPCODES: Final = (Opcode.CONT, Opcode.TEXT, Opcode.BINARY)


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message."""

    data: bytes = field(repr=False)
    binary: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """A close frame came; `code` is 1005 for one without a code."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The TCP connection ended without a close frame."""


Event = Message | Closed | Dropped


def _is_keepalive(event: Event) -> bool:
    return isinstance(event, Message) and event.data == KEEPALIVE and event.binary


class Refused(Exception):
    """The upgrade was answered with something other than 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response

    def __str__(self) -> str:
        return f"upgrade refused with status {self.response.status_code}"


class _Link(asyncio.Protocol):
    """Feeds what arrives to the core; wakes whoever waits."""

    def __init__(self, core: ClientProtocol) -> None:
        self.core = core
        self.events: deque[Event] = deque()
        self.response: Response | None = None
        self.closed = False
        self.lost = False
        self.changed = asyncio.Event()
        self.pings = 0
        self.fragments: list[bytes] = []
        self.binary = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.core.receive_data(data)
        self.flush()
        self._take()

    def eof_received(self) -> None:
        self.core.receive_eof()
        self._take()

    def connection_lost(self, exc: Exception | None) -> None:
        self.core.receive_eof()
        self._take()
        self.lost = True
        if not self.closed:
            self.events.append(Dropped())
        self.changed.set()

    def flush(self) -> None:
        """Write what the core has ready; its wish to half-close is left to `Socket.aclose`."""
        for chunk in self.core.data_to_send():
            if chunk and not self.transport.is_closing():
                self.transport.write(chunk)

    def _take(self) -> None:
        for event in self.core.events_received():
            if isinstance(event, Response):
                self.response = event
            elif isinstance(event, Frame):
                self._frame(event)
        self.changed.set()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.closed = True
            close = self.core.close_rcvd
            assert close is not None
            self.events.append(Closed(close.code, close.reason))
        elif frame.opcode is Opcode.PING:
            self.pings += 1
        elif frame.opcode in DATA_OPCODES:
            if frame.opcode is not Opcode.CONT:
                self.binary = frame.opcode is Opcode.BINARY
            self.fragments.append(bytes(frame.data))
            if frame.fin:
                self.events.append(Message(b"".join(self.fragments), self.binary))
                self.fragments.clear()


class Socket:
    """One open WebSocket connection. Made by `open_socket`."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    @property
    def response(self) -> Response:
        """The 101."""
        assert self._link.response is not None
        return self._link.response

    @property
    def subprotocol(self) -> str | None:
        return self._link.core.subprotocol

    @property
    def pings(self) -> int:
        """Pings the server has sent so far; each was answered at once."""
        return self._link.pings

    @property
    def local_port(self) -> int:
        """This end's; good while the connection is there."""
        port: int = self._link.transport.get_extra_info("sockname")[1]
        return port

    @property
    def lost(self) -> bool:
        """Whether the TCP connection has ended."""
        return self._link.lost

    def send(self, data: bytes) -> None:
        """Queue one binary message; it leaves as fast as the server reads.

        Raises:
            websockets.exceptions.ConnectionClosed: the server has sent a close frame.
        """
        self._link.core.send_binary(data)
        self._link.flush()

    def send_text(self, data: bytes) -> None:
        self._link.core.send_text(data)
        self._link.flush()

    def send_ping(self, data: bytes) -> None:
        self._link.core.send_ping(data)
        self._link.flush()

    def send_raw(self, data: bytes) -> None:
        """Write bytes past the framing core, for frames that no honest client makes."""
        self._link.transport.write(data)

    def stop_reading(self) -> None:
        """Leave what arrives in the kernel's buffer, so that the server is held up."""
        self._link.transport.pause_reading()

    def resume_reading(self) -> None:
        self._link.transport.resume_reading()

    async def receive_any(self, timeout_s: float) -> Event:
        """Return the next message, keepalives included, or the end of the connection.

        Raises:
            TimeoutError: nothing came.
        """
        link = self._link
        if not link.events:  # a deadline costs more than a frame: none where there is nothing to wait for
            async with asyncio.timeout(timeout_s):
                while not link.events:
                    link.changed.clear()
                    await link.changed.wait()
        return link.events.popleft()

    async def receive_all(self, timeout_s: float) -> list[Event]:
        """Return everything that has come, keepalives included, as soon as there is anything.

        Raises:
            TimeoutError: nothing came.
        """
        events = [await self.receive_any(timeout_s), *self._link.events]
        self._link.events.clear()
        return events

    async def receive(self, timeout_s: float) -> Event:
        """Return the next message (keepalives skipped) or the end of the connection.

        Raises:
            TimeoutError: nothing came.
        """
        if self._link.events and not _is_keepalive(self._link.events[0]):
            return self._link.events.popleft()
        async with asyncio.timeout(timeout_s):
            while True:
                event = await self.receive_any(timeout_s)
                if not _is_keepalive(event):
                    return event

    async def ended(self, timeout_s: float) -> None:
        """Return once the server has closed the TCP connection.

        Raises:
            TimeoutError: it did not.
        """
        async with asyncio.timeout(timeout_s):
            while not self._link.lost:
                self._link.changed.clear()
                await self._link.changed.wait()

    async def hangup(self, timeout_s: float) -> None:
        """Send a close frame and wait until the server has closed in turn: it has noticed."""
        self._link.core.send_close(1000)
        self._link.flush()
        await self.ended(timeout_s)

    def abort(self) -> None:
        """Cut the TCP connection."""
        self._link.transport.abort()


async def open_socket(
    host: str,
    port: int,
    *,
    path: str = "/api/v1/ws",
    subprotocols: Sequence[str] = ("betterbase-rpc-v1",),
    headers: Sequence[tuple[str, str]] = (),
    timeout_s: float = 30.0,
) -> Socket:
    """Connect and upgrade, with one `Sec-WebSocket-Protocol` header line per entry of `subprotocols`.

    Raises:
        Refused: the answer was not 101.
        TimeoutError: there was no answer.
        ConnectionError: the server hung up before it had answered.
    """
    core = ClientProtocol(parse_uri(f"ws://{host}:{port}{path}"), max_size=None)
    core.available_subprotocols = [token.strip() for line in subprotocols for token in line.split(",")]  # type: ignore[misc]  # a NewType over str
    request = core.connect()
    request.headers = _with_lines(request.headers, subprotocols, headers)
    link = _Link(core)
    async with asyncio.timeout(timeout_s):
        await asyncio.get_running_loop().create_connection(lambda: link, host, port)
        core.send_request(request)
        link.flush()
        while link.response is None and core.handshake_exc is None and not link.lost:
            link.changed.clear()
            await link.changed.wait()
    if link.response is not None and link.response.status_code == 101 and core.handshake_exc is None:
        return Socket(link)
    link.transport.abort()
    if link.response is not None and link.response.status_code != 101:
        raise Refused(link.response)
    if core.handshake_exc is None or isinstance(core.handshake_exc.__cause__, EOFError):
        raise ConnectionError("connection ended before the upgrade was answered")
    raise core.handshake_exc


def _with_lines(made: Headers, subprotocols: Sequence[str], more: Sequence[tuple[str, str]]) -> Headers:
    lines = [(name, value) for name, value in made.raw_items() if name != "Sec-WebSocket-Protocol"]
    lines += [("Sec-WebSocket-Protocol", line) for line in subprotocols]
    return Headers([*lines, *more])
