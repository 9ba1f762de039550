"""One TCP connection: the server's transport at one end, a client that reads at its own pace at the other.

Only counts of bytes stand for what is under way to the client: what the server wrote was looked at when it
was written, and each frame reaches the client when its last byte is read. The other way bytes are bytes, in
segments cut and joined as the seed says.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

Schedule = Callable[[float, str, Callable[[], None]], None]

MARKS_SCALE: Final = 64
"""High-water marks are this much lower than the server sets them, so that small messages reach them."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a client's end of the line behaves."""

    latency_s: float = 0.0005
    """The longest a segment is under way."""
    kernel_bytes: int = 16 * 1024
    """What the line takes before the transport must buffer."""
    read_bytes: int = 1 << 20
    """The most that is read at once."""
    read_s: float = 0.0
    """The longest pause between two reads."""
    cut: float = 0.05
    """How often a segment is cut in two."""


class ServerSide(Protocol):
    """The protocol over the transport: the server's socket."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> object: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...


class ClientSide(Protocol):
    """Who sits at the other end."""

    def written(self, data: bytes) -> list[object]:
        """The server wrote: look at it, and return its frames."""

    def received(self, frame: object) -> None:
        """A frame was read."""

    def delivered(self, count: int) -> None:
        """The server has read so many bytes in all."""

    def ended(self) -> None:
        """The line is closed by the server, or broken."""


class Line(asyncio.Transport):
    """Is the server's transport; `send`, `hang_up` and `shut` are the client's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        schedule: Schedule,
        chance: random.Random,
        client: ClientSide,
        pace: Pace,
        name: str,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._schedule = schedule
        self._draw = chance.random
        self._client = client
        self.pace = pace
        self._name = name
        self._server: ServerSide
        self._high, self._low = 64 * 1024 // MARKS_SCALE, 16 * 1024 // MARKS_SCALE
        self._written = self._sent = self._read = 0
        self._frames: deque[tuple[int, object]] = deque()
        self._inbound = bytearray()
        self._delivered = 0
        self._arrival_s = 0.0
        self._reading = False
        self._paused_reading = self._paused_writing = False
        self._eof_from_client = self._eof_written = False
        self._closing = self._lost = False
        self.buffered_max = 0
        """The most that was ever unsent."""
        self.largest_write = 0

    def attach(self, server: ServerSide) -> None:
        """Say who the protocol is."""
        self._server = server

    # The server's transport.

    def set_protocol(self, protocol: Any) -> None:
        self._server = protocol

    def write(self, data: Any) -> None:
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._lost or self._closing:
            return
        for frame in self._client.written(bytes(data)):
            self._frames.append((self._written + len(data), frame))
        self._written += len(data)
        self.largest_write = max(self.largest_write, len(data))
        self._flush()
        unsent = self._written - self._sent
        self.buffered_max = max(self.buffered_max, unsent)
        if unsent > self._high and not self._paused_writing:
            self._paused_writing = True
            self._server.pause_writing()
        self._read_later()

    def _flush(self) -> None:
        self._sent = max(self._sent, min(self._written, self._read + self.pace.kernel_bytes))

    def get_write_buffer_size(self) -> int:
        return self._written - self._sent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        high = 64 * 1024 if high is None else high
        self._high = high // MARKS_SCALE
        self._low = self._high // 4 if low is None else low // MARKS_SCALE
        if self._written - self._sent > self._high and not self._paused_writing:
            self._paused_writing = True
            self._server.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof_written = True

    def is_closing(self) -> bool:
        return self._closing or self._lost

    def pause_reading(self) -> None:
        self._paused_reading = True

    def resume_reading(self) -> None:
        self._paused_reading = False
        if self._inbound or self._eof_from_client:
            self._schedule(0.0, f"{self._name} readable", self._arrive)

    def is_reading(self) -> bool:
        return not self._paused_reading

    def close(self) -> None:
        if self._closing or self._lost:
            return
        self._closing = True
        if self._written == self._sent:
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self._break(None)

    def _break(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._closing = True
        self._written = self._sent
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._server.connection_lost(error)
        self._schedule(self._latency(), f"{self._name} ended", self._client.ended)

    # The client's end.

    @property
    def behind(self) -> bool:
        """The transport has told the server to stop writing."""
        return self._paused_writing

    @property
    def lost(self) -> bool:
        """The server's end is gone."""
        return self._lost

    def send(self, data: bytes) -> None:
        """Put bytes on the way to the server."""
        self._inbound += data
        now = self._loop.time()
        self._arrival_s = max(self._arrival_s, now + self._latency())
        self._schedule(self._arrival_s - now, f"{self._name} data", self._arrive)

    def shut(self) -> None:
        """Send what is on the way, then an end of file."""
        self._eof_from_client = True
        self._schedule(max(0.0, self._arrival_s - self._loop.time()), f"{self._name} eof", self._arrive)

    def hang_up(self, delay_s: float) -> None:
        """Break the line: what is still under way by then is lost."""

        def reset() -> None:
            self._inbound.clear()
            self._break(ConnectionResetError())

        self._schedule(delay_s, f"{self._name} hang-up", reset)

    def _arrive(self) -> None:
        if self._paused_reading or self._closing or self._lost:
            return
        if self._inbound:
            count = len(self._inbound)
            if self._draw() < self.pace.cut:
                count = max(1, int(count * self._draw()))
                self._schedule(self._latency(), f"{self._name} data", self._arrive)
            data = bytes(self._inbound[:count])
            del self._inbound[:count]
            self._delivered += count
            self._client.delivered(self._delivered)
            self._server.data_received(data)
        elif self._eof_from_client:
            self._eof_from_client = False
            if not self._server.eof_received():
                self.close()

    def _read_later(self) -> None:
        if not self._reading and self._read < self._sent:
            self._reading = True
            delay_s = self._latency() + self.pace.read_s * self._draw()
            self._schedule(delay_s, f"{self._name} read", self._read_some)

    def _read_some(self) -> None:
        self._reading = False
        if self._lost and self._read >= self._sent:
            return
        self._read = min(self._sent, self._read + self.pace.read_bytes)
        self._flush()
        if self._paused_writing and not self._lost and self._written - self._sent <= self._low:
            self._paused_writing = False
            self._server.resume_writing()
        if self._closing and not self._lost and self._written == self._sent:
            self._loop.call_soon(self._lose, None)
        while self._frames and self._frames[0][0] <= self._read:
            self._client.received(self._frames.popleft()[1])
        self._read_later()

    def _latency(self) -> float:
        return self._draw() * self.pace.latency_s
