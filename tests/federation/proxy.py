"""A wire between two servers that a test owns: it sees every frame, and breaks where it is told to.

It carries one HTTP upgrade and then WebSocket frames, one at a time, so that a cut falls exactly between two
of them. With TLS it ends it, as a proxy in front of a server does.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import cbor2

FRAMES_KEPT: Final = 100_000
FRAMES_UNDER_WAY: Final = 16
HEAD_BYTES_MAX: Final = 64 * 1024
WAIT_S: Final = 30.0
BINARY: Final = 2
CLOSE: Final = 8
KEEPALIVE: Final = b"\xf6"
BROKEN: Final = (OSError, asyncio.IncompleteReadError)
"""How reading and writing end; TLS faults are the first, too."""


class Way(Enum):
    """Which way a frame goes."""

    UP = "up"  # from the server that dialled
    DOWN = "down"


class Fate(Enum):
    """What becomes of a frame."""

    PASS = "pass"
    LOSE = "lose"  # the frame alone: what comes behind it passes
    CUT_BEFORE = "cut before"  # the connection, without it
    CUT_AFTER = "cut after"  # the connection, when it has been written


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame, as it reached the wire; it may have been lost there."""

    connection: int
    """Which one, counted from 0 for the life of the wire."""
    way: Way
    opcode: int
    payload: bytes = field(repr=False)

    @property
    def value(self) -> Mapping[str, Any]:
        """The frame of the protocol; empty for keepalives and what is none."""
        if self.opcode != BINARY or self.payload == KEEPALIVE:
            return {}
        with suppress(cbor2.CBORDecodeError):
            decoded = cbor2.loads(self.payload)
            if isinstance(decoded, dict):
                return decoded
        return {}

    @property
    def method(self) -> str:
        """Of a request or a notification; "" for everything else."""
        return str(self.value.get("method", ""))

    @property
    def id(self) -> str:
        """Of a request, a response or a chunk; "" for everything else."""
        return str(self.value.get("id", ""))

    @property
    def kind(self) -> str:
        """What it is in one word: a method, the name of a chunk, `result`, `error`, or ""."""
        value = self.value
        found = value.get("method") or value.get("name")
        return str(found or next((name for name in ("result", "error") if name in value), ""))


class Upgrade(NamedTuple):
    """The heads of one connection; `answer` is empty until it came."""

    request: str
    answer: str

    @property
    def status(self) -> int:
        """Of the answer; 0 before it came."""
        return int(self.answer.split(" ", 2)[1]) if self.answer else 0

    def header(self, name: str, *, of_answer: bool = False) -> str:
        """The value of the first header of that name; "" without one."""
        for line in (self.answer if of_answer else self.request).split("\r\n")[1:]:
            found, _, value = line.partition(":")
            if found.lower() == name.lower():
                return value.strip()
        return ""


