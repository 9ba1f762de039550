"""A fault proxy: it stands before a server, forwards what comes, and spoils what a test tells it to spoil.

It knows HTTP/1.1 and, behind a 101, the frames of the protocol. Each request has a connection of its own to
the server, so that nothing of one fault reaches the next request. Rules are plain callables in three lists
(`asks`, `replies`, `frames`), asked in order; the methods below add the usual ones. Without a rule everything
passes.
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, Self

import cbor2

from tests.federation.proxy import BROKEN, CLOSE, KEEPALIVE, Seen, Way, encode_frame, read_frame

HEAD_BYTES_MAX: Final = 512 * 1024
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
KEPT_MAX: Final = 200_000
"""Requests and frames that are remembered."""
BODILESS: Final = (204, 304)


class Cut(Exception):
    """Raised by a rule: the connection ends here, without another byte."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(default=b"", repr=False)
    head_bytes: int = 0

    def header(self, name: str) -> str:
        """The first of this name, in any letter case; empty without one."""
        return _first(self.headers, name)

    def with_header(self, name: str, value: str | None) -> "Asked":
        """The same with another value of a header, or without it."""
        return replace(self, headers=_changed(self.headers, name, value))

    @property
    def upgrade(self) -> bool:
        """Whether it asks for a WebSocket."""
        return self.header("upgrade").lower() == "websocket"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whole."""

    status: int
    headers: tuple[tuple[str, str], ...] = (("Content-Length", "0"),)
    body: bytes = field(default=b"", repr=False)
    phrase: str = ""

    def header(self, name: str) -> str:
        """As `Asked.header`."""
        return _first(self.headers, name)

    def with_header(self, name: str, value: str | None) -> "Reply":
        """As `Asked.with_header`."""
        return replace(self, headers=_changed(self.headers, name, value))

    def with_body(self, body: bytes) -> "Reply":
        """The same with another body, its length told rightly."""
        return replace(self.with_header("Content-Length", str(len(body))), body=body)


@dataclass(frozen=True, slots=True)
class Frame:
    """A WebSocket frame on its way, and what it belongs to."""

    seen: Seen
    asked: str
    """The method of the request that it answers; empty for all else."""
    upgrade: Asked
    """Of its connection: who is asking stands in its `User-Agent`."""

    @property
    def name(self) -> str:
        """A method, `METHOD:result`, `METHOD:error`, a chunk's name, `keepalive`, `close`, or empty."""
        if self.seen.opcode == CLOSE:
            return "close"
        if self.seen.payload == KEEPALIVE:
            return "keepalive"
        if self.asked and not self.seen.method and self.seen.kind in ("result", "error"):
            return f"{self.asked}:{self.seen.kind}"
        return self.seen.kind


AskRule = Callable[[Asked], Asked | Reply | None]
ReplyRule = Callable[[Asked, Reply], Reply | None]
FrameRule = Callable[[Frame], Sequence[bytes] | None]
"""The payloads to send instead, none or several; None: it passes as it is."""


