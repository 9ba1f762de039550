"""Read handlers over real stores, asked without sockets, or behind listeners when they ask each other."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from less_sync.volume.counters import Counters
from less_sync.volume.engine.store import Store
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import HAS_LAST_MODIFIED, HAS_MIME, HAS_NAME, HAS_PAIRS, Needle
from less_sync.volume.http.bodies import BodyPool
from less_sync.volume.http.client import OutgoingHttp
from less_sync.volume.http.dispatch import Dispatch
from less_sync.volume.http.handlers import Handler
from less_sync.volume.http.limits import InFlight, Limits
from less_sync.volume.http.listener import Listener
from less_sync.volume.http.mime import Types
from less_sync.volume.http.paths import text, unescape
from less_sync.volume.http.read import ReadHandler
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import FilePart, Pieces, Response
from less_sync.volume.http.writing import encode_head
from less_sync.volume.master.lookup import LookupFailed, Place
from less_sync.volume.options import DirectoryOptions, Options
from less_sync.volume.security.security import Security
from less_sync.volume.services import Services
from tests.volume.ports import Ports

AT = 1_700_000_000
"""`Tue, 14 Nov 2023 22:13:20 GMT`"""


@dataclass
class Answer:
    """What a client would have received. `failed`: the connection was cut within the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    failed: bool = False
    held_bytes: int = 0
    """What was counted as being sent before the body had left."""


@dataclass
class KnownPlaces:
    """Stands for the master: tells where volumes are, or fails."""

    places: dict[int, list[Place]] = field(default_factory=dict)
    fault: str = ""
    forgotten: list[int] = field(default_factory=list)

    async def find(self, volume_id: int) -> list[Place]:
        """The places, or `LookupFailed` with `fault`."""
        if self.fault:
            raise LookupFailed(self.fault)
        return self.places.get(volume_id, [])

    def forget(self, volume_id: int) -> None:
        """Remembered, so that a test sees it."""
        self.forgotten.append(volume_id)


class Reader:
    """Asks a read handler."""

    def __init__(self, services: Services, limits: Limits, types: Types) -> None:
        self.services = services
        self.store = services.store
        self.places = cast(KnownPlaces, services.lookup)
        self.limits = limits
        self.handler = ReadHandler(services, limits, types)
        self.asked: list[str] = []
        """Method and path of what other servers asked."""

    def request(self, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Request:
        """The request that a connection would have made of it."""
        path, _, query = target.partition("?")
        request = Request(method, target.encode(), text(unescape(path.encode())), query)
        request.set_headers([(name.encode(), value.encode()) for name, value in (headers or {}).items()])
        return request

    def begin(self, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
        """What the handler gives for it: an answer, or a coroutine."""
        return self.handler.begin(self.request(target, headers, method))

    async def get(self, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        """The whole answer."""
        request = self.request(target, headers, method)
        response = self.handler.begin(request)
        if not isinstance(response, Response):
            response = await response
        head = encode_head(request, response, response.content_length(), closes=False).decode(
            "utf-8", "surrogateescape"
        )
        lines = head.split("\r\n")[1:-2]
        answer = Answer(response.status, {}, b"")
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in answer.headers, name
            answer.headers[name.lower()] = value
        del answer.headers["date"]
        answer.held_bytes = self.limits.downloads.bytes
        answer.body, answer.failed = await _received(response, is_head=method == "HEAD")
        if response.sent is not None:
            response.sent()
        assert self.limits.downloads.bytes == 0
        return answer

    async def head(self, target: str, headers: dict[str, str] | None = None) -> Answer:
        """The same for HEAD."""
        return await self.get(target, headers, "HEAD")

    async def put(
        self,
        volume: Volume,
        id: int,
        data: bytes,
        *,
        flags: int = 0,
        name: bytes = b"",
        mime: bytes = b"",
        pairs: bytes = b"",
        cookie: int = 1,
        last_modified: int = AT,
    ) -> str:
        """Store a needle, and say what it is asked for by."""
        flags |= HAS_NAME if name else 0
        flags |= HAS_MIME if mime else 0
        flags |= HAS_PAIRS if pairs else 0
        flags |= HAS_LAST_MODIFIED if last_modified else 0
        needle = Needle(id, cookie, data, flags, name, mime, last_modified, 0, pairs, crc32c(data))
        await volume.write(needle)
        return f"/{volume.id},{id:02x}{cookie:08x}"


@asynccontextmanager
async def reader(
    *directories: Path,
    read_mode: str = "proxy",
    download_bytes_max: int = 0,
    wait_s: float = 5.0,
    clock: Callable[[], int] = time.time_ns,
    environment: dict[str, str] | None = None,
    port: int = 8080,
) -> AsyncIterator[Reader]:
    """A reader of the volumes in these directories."""
    options = Options(
        directories=tuple(DirectoryOptions(directory) for directory in directories),
        read_mode=read_mode,
        port=port,
    )
    store = Store(options, clock=clock)
    await store.load()
    outgoing = OutgoingHttp()
    nothing: Any = None
    services = Services(
        options=options,
        store=store,
        security=Security(options, environment or {}),
        masters=nothing,
        lookup=cast(Any, KnownPlaces()),
        channels=nothing,
        counters=Counters(),
        outgoing=outgoing,
    )
    limits = Limits(InFlight(0, wait_s), InFlight(download_bytes_max, wait_s))
    try:
        yield Reader(services, limits, Types((), ()))
    finally:
        await outgoing.close()
        await store.close()


def place(server: Reader) -> Place:
    """Where a server listens."""
    url = server.services.options.own_address
    return Place(url, url, 0)


@asynccontextmanager
async def listening(directory: Path, *, read_mode: str = "proxy") -> AsyncIterator[Reader]:
    """A reader that listens on the port of its options."""
    with Ports() as ports:
        port = ports.take()
        async with reader(directory, read_mode=read_mode, port=port) as server, _listener(server):
            yield server


@asynccontextmanager
async def _listener(server: Reader) -> AsyncIterator[None]:
    dispatch = Dispatch("SeaweedFS Volume test", {}, dict.fromkeys(("GET", "HEAD"), server.handler))

    def route(request: Request) -> Handler:
        server.asked.append(f"{request.method} {request.path}")
        return dispatch.route(request)

    listener = Listener(route, server.services.counters, BodyPool(), body_bytes_max=1 << 20, idle_s=30.0)
    await listener.start("127.0.0.1", server.services.options.port)
    try:
        yield
    finally:
        await server.services.outgoing.close()
        await listener.stop(1.0)


async def _received(response: Response, *, is_head: bool) -> tuple[bytes, bool]:
    body = response.body
    if isinstance(body, FilePart):
        received = b"" if is_head else body.file.read(body.start, body.length)
        body.file.release()
        return received, len(received) != body.length and not is_head
    if not isinstance(body, Pieces):
        return b"" if is_head else bytes(body), False
    pieces = body.pieces
    assert isinstance(pieces, AsyncGenerator)
    collected = bytearray()
    try:
        async for piece in pieces:
            collected += piece
    except Exception:  # whatever it is, the connection is cut then
        return bytes(collected), True
    finally:
        await pieces.aclose()
    return bytes(collected), body.length is not None and body.length != len(collected)


def open_holders(volumes: Sequence[Volume]) -> list[int]:
    """Who holds the data files beside their volumes: nobody, once all answers are sent."""
    return [volume.data._holders - 1 for volume in volumes]
