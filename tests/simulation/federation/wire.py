"""The wire between two servers: TCP as far as its ends can tell, and what happens to it on the way.

Each end is the transport of a real protocol. Bytes written at one end arrive at the other in order, late, in
segments cut and joined as the seed says, and go on arriving when the end that wrote them has closed. A fault
strikes where the seed wants it: behind a given frame, inside the next one, or inside the head of the upgrade.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Protocol

from tests.simulation.line import Schedule

KERNEL_BYTES: Final = 16 * 1024
"""What the kernels of both sides take before the transport must buffer."""
MARKS_SCALE: Final = 16
"""High-water marks are this much lower than the servers set them, so that small messages reach them."""
HEAD_END: Final = b"\r\n\r\n"


class Trouble(Enum):
    """What may happen to a connection."""

    CUT = auto()  # reset, both ends are told
    DARK = auto()  # half-open: nothing arrives any more, and for long nobody is told
    STALL = auto()  # the reader stops for a while
    GARBAGE = auto()  # a frame that nobody sent arrives


@dataclass(frozen=True, slots=True)
class Fault:
    """One trouble of one connection, in one of its directions."""

    trouble: Trouble
    to_home: bool
    frames: int
    """How many whole frames arrive before; -1: not even the head of the upgrade."""
    inside: float
    """How much of what comes next arrives as well, unless it is 0."""
    seconds: float
    """Of a stall, and until the kernels give a half-open connection up."""
    garbage: bytes = b""


class FrameEdges:
    """Where frames end in a stream of them that begins with the head of an HTTP message."""

    def __init__(self) -> None:
        self.at: list[int] = []
        """Offsets: the first is the end of the head."""
        self._rest = b""
        self._rest_at = 0

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        rest = self._rest + data
        while (size := self._first(rest)) and size <= len(rest):
            self._rest_at += size
            self.at.append(self._rest_at)
            rest = rest[size:]
        self._rest = rest

    def _first(self, data: bytes) -> int:
        """The bytes of what comes first; 0 while that cannot be told."""
        if not self.at:
            return data.find(HEAD_END) + len(HEAD_END) if HEAD_END in data else 0
        if len(data) < 2:
            return 0
        length, mask = data[1] & 0x7F, 4 * (data[1] >> 7)
        extended = {126: 2, 127: 8}.get(length, 0)
        if len(data) < 2 + extended:
            return 0
        if extended:
            length = int.from_bytes(data[2 : 2 + extended], "big")
        return 2 + extended + mask + length


class EndProtocol(Protocol):
    """Whose transport an end is."""

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> object: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...


class Wire:
    """One connection between two servers.

    Args:
        latency_s: the longest a segment is under way.
        cut: how often a segment is cut in two.
        fault: what will happen to it, if anything.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        schedule: Schedule,
        chance: random.Random,
        *,
        name: str,
        latency_s: float,
        cut: float,
        fault: Fault | None,
    ) -> None:
        self.loop = loop
        self.schedule = schedule
        self.draw = chance.random
        self.name = name
        self.latency_s = latency_s
        self.cut = cut
        self.dark = False
        self.edge = End(self, "to home", fault if fault is not None and fault.to_home else None)
        self.home = End(self, "to edge", fault if fault is not None and not fault.to_home else None)
        self.edge.other, self.home.other = self.home, self.edge

    @property
    def ends(self) -> "tuple[End, End]":
        """The edge's and the home's."""
        return self.edge, self.home

    @property
    def over(self) -> bool:
        """Neither end knows it any more."""
        return self.edge.lost and self.home.lost

    def late(self) -> float:
        """How long the next segment is under way."""
        return self.draw() * self.latency_s

    def reset(self) -> None:
        """Cut it: what is under way is lost."""
        for end in self.ends:
            end.fail(ConnectionResetError())

    def go_dark(self, seconds: float) -> None:
        """Let nothing through any more. After so long the kernels give it up."""
        self.dark = True
        self.schedule(seconds, f"{self.name} timed out", self._time_out)

    def _time_out(self) -> None:
        for end in self.ends:
            end.fail(TimeoutError("timed out"))

    def stall(self, seconds: float) -> None:
        """Hold everything up for a while."""
        for end in self.ends:
            end.stall(seconds)

    def settle(self, dark_s_max: float) -> None:
        """Let nothing more happen to it; what is half-open already is given up in the end."""
        for end in self.ends:
            end.settle()
        if self.dark:
            self.schedule(dark_s_max, f"{self.name} timed out", self._time_out)