class FaultProxy:
    """Listens on a free loopback port, and leads to `target`.

    Args:
        target: a loopback port, or None: whoever comes is cut off.
        tls: what it shows to whoever comes; the way to the target is plain.
    """

    def __init__(
        self, target: int | None, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.target = target
        self.host: Final = host
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._sockets = count()
        self.asked: list[Asked] = []
        """Requests that came, upgrades among them, without their bodies."""
        self.passed: list[Frame] = []
        """Frames that came, lost ones too, both ways."""
        self.mend()

    def mend(self) -> None:
        """Take all faults back."""
        self.asks: list[AskRule] = []
        self.replies: list[ReplyRule] = []
        self.frames: list[FrameRule] = []
        self.request_delay_s: Callable[[Asked], float] = lambda asked: 0.0
        self.frame_delay_s: Callable[[Frame], float] = lambda frame: 0.0
        self.head_bytes_max: int | None = None
        self.long_head_status: int | None = 431
        """What a longer head is answered with; None: the connection is cut."""
        self.body_bytes_max: int | None = None
        self.lingers = False
        """Keep the connections to the server when clients close theirs, as if nobody had noticed."""
        self.idle_s: float | None = None
        """A WebSocket opened from now on is cut when neither side sends for so long."""

    def forget(self) -> None:
        """Remember nothing of what came so far."""
        self.asked.clear()
        self.passed.clear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, self.host, 0, ssl=self._tls, limit=HEAD_BYTES_MAX
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address to give to whoever shall be led to the target."""
        return f"{'http' if self._tls is None else 'https'}://{self.host}:{self.port}"

    # The usual faults.

    def cut(self) -> None:
        """Drop every open connection, without a close frame."""
        for writer in list(self._writers):
            writer.transport.abort()

    def delay(self, seconds: float, *, path: str = "") -> None:
        """Answer this late; the requests of a path alone, if one is given."""
        self.request_delay_s = lambda asked: seconds if path in ("", asked.path) else 0.0

    def leave_out(self, name: str, *, status: int | None = None, path: str = "") -> None:
        """Leave a header out of the answers of a status or a path, or of all."""
        self.set_header(name, None, status=status, path=path)

    def set_header(self, name: str, value: str | None, *, status: int | None = None, path: str = "") -> None:
        """Add or change a header of the answers of a status or a path, or of all."""

        def rule(asked: Asked, reply: Reply) -> Reply | None:
            if status not in (None, reply.status) or path not in ("", asked.path):
                return None
            return reply.with_header(name, value)

        self.replies.append(rule)

    def rewrite_body(self, path: str, body: Callable[[bytes], bytes]) -> None:
        """Change the bodies of a path's answers."""
        self.replies.append(
            lambda asked, reply: (
                reply.with_body(body(reply.body)) if reply.body and asked.path == path else None
            )
        )

    def answer(self, reply: Reply, *, method: str = "", path: str = "") -> None:
        """Answer a method, a path, or all, by itself; the server hears nothing of it."""
        self.asks.append(
            lambda asked: reply if method in ("", asked.method) and path in ("", asked.path) else None
        )

    def preflight(self, *allowed: str) -> None:
        """Answer preflights by itself, as proxies do, and allow these request headers alone."""
        common = (("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Headers", ", ".join(allowed)))
        reply = Reply(204, common)
        name = "access-control-request-method"
        self.asks.append(lambda asked: reply if asked.method == "OPTIONS" and asked.header(name) else None)

    def fail(self, status: int, *, every: int = 1, times: int | None = None, path: str = "") -> None:
        """Answer each so-manieth request with a status of its own, at most so many times."""
        numbers, left = count(1), [KEPT_MAX if times is None else times]

        def rule(asked: Asked) -> Reply | None:
            if path not in ("", asked.path) or next(numbers) % every or not left[0]:
                return None
            left[0] -= 1
            return Reply(status)

        self.asks.append(rule)

    def play_existing(self) -> None:
        """Answer the probe for the kind of server as an existing one: `bearer` in small letters is none."""
        self.asks.append(
            lambda asked: (
                asked.with_header("Authorization", "bearer")
                if asked.header("authorization").startswith("bearer ")
                else None
            )
        )

    def lose(self, way: Way, name: str, *, every: int = 1) -> None:
        """Lose each so-manieth frame of a name (`Frame.name`)."""
        numbers = count(1)
        self._on(way, name, lambda frame: None if next(numbers) % every else ())

    def double(self, way: Way, name: str, *, at: int = 1) -> None:
        """Send one frame of a name twice, the `at`-th."""
        numbers = count(1)
        self._on(way, name, lambda frame: (frame.seen.payload,) * 2 if next(numbers) == at else None)

    def swap(self, way: Way, name: str, *, at: int = 1) -> None:
        """Hold the `at`-th frame of a name back until the next one of it has gone."""
        numbers, held = count(1), list[bytes]()

        def rule(frame: Frame) -> Sequence[bytes] | None:
            number = next(numbers)
            if number == at:
                held.append(frame.seen.payload)
                return ()
            return (frame.seen.payload, held.pop()) if number == at + 1 else None

        self._on(way, name, rule)

    def alter(self, way: Way, name: str, change: Callable[[Any], Any], *, every: int = 1) -> None:
        """Change each so-manieth frame of a name: from its decoded value, a fresh one, to another."""
        numbers = count(1)

        def rule(frame: Frame) -> Sequence[bytes] | None:
            if next(numbers) % every:
                return None
            return (cbor2.dumps(change(cbor2.loads(frame.seen.payload))),)

        self._on(way, name, rule)

    def reclose(self, code: int, other: int, reason: str | None = None) -> None:
        """Rewrite the code of the server's close frames, and the reason if one is given."""

        def rule(frame: Frame) -> Sequence[bytes] | None:
            payload = frame.seen.payload
            if int.from_bytes(payload[:2], "big") != code:
                return None
            return (other.to_bytes(2, "big") + (payload[2:] if reason is None else reason.encode()),)

        self._on(Way.DOWN, "close", rule)

    def _on(self, way: Way, name: str, rule: FrameRule) -> None:
        self.frames.append(
            lambda frame: rule(frame) if frame.seen.way is way and frame.name == name else None
        )

    # How it works.

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._own(self._serve(reader, writer))

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(*BROKEN, asyncio.LimitOverrunError, Cut):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may follow."""
        asked = await _read_request(reader)
        assert len(self.asked) < KEPT_MAX
        self.asked.append(replace(asked, body=b""))
        if (late_s := self.request_delay_s(asked)) > 0:
            await asyncio.sleep(late_s)
        refusal = self._over(asked)
        for rule in self.asks if refusal is None else ():
            found = rule(asked)
            if isinstance(found, Reply):
                refusal = found
                break
            asked = found or asked
        if refusal is not None:
            await _write_reply(writer, asked, refusal)
            return not asked.upgrade and refusal.header("connection") != "close"
        if self.target is None:
            raise Cut
        behind, into = await asyncio.open_connection(self.host, self.target, limit=HEAD_BYTES_MAX)
        self._writers.add(into)
        try:
            into.write(_encoded(f"{asked.method} {asked.path} HTTP/1.1", asked.headers, asked.body))
            await into.drain()
            reply, whole = await _read_reply(behind, asked)
            for change in self.replies:
                reply = change(asked, reply) or reply
            await _write_reply(writer, asked, reply)
            if reply.status == 101:
                await self._frames_pass(asked, (reader, writer), (behind, into))
                return False
            return whole and reply.header("connection").lower() != "close"
        finally:
            self._writers.discard(into)
            into.close()

    def _over(self, asked: Asked) -> Reply | None:
        """The refusal of a proxy that takes no head or body as long as this one."""
        if self.head_bytes_max is not None and asked.head_bytes > self.head_bytes_max:
            if self.long_head_status is None:
                raise Cut
            return Reply(self.long_head_status, (("Content-Length", "0"), ("Connection", "close")))
        if self.body_bytes_max is not None and len(asked.body) > self.body_bytes_max:
            return Reply(413, (("Content-Length", "0"), ("Connection", "close")))
        return None

    async def _frames_pass(
        self,
        upgrade: Asked,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        link = _Link(next(self._sockets), upgrade, client[1])
        ways = [
            self._own(self._pump(link, Way.UP, client[0], server[1])),
            self._own(self._pump(link, Way.DOWN, server[0], client[1])),
        ]
        idle_s = self.idle_s
        look_s = None if idle_s is None else idle_s / 8
        try:
            while True:
                done, _ = await asyncio.wait(ways, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                idle = idle_s is not None and asyncio.get_running_loop().time() - link.last_s > idle_s
                if idle:
                    client[1].transport.abort()
                    server[1].transport.abort()
                if self.lingers and ways[1] not in done:
                    await asyncio.wait(ways[1:])
                if done or idle:
                    return
        finally:
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self,
        link: "_Link",
        way: Way,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> None:
        with suppress(*BROKEN, Cut):
            while True:
                raw, seen = await read_frame(source, link.number, way)
                link.last_s = asyncio.get_running_loop().time()
                value = seen.value
                if way is Way.UP and "method" in value and "id" in value:
                    link.methods[str(value["id"])] = seen.method
                asked = link.methods.get(seen.id, "") if way is Way.DOWN else ""
                frame = Frame(seen, asked, link.upgrade)
                assert len(self.passed) < KEPT_MAX
                self.passed.append(frame)
                if (late_s := self.frame_delay_s(frame)) > 0:
                    await asyncio.sleep(late_s)
                if self.lingers and frame.name == "close" and way is Way.UP:
                    link.client.write(encode_frame(seen.payload, CLOSE, masked=False))
                    link.client.close()
                    return
                if sink.transport.is_closing():
                    continue  # read on, so that the other end does not notice
                payloads = next((one for rule in self.frames if (one := rule(frame)) is not None), None)
                if payloads is None:
                    sink.write(raw)
                for payload in payloads or ():
                    sink.write(encode_frame(payload, seen.opcode, masked=way is Way.UP))
                await sink.drain()


@dataclass(slots=True)
class _Link:
    """One WebSocket through the proxy."""

    number: int
    upgrade: Asked
    client: asyncio.StreamWriter
    methods: dict[str, str] = field(default_factory=dict)
    """Of the requests so far, by their ids."""
    last_s: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    """When the last frame came, either way."""


def _first(headers: Sequence[tuple[str, str]], name: str) -> str:
    return next((value for one, value in headers if one.lower() == name.lower()), "")


def _changed(headers: Sequence[tuple[str, str]], name: str, value: str | None) -> tuple[tuple[str, str], ...]:
    """A header of this name in the place of all there were, or at the end; None: none."""
    others = [pair for pair in headers if pair[0].lower() != name.lower()]
    return tuple(others if value is None else [*others, (name, value)])


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, tuple[tuple[str, str], ...], int]:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, tuple((name, value.strip()) for name, _, value in pairs), len(head)


async def _read_body(reader: asyncio.StreamReader, headers: Sequence[tuple[str, str]]) -> bytes | None:
    """The body as the head declares it; None: it declares nothing."""
    if _first(headers, "transfer-encoding").lower() == "chunked":
        parts = list[bytes]()
        while size_bytes := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await reader.readexactly(size_bytes))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(parts)
    declared = _first(headers, "content-length")
    if not declared:
        return None
    assert int(declared) <= BODY_BYTES_MAX
    return await reader.readexactly(int(declared))


async def _read_request(reader: asyncio.StreamReader) -> Asked:
    first, headers, head_bytes = await _read_head(reader)
    method, path, _ = first.split(" ", 2)
    body = await _read_body(reader, headers) or b""
    if _first(headers, "transfer-encoding"):
        headers = _changed(_changed(headers, "transfer-encoding", None), "Content-Length", str(len(body)))
    return Asked(method, path, headers, body, head_bytes)


async def _read_reply(reader: asyncio.StreamReader, asked: Asked) -> tuple[Reply, bool]:
    """The answer, and whether the connection goes on behind it."""
    first, headers, _ = await _read_head(reader)
    _, status, phrase = first.split(" ", 2)
    if asked.method == "HEAD" or int(status) in (101, *BODILESS):
        return Reply(int(status), headers, b"", phrase), True
    body = await _read_body(reader, headers)
    if body is None:
        return Reply(int(status), headers, await reader.read(BODY_BYTES_MAX), phrase), False
    if _first(headers, "transfer-encoding"):
        headers = _changed(_changed(headers, "transfer-encoding", None), "Content-Length", str(len(body)))
    return Reply(int(status), headers, body, phrase), True


async def _write_reply(writer: asyncio.StreamWriter, asked: Asked, reply: Reply) -> None:
    body = b"" if asked.method == "HEAD" else reply.body
    phrase = reply.phrase or "Answered by the proxy"
    if writer.transport.is_closing():  # whoever asked has gone, or was cut off
        raise Cut
    writer.write(_encoded(f"HTTP/1.1 {reply.status} {phrase}", reply.headers, body))
    await writer.drain()


def _encoded(first: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