class _End(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _Arrival(NamedTuple):
    at_s: float
    raw: bytes
    seen: Seen


class Wire:
    """Listens where a server is dialled, and hands on to `target`, which may change between connections.

    Args:
        host: the loopback address to listen at; the port is a free one.
        tls: what it shows to whoever dials; the way to the target is plain.
    """

    def __init__(self, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> None:
        self.host: Final = host
        self.target: tuple[str, int] | None = None
        """Where it leads; None: nobody is there, and whoever dials is cut off."""
        self.latency_s = 0.0
        """How long each frame is under way; up to `FRAMES_UNDER_WAY` are, each way of a connection."""
        self.judge: Callable[[Seen], Fate] = lambda seen: Fate.PASS
        """Asked about every frame before it is handed on."""
        self.seen: list[Seen] = []
        self.upgrades: list[Upgrade] = []
        self._tls = tls
        self._open: dict[int, tuple[_End, _End]] = {}
        self._flows = {way: asyncio.Event() for way in Way}
        self._swallows: set[tuple[int, Way]] = set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        for flow in self._flows.values():
            flow.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, self.host, 0, ssl=self._tls, limit=HEAD_BYTES_MAX
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """What a peer is told to dial."""
        return f"{'ws' if self._tls is None else 'wss'}://{self.host}:{self.port}/api/v1/federation/ws"

    # What a test looks at.

    @property
    def open(self) -> int:
        """Connections that are open just now."""
        return len(self._open)

    def frames(self, way: Way, *kinds: str, connection: int | None = None) -> list[Seen]:
        """The frames of these kinds (all but keepalives and control frames without any) seen so far."""
        return [
            one
            for one in self.seen
            if one.way is way and one.kind and (not kinds or one.kind in kinds)
            if connection is None or one.connection == connection
        ]

    def kinds(self, way: Way, *kinds: str, connection: int | None = None) -> list[str]:
        """The kinds of what `frames` returns."""
        return [one.kind for one in self.frames(way, *kinds, connection=connection)]

    async def until(self, true: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
        """Return once this is true of what was seen.

        Raises:
            TimeoutError: it never was; the message tells the last frames.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not true():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = [f"{one.connection} {one.way.value} {one.kind or one.opcode}" for one in self.seen[-20:]]
            statuses = [upgrade.status for upgrade in self.upgrades]
            raise TimeoutError(f"upgrades {statuses[-20:]}, last frames {last}") from None

    async def arrival(self, way: Way, kind: str, *, count: int = 1) -> Seen:
        """Wait until so many frames of a kind have been seen in all, and return the last of those."""
        await self.until(lambda: len(self.frames(way, kind)) >= count)
        return self.frames(way, kind)[count - 1]

    # What a test does to it.

    def cut(self) -> None:
        """Drop every open connection at both ends, without a close frame."""
        for ends in list(self._open.values()):
            for end in ends:
                end.writer.transport.abort()

    def cut_at(self, way: Way, *kinds: str, count: int = 1, forwarded: bool = True) -> None:
        """Cut once, at the `count`-th frame of these kinds from now on; of any data frame without kinds."""
        left = count

        def judge(seen: Seen) -> Fate:
            nonlocal left
            if seen.way is not way or not seen.kind or (kinds and seen.kind not in kinds):
                return Fate.PASS
            left -= 1
            if left:
                return Fate.PASS
            return Fate.CUT_AFTER if forwarded else Fate.CUT_BEFORE

        self.judge = judge

    def mend(self) -> None:
        """Hand everything on again."""
        self.judge = lambda seen: Fate.PASS
        self.latency_s = 0.0
        self._swallows.clear()
        for flow in self._flows.values():
            flow.set()

    def swallow(self, *ways: Way) -> None:
        """Take what comes over the open connections and hand nothing on: both ends believe they live.

        What is dialled later is not touched.
        """
        self._swallows.update((number, way) for number in self._open for way in ways or Way)

    def stop_reading(self, way: Way) -> None:
        """Read nothing more of what goes this way, so that TCP holds the sender up."""
        self._flows[way].clear()

    def inject(self, way: Way, payload: bytes, *, opcode: int = BINARY) -> None:
        """Write one frame of the test's own into every open connection."""
        frame = encode_frame(payload, opcode, masked=way is Way.UP)
        for ends in self._open.values():
            self._end(ends, way).writer.write(frame)

    def inject_raw(self, way: Way, data: bytes) -> None:
        """Write bytes that need not be a frame into every open connection."""
        for ends in self._open.values():
            self._end(ends, way).writer.write(data)

    # How it works.

    @staticmethod
    def _end(ends: tuple[_End, _End], way: Way) -> _End:
        """The end at which what goes this way is written."""
        return ends[1] if way is Way.UP else ends[0]

    def _note(self) -> None:
        self._changed.set()

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._own(self._carry(_End(reader, writer)))

    async def _carry(self, dialler: _End) -> None:
        number = len(self.upgrades)
        self.upgrades.append(Upgrade("", ""))
        ends = None
        try:
            if self.target is not None:
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection(*self.target, limit=HEAD_BYTES_MAX)
                    ends = self._open[number] = dialler, _End(reader, writer)
                    await self._both_ways(number, *ends)
        finally:
            self._open.pop(number, None)
            for end in ends or (dialler,):
                # What was written goes out first, so that a refusal or a close frame arrives.
                end.writer.close()
            self._note()

    async def _both_ways(self, number: int, dialler: _End, target: _End) -> None:
        up = self._own(self._pump(number, Way.UP, dialler, target))
        down = self._own(self._pump(number, Way.DOWN, target, dialler))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _pump(self, number: int, way: Way, source: _End, sink: _End) -> None:
        with suppress(*BROKEN):
            await self._pass_head(number, way, source, sink)
            arrived: asyncio.Queue[_Arrival | None] = asyncio.Queue(FRAMES_UNDER_WAY)
            reading = self._own(self._read(number, way, source, arrived))
            delivery = self._own(self._deliver(arrived, sink))
            try:
                await asyncio.wait((reading, delivery), return_when=asyncio.FIRST_COMPLETED)
                if not delivery.done():  # what came before the end is handed on
                    await arrived.put(None)
                    await delivery
            finally:
                reading.cancel()
                delivery.cancel()
                await asyncio.gather(reading, delivery, return_exceptions=True)

    async def _read(
        self, number: int, way: Way, source: _End, arrived: "asyncio.Queue[_Arrival | None]"
    ) -> None:
        with suppress(*BROKEN):
            while True:
                await self._flows[way].wait()
                raw, seen = await read_frame(source.reader, number, way)
                await self._flows[way].wait()  # one that was awaited already is held up too
                await arrived.put(_Arrival(asyncio.get_running_loop().time(), raw, seen))

    async def _deliver(self, arrived: "asyncio.Queue[_Arrival | None]", sink: _End) -> None:
        with suppress(*BROKEN):
            while (arrival := await arrived.get()) is not None:
                early_s = arrival.at_s + self.latency_s - asyncio.get_running_loop().time()
                if early_s > 0:
                    await asyncio.sleep(early_s)
                await self._hand_on(arrival.raw, arrival.seen, sink)

    async def _pass_head(self, number: int, way: Way, source: _End, sink: _End) -> None:
        head = await source.reader.readuntil(b"\r\n\r\n")
        text = head.decode("latin-1")
        upgrade = self.upgrades[number]
        self.upgrades[number] = (
            upgrade._replace(request=text) if way is Way.UP else upgrade._replace(answer=text)
        )
        sink.writer.write(head)
        await sink.writer.drain()
        self._note()
        if way is Way.DOWN and self.upgrades[number].status != 101:
            while data := await source.reader.read(HEAD_BYTES_MAX):
                sink.writer.write(data)
                await sink.writer.drain()
            raise asyncio.IncompleteReadError(b"", None)

    async def _hand_on(self, raw: bytes, seen: Seen, sink: _End) -> None:
        assert len(self.seen) < FRAMES_KEPT
        fate = self.judge(seen)
        self.seen.append(seen)
        self._note()
        if (seen.connection, seen.way) in self._swallows or fate is Fate.LOSE:
            return
        if fate is not Fate.CUT_BEFORE:
            sink.writer.write(raw)
            await sink.writer.drain()
        if fate in (Fate.CUT_BEFORE, Fate.CUT_AFTER):
            self.judge = lambda seen: Fate.PASS
            self._cut_one(seen.connection, sink, gently=fate is Fate.CUT_AFTER)

    def _cut_one(self, number: int, sink: _End, *, gently: bool) -> None:
        """End one connection; gently where what was written last has to arrive."""
        for end in self._open[number]:
            if end is sink and gently:
                end.writer.close()
            else:
                end.writer.transport.abort()


async def read_frame(reader: asyncio.StreamReader, connection: int, way: Way) -> tuple[bytes, Seen]:
    """Read one WebSocket frame (RFC 6455 5.2): its bytes as they came, and what it is.

    Raises:
        asyncio.IncompleteReadError: the connection ended.
    """
    head = await reader.readexactly(2)
    length, more = head[1] & 0x7F, b""
    if length >= 126:
        more = await reader.readexactly(2 if length == 126 else 8)
        length = int.from_bytes(more, "big")
    mask = await reader.readexactly(4) if head[1] & 0x80 else b""
    body = await reader.readexactly(length)
    payload = _masked(body, mask) if mask else body
    return head + more + mask + body, Seen(connection, way, head[0] & 0x0F, payload)


def encode_frame(payload: bytes, opcode: int = BINARY, *, masked: bool) -> bytes:
    """One whole WebSocket frame; what a client sends is masked, here with zeros."""
    bit, length = 0x80 if masked else 0, len(payload)
    if length < 126:
        size = bytes([bit | length])
    elif length < 1 << 16:
        size = bytes([bit | 126]) + length.to_bytes(2, "big")
    else:
        size = bytes([bit | 127]) + length.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + size + (bytes(4) if masked else b"") + payload


def _masked(body: bytes, mask: bytes) -> bytes:
    length = len(body)
    stream = mask * (length // 4 + 1)
    mixed = int.from_bytes(body, "big") ^ int.from_bytes(stream[:length], "big")
    return mixed.to_bytes(length, "big")
