"""A home that does what a test tells it, over real sockets, and a link to it."""

import asyncio
import random
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import cbor2
from nacl.signing import SigningKey
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request as UpgradeRequest
from websockets.http11 import Response as UpgradeResponse
from websockets.typing import Subprotocol

from less_sync.federation.outbound.calls import LinkState, PeerAddress, RestoreCall
from less_sync.federation.outbound.dial import Dialler
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.federation.outbound.link import PeerLink, Restore, request_ids
from less_sync.federation.signing import Signing
from less_sync.sync.protocol.codes import SUBPROTOCOLS
from less_sync.sync.protocol.frames import Notification, Request, decode_frame
from tests.sync.scripted_server import Peer

KEY: Final = SigningKey(bytes([7]) * 32)
KEY_ID: Final = "https://edge.example/.well-known/jwks.json#fed-1"
PATH: Final = "/api/v1/federation/ws"
QUICK: Final = LinkLimits(
    close_timeout_s=0.2,
    backoff_first_s=0.02,
    refused_first_s=30.0,
    recycled_s=0.05,
    dial_age_s=0.0,
    call_timeout_s=10.0,
    pull_silence_s=10.0,
)
"""Waits of production cut down; the deadlines of calls stay far away."""

Act = Callable[[Peer], Awaitable[None]]


class Keys:
    """A signer whose key a test may exchange; counts how often it was asked."""

    def __init__(self, *signings: Signing | None) -> None:
        self.signings = deque(signings or (Signing(KEY, KEY_ID),))
        self.asked = 0

    def primary(self) -> Signing | None:
        self.asked += 1
        return self.signings.popleft() if len(self.signings) > 1 else self.signings[0]


@dataclass
class Home:
    """What happened; `acts` are played in order, one per connection, and the last one for the rest."""

    acts: Sequence[Act]
    refusals: deque[tuple[int, str]] = field(default_factory=deque)
    """Answers to the first upgrades."""
    upgrades: list[UpgradeRequest] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    server: Server | None = None

    def judge(self, connection: ServerConnection, request: UpgradeRequest) -> UpgradeResponse | None:
        self.upgrades.append(request)
        if not self.refusals:
            return None
        status, body = self.refusals.popleft()
        response = connection.respond(status, body)
        if 300 <= status < 400:
            response.headers["Location"] = f"{self.url}?elsewhere"
        return response

    async def play(self, connection: ServerConnection) -> None:
        act = self.acts[min(self.connections, len(self.acts) - 1)]
        self.connections += 1
        try:
            await act(Peer(connection))
        except AssertionError as failure:
            self.failures.append(failure)


@asynccontextmanager
async def scripted_home(
    *acts: Act,
    port: int = 0,
    names: Sequence[str] | None = SUBPROTOCOLS,
    tls: ssl.SSLContext | None = None,
    refusals: Sequence[tuple[int, str]] = (),
) -> AsyncIterator[Home]:
    """Serve the acts on loopback; failed assertions of acts are raised at the end."""
    home = Home(acts, deque(refusals))
    async with serve(
        home.play,
        "127.0.0.1",
        port,
        subprotocols=None if names is None else [Subprotocol(name) for name in names],
        compression=None,
        process_request=home.judge,
        ssl=tls,
        max_size=16 * 1024 * 1024,
        ping_interval=None,
        close_timeout=0.2,
        max_queue=1,
    ) as running:
        (socket,) = running.sockets
        home.server = running
        scheme = "ws" if tls is None else "wss"
        home.url = f"{scheme}://127.0.0.1:{socket.getsockname()[1]}{PATH}"
        yield home
    if home.failures:
        raise home.failures[0]


async def nothing(call: RestoreCall) -> None:
    """Restore nothing."""


TLS: Final = ssl.create_default_context()


def dialler(
    keys: Keys | None = None, tls: ssl.SSLContext | None = None, limits: LinkLimits = QUICK
) -> Dialler:
    """A dialler for tests."""
    return Dialler(keys or Keys(), now=time.time, tls=tls or TLS, limits=limits)


@dataclass
class Told:
    """What a link has told, and is told."""

    states: list[LinkState] = field(default_factory=list)
    heard: list[Notification] = field(default_factory=list)
    wanted: bool = False


@dataclass
class Linked:
    """A link and what it has told."""

    link: PeerLink
    told: Told

    async def call(self, name: str, person: str = "ann") -> object:
        """A push that carries nothing but a name."""
        return await self.link.call("push", cbor2.dumps({"name": name}), person=person)

    async def until(self, state: LinkState) -> None:
        """Wait until the link stands there."""
        async with asyncio.timeout(10):
            while self.link.state is not state:  # noqa: ASYNC110  nothing is offered to wait for
                await asyncio.sleep(0.001)


@asynccontextmanager
async def linked(
    url: str,
    limits: LinkLimits = QUICK,
    *,
    restore: Restore = nothing,
    keys: Keys | None = None,
    tls: ssl.SSLContext | None = None,
    wanted: bool = False,
) -> AsyncIterator[Linked]:
    """A link to a home, closed at the end."""
    told = Told(wanted=wanted)
    link = PeerLink(
        PeerAddress("127.0.0.1", url),
        dialler(keys, tls, limits),
        new_id=request_ids(),
        chance=random.Random(5),
        restore=restore,
        wanted=lambda: told.wanted,
        on_notification=told.heard.append,
        on_state=told.states.append,
        limits=limits,
    )
    try:
        yield Linked(link, told)
    finally:
        await link.aclose()


async def request(peer: Peer) -> Request:
    """The next request, whatever its method."""
    frame = decode_frame(await peer.receive())
    assert isinstance(frame, Request)
    return frame


def name_of(request: Request) -> object:
    """What a test called its push."""
    assert isinstance(request.params, dict)
    return request.params["name"]


def noting(note: Callable[[Request], None]) -> Act:
    """Answer every request with its params, and tell of each."""

    async def act(peer: Peer) -> None:
        async for message in peer.connection:
            assert isinstance(message, bytes)
            frame = decode_frame(message)
            if isinstance(frame, Request):
                assert isinstance(frame.params, dict)
                note(frame)
                await peer.answer(frame, frame.params)

    return act


echo: Final = noting(lambda request: None)