class End(asyncio.Transport):
    """The transport at one end, and what it has written that has not arrived at the other."""

    other: "End"

    def __init__(self, wire: Wire, label: str, fault: Fault | None) -> None:
        super().__init__()
        self._wire = wire
        self._label = f"{wire.name} {label}"
        self._fault = fault
        self._protocol: EndProtocol
        self._out = bytearray()
        self._arrived = 0
        self._arrival_s = self._stalled_until_s = 0.0
        self._edges = FrameEdges()
        self._high, self._low = 64 * 1024 // MARKS_SCALE, 16 * 1024 // MARKS_SCALE
        self._paused_reading = self._paused_writing = False
        self._ending = self._closing = False
        self.lost = False

    def attach(self, protocol: EndProtocol) -> None:
        """Say whose transport it is."""
        self._protocol = protocol

    # As a transport.

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def write(self, data: Any) -> None:
        if self._ending:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or self.lost:
            return
        self._out += data
        self._edges.feed(bytes(data))
        if self.get_write_buffer_size() > self._high and not self._paused_writing:
            self._paused_writing = True
            self._protocol.pause_writing()
        self._send()

    def get_write_buffer_size(self) -> int:
        return max(0, len(self._out) - KERNEL_BYTES)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = (64 * 1024 if high is None else high) // MARKS_SCALE
        self._low = self._high // 4 if low is None else low // MARKS_SCALE
        if self.get_write_buffer_size() > self._high and not self._paused_writing:
            self._paused_writing = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._ending = True
        self._send()

    def is_closing(self) -> bool:
        return self._closing or self.lost

    def pause_reading(self) -> None:
        self._paused_reading = True

    def resume_reading(self) -> None:
        self._paused_reading = False
        self.other._send()

    def is_reading(self) -> bool:
        return not self._paused_reading

    def close(self) -> None:
        if self.is_closing():
            return
        self._closing = self._ending = True
        self._send()
        self._close_when_sent()

    def abort(self) -> None:
        if self.lost:
            return
        self.fail(None)
        self._wire.schedule(self._wire.late(), f"{self._label} reset", self._reset_other)

    def fail(self, error: Exception | None) -> None:
        """It is over, at this end."""
        if self.lost:
            return
        self._closing = True
        self._out.clear()
        self._wire.loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self._protocol.connection_lost(error)

    def _close_when_sent(self) -> None:
        if self._closing and not self.lost and not self.get_write_buffer_size():
            self._wire.loop.call_soon(self._lose, None)

    def _reset_other(self) -> None:
        if not self._wire.dark:
            self.other.fail(ConnectionResetError())

    # What is under way to the other end.

    def stall(self, seconds: float) -> None:
        """Let nothing arrive for a while."""
        self._stalled_until_s = self._wire.loop.time() + seconds

    def settle(self) -> None:
        """No fault any more."""
        self._fault = None
        self._stalled_until_s = 0.0
        self._send()

    def _send(self) -> None:
        wire = self._wire
        now = wire.loop.time()
        self._arrival_s = max(self._arrival_s, now + wire.late())
        wire.schedule(self._arrival_s - now, self._label, self._arrive)

    def _arrive(self) -> None:
        wire, other = self._wire, self.other
        now = wire.loop.time()
        if now < self._stalled_until_s:
            wire.schedule(self._stalled_until_s - now, f"{self._label} goes on", self._arrive)
            return
        if wire.dark or (other._paused_reading and not other.is_closing()):
            return
        if other.is_closing():
            self._refused()
            return
        struck = self._struck()
        self._deliver(len(self._out) if struck is None else struck - self._arrived)
        if struck is not None:
            self._strike()
        elif not self._out and self._ending and not other.is_closing():
            other.end_of_file()

    def end_of_file(self) -> None:
        """The other end sends nothing any more."""
        if not self._protocol.eof_received():
            self.close()

    def hand_over(self, data: bytes) -> None:
        """What has come, as a loop hands it to a protocol of either kind."""
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        while data:
            buffer = memoryview(protocol.get_buffer(len(data)))
            taken = min(len(data), len(buffer))
            buffer[:taken] = data[:taken]
            protocol.buffer_updated(taken)
            data = data[taken:]

    def _refused(self) -> None:
        """Nobody reads there any more: whoever sends is told, unless he is gone himself."""
        if self._out and not self.lost:
            self._out.clear()
            self._wire.schedule(self._wire.late(), f"{self._label} refused", self._reset_self)

    def _reset_self(self) -> None:
        if not self._wire.dark:
            self.fail(ConnectionResetError())

    def _deliver(self, count: int) -> None:
        if count and self._wire.draw() < self._wire.cut:
            count = max(1, int(count * self._wire.draw()))
            self._send()
        data = bytes(self._out[:count])
        del self._out[:count]
        self._arrived += count
        if data:
            self.other.hand_over(data)
        if self._paused_writing and not self.lost and self.get_write_buffer_size() <= self._low:
            self._paused_writing = False
            self._protocol.resume_writing()
        self._close_when_sent()

    # Faults.

    def _struck(self) -> int | None:
        """Where in the stream the fault strikes, if what is under way reaches that far."""
        fault = self._fault
        if fault is None:
            return None
        ends = [0, *self._edges.at]
        index = fault.frames + 1
        if index >= len(ends) or (fault.inside and index + 1 >= len(ends)):
            return None
        at = ends[index]
        if fault.inside:
            at += max(1, int(fault.inside * (ends[index + 1] - at)))
        return max(at, self._arrived) if self._arrived + len(self._out) >= at else None

    def _strike(self) -> None:
        """The fault happens, unless a cut segment has kept what comes before it from arriving."""
        fault, struck = self._fault, self._struck()
        if fault is None or struck is None or struck > self._arrived:
            return
        self._fault = None
        match fault.trouble:
            case Trouble.CUT:
                self._wire.reset()
            case Trouble.DARK:
                self._wire.go_dark(fault.seconds)
            case Trouble.STALL:
                self.stall(fault.seconds)
                self._send()
            case Trouble.GARBAGE:
                if not self.other.is_closing():
                    self.other.hand_over(fault.garbage)
                self._send()


Accept = Callable[[End], None]
"""Takes the home's end of a new connection; raises ConnectionRefusedError when nobody listens."""


class Network:
    """Where connections between the servers come from.

    Args:
        weather: says what happens to the next connection, and how late it is.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        schedule: Schedule,
        chance: random.Random,
        *,
        latency_s: float,
        cut: float,
        weather: Callable[[], Fault | None],
    ) -> None:
        self._loop = loop
        self._schedule = schedule
        self._chance = chance
        self._latency_s = latency_s
        self._cut = cut
        self._weather = weather
        self._wires: list[Wire] = []
        self._made = 0
        self._parted_until_s = 0.0
        self.accept: dict[tuple[str, int], Accept] = {}
        """Who listens where."""

    @property
    def wires(self) -> list[Wire]:
        """Those that somebody still knows of."""
        self._wires = [wire for wire in self._wires if not wire.over]
        return self._wires

    def part(self, seconds: float) -> None:
        """Let nothing through for a while, new connections neither."""
        self._parted_until_s = self._loop.time() + seconds
        for wire in self.wires:
            wire.stall(seconds)

    def settle(self, dark_s_max: float) -> None:
        """Good weather from now on."""
        self._parted_until_s = 0.0
        self._weather = lambda: None
        for wire in self.wires:
            wire.settle(dark_s_max)

    async def connect(self, make: Callable[[], Any], host: str, port: int) -> tuple[asyncio.Transport, Any]:
        """As `loop.create_connection`.

        Raises:
            ConnectionRefusedError: nobody listens there.
        """
        self._made += 1
        wire = Wire(
            self._loop,
            self._schedule,
            random.Random(self._chance.getrandbits(64)),
            name=f"wire {self._made}",
            latency_s=self._latency_s,
            cut=self._cut,
            fault=self._weather(),
        )
        there: asyncio.Future[None] = self._loop.create_future()

        def arrive() -> None:
            if there.done():
                return
            wait_s = self._parted_until_s - self._loop.time()
            if wait_s > 0:
                self._schedule(wait_s, f"{wire.name} connects at last", arrive)
                return
            try:
                self.accept[host, port](wire.home)
            except (KeyError, ConnectionRefusedError):
                there.set_exception(ConnectionRefusedError("connection refused"))
                return
            self._wires.append(wire)
            protocol = make()
            wire.edge.attach(protocol)
            protocol.connection_made(wire.edge)
            there.set_result(None)

        self._schedule(wire.late(), f"{wire.name} connects", arrive)
        try:
            await there
        except asyncio.CancelledError:
            if there.done() and there.exception() is None:
                wire.edge.abort()
            raise
        return wire.edge, wire.edge._protocol
