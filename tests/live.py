"""The real server in this process: real sockets, real Postgres, services and limits as a test wants them."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Final
from uuid import UUID, uuid4

import cbor2
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import (
    PERSONAL_SPACE_ROOTS,
    Permission,
    TokenPolicy,
    delegate,
    encode_did_key,
    parse_ucan,
    personal_space_id,
)
from less_sync.bins.services import build_services
from less_sync.storage import BlobStore, PostgresPool, PushLanes
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import Authenticator
from less_sync.sync.files.space_files import FILE_BYTES_MAX
from less_sync.sync.http.app import FederationRoutes, create_app
from less_sync.sync.http.http1 import http_protocol
from less_sync.sync.http.routing import RawRoute
from less_sync.sync.http.socket import ClientSocket, Route, websocket_protocol
from less_sync.sync.limits import Limits
from less_sync.sync.live.bus import Bus
from less_sync.sync.live.nats_bus import NatsBus
from less_sync.sync.protocol.frames import Chunk, Notification, Response, decode_server_frame, encode_request
from less_sync.sync.services import Services
from tests.between_workers import BetweenWorkers
from tests.primed import connect_primed
from tests.shapes import InForce, Shape, flushed, served_by_workers, two_buses
from tests.wire.client import Closed, Message, Socket, open_socket
from tests.wire.issuer import KID, Issuer, new_issuer

ISSUER = "https://accounts.example"
CLIENT_ID = "11111111-1111-1111-1111-111111111111"
TIMEOUT_S = 20.0
TICK_S: Final = 0.1
ASKED_IN: Final = str(uuid4())
GRANT_S: Final = 3600
"""How long a UCAN made here is good."""


def claims(user: str, **changes: Any) -> dict[str, Any]:
    """The claims of one user's token; `changes` override."""
    space = personal_space_id(PERSONAL_SPACE_ROOTS["betterbase"], ISSUER, user, CLIENT_ID)
    return {
        "iss": ISSUER,
        "sub": user,
        "client_id": CLIENT_ID,
        "scope": "sync files",
        "personal_space_id": str(space),
        "mailbox_id": user.encode().hex().ljust(64, "0"),
        **changes,
    }


@dataclass(frozen=True, slots=True)
class Person:
    """A user with a DID, who can own a shared space and let others in."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    @property
    def did(self) -> str:
        return encode_did_key(self.key.public_key())

    @property
    def root_key(self) -> bytes:
        """What a space created by this person is created with."""
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def grant(
        self,
        to: "Person",
        space: str,
        permission: Permission = Permission.WRITE,
        *,
        proof: str | None = None,
        expires_at: int | None = None,
    ) -> str:
        """A UCAN for somebody; without a proof it is good only in a space of this person's own."""
        return delegate(
            self.key,
            audience=to.did,
            permission=permission,
            space_id=UUID(space),
            expires_at=int(time.time()) + GRANT_S if expires_at is None else expires_at,
            nonce=os.urandom(16),
            proof=proof,
        )


async def nothing_to_wait_for() -> None:
    """There is one node."""


def cid_of(ucan: str) -> str:
    """What a UCAN is revoked by."""
    return parse_ucan(ucan).cid


@dataclass(slots=True)
class Client:
    """An authenticated connection that speaks in values."""

    socket: Socket
    space: str
    """The caller's personal space."""
    news_told: Callable[[], Awaitable[None]] = nothing_to_wait_for
    """Waits until what was said to other nodes has reached this client's."""
    unread: list[Response | Chunk | Notification] = field(default_factory=list)
    requests: int = 0

    @property
    def local_port(self) -> int:
        """This end's."""
        return self.socket.local_port

    def send(self, method: str, params: Mapping[str, object]) -> str:
        """Send a request without waiting; return its id."""
        self.requests += 1
        id = f"r{self.requests}"
        self.socket.send(encode_request(id, method, params))
        return id

    def notify(self, method: str, params: Mapping[str, object]) -> None:
        """Send a notification."""
        self.socket.send(cbor2.dumps({"type": 2, "method": method, "params": dict(params)}))

    async def next(self) -> Response | Chunk | Notification:
        """The next frame, whatever it is. Fails when the connection ends instead."""
        if self.unread:
            return self.unread.pop(0)
        event = await self.socket.receive(TIMEOUT_S)
        assert isinstance(event, Message), event
        frame = decode_server_frame(event.data)
        assert frame is not None
        return frame

    async def response(self, id: str) -> tuple[Response, list[Chunk]]:
        """The response to a request with its chunks; everything else is kept for `next`."""
        chunks: list[Chunk] = []
        kept: list[Response | Chunk | Notification] = []
        while True:
            frame = await self.next()
            if isinstance(frame, Response) and frame.id == id:
                self.unread = kept + self.unread
                return frame, chunks
            if isinstance(frame, Chunk) and frame.id == id:
                chunks.append(frame)
            else:
                kept.append(frame)

    async def call(self, method: str, params: Mapping[str, object]) -> Any:
        """Send a request and return its result; fails when it is an error."""
        response, _ = await self.response(self.send(method, params))
        assert response.error is None, (response.error.code, response.error.message)
        return response.result

    async def error(self, method: str, params: Mapping[str, object]) -> tuple[str, str]:
        """Send a request and return the code and message of its error; fails when it succeeds."""
        response, _ = await self.response(self.send(method, params))
        assert response.error is not None
        return response.error.code, response.error.message

    async def heard(self) -> list[Notification]:
        """Every notification sent to this client before the server answers one more request of its own."""
        await self.news_told()
        assert (await self.error("?", {}))[0] == "method_not_found"
        frames, self.unread = self.unread, []
        assert all(isinstance(frame, Notification) for frame in frames), frames
        return [frame for frame in frames if isinstance(frame, Notification)]

    async def methods_heard(self) -> list[str]:
        """The methods of the notifications that `heard` returns."""
        return [notice.method for notice in await self.heard()]

    async def subscribe(self, *spaces: str, ucan: str = "", presence: bool = False) -> Any:
        """Subscribe to spaces, the personal one by default."""
        more = {"ucan": ucan, "presence": presence}
        entries = [{"id": space, "since": 0, **more} for space in spaces or (self.space,)]
        return await self.call("subscribe", {"spaces": entries})

    async def create_space(self, owner: Person) -> str:
        """Create a shared space with this root key and return its id."""
        space = str(uuid4())
        await self.call("space.create", {"id": space, "root_public_key": owner.root_key})
        return space

    async def push(self, *changes: Mapping[str, object], space: str = "", ucan: str = "") -> Any:
        """Push changes and return the result."""
        params = {"space": space or self.space, "ucan": ucan, "changes": list(changes)}
        return await self.call("push", params)

    async def pull(self, since: int = 0, space: str = "", ucan: str = "") -> list[tuple[str, Any]]:
        """Pull one space and return (name, data) of each chunk."""
        id = self.send("pull", {"spaces": [{"id": space or self.space, "since": since, "ucan": ucan}]})
        response, chunks = await self.response(id)
        assert response.error is None
        assert response.result == {"_chunks": len(chunks)}
        return [(chunk.name, chunk.data) for chunk in chunks]

    async def closed(self) -> Closed:
        """The close frame the server sends; messages before it are skipped."""
        while True:
            event = await self.socket.receive(TIMEOUT_S)
            if not isinstance(event, Message):
                assert isinstance(event, Closed), event
                return event


@dataclass(slots=True)
class Node:
    """One running server, of which a cluster may have several."""

    services: Services
    server: uvicorn.Server
    pool: PostgresPool
    lanes: PushLanes
    bus: Bus | None

    @property
    def port(self) -> int:
        port: int = self.server.servers[0].sockets[0].getsockname()[1]
        return port


@dataclass(slots=True)
class Live:
    """A running server and who may log in to it; of several nodes the first, and connections by turns."""

    issuer: Issuer
    nodes: Sequence[Node]
    """None of them is in this process where there are workers."""
    ports: Sequence[int]
    opened: list[Socket] = field(default_factory=list)
    between: BetweenWorkers | None = None
    """Where there are workers."""

    @property
    def services(self) -> Services:
        return self.nodes[0].services

    @property
    def server(self) -> uvicorn.Server:
        return self.nodes[0].server

    @property
    def pool(self) -> PostgresPool:
        return self.nodes[0].pool

    @property
    def lanes(self) -> PushLanes:
        return self.nodes[0].lanes

    @property
    def port(self) -> int:
        return self.ports[0]

    def token(self, user: str, **changes: Any) -> str:
        """A valid token of one user."""
        return self.issuer.token(claims(user, **changes))

    async def open(self) -> Socket:
        """Connect without authenticating."""
        socket = await open_socket("127.0.0.1", self.ports[len(self.opened) % len(self.ports)])
        self.opened.append(socket)
        return socket

    async def connect_over(self, socket: Socket, user: str = "alice", **changes: Any) -> Client:
        """Send the auth frame over an open socket; the server does not answer it."""
        token = self.token(user, **changes)
        socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))
        return Client(socket, claims(user, **changes)["personal_space_id"], self.news_told)

    async def connect(self, user: str = "alice", **changes: Any) -> Client:
        """Connect and authenticate."""
        return await self.connect_over(await self.open(), user, **changes)

    async def join(self, person: Person, **changes: Any) -> Client:
        """Connect as somebody who has a DID."""
        return await self.connect(person.name, did=person.did, **changes)

    async def news_told(self) -> None:
        """Return once every node has heard what the others had to say."""
        if self.between is not None:
            await self.between.told()
        if len(self.nodes) < 2:
            return
        # A server of NATS takes what one client sends in order: behind the answer to a ping all of it is on
        # its way, and what is on its way to a client comes before the answer to that one's own ping.
        for _ in range(2):
            for node in self.nodes:
                assert isinstance(node.bus, NatsBus)
                await flushed(node.bus)

    def connections(self) -> list[ClientSocket]:
        """The server's ends of the open WebSockets."""
        ends = chain.from_iterable(node.server.server_state.connections for node in self.nodes)
        return [one for one in ends if isinstance(one, ClientSocket)]

    async def ask(self) -> Client:
        """Connect and subscribe where nobody is but those who ask for what workers tell each other."""
        client = await self.connect("asker", personal_space_id=ASKED_IN)
        await client.subscribe()
        return client

    @property
    def present(self) -> int:
        """How many entries of presence there are."""
        return sum(len(node.services.presence) for node in self.nodes)

    async def settled(self, client: Client) -> None:
        """Return once the server has handled everything this client sent before."""
        assert (await client.error("?", {}))[0] == "method_not_found"


class _Server(uvicorn.Server):
    """Stops at once when told to: uvicorn looks ten times a second, which hundreds of tests wait for.

    It has no signal handlers either: the test process keeps its own.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Tick until `stop` is set."""
        ticks = 0
        while not self.stop.is_set():
            await self.on_tick(ticks)
            ticks += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), TICK_S)

    async def shutdown(self, sockets: object = None) -> None:
        """Stop listening and return when every connection and request has ended."""
        for listener in self.servers:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  no event is offered
            await asyncio.sleep(0.001)


@asynccontextmanager
async def live_server(
    database_url: str,
    limits: Limits | None = None,
    *,
    identity_hash_key: bytes | None = bytes(32),
    routes: Mapping[bytes, Route] | Callable[[Services], Mapping[bytes, Route]] | None = None,
    blobs: BlobStore | None = None,
    file_bytes_max: int = FILE_BYTES_MAX,
    federation: FederationRoutes | Callable[[Services], FederationRoutes] | None = None,
    pages: Sequence[RawRoute] = (),
    policy: TokenPolicy | None = None,
    bus: Bus | None = None,
) -> AsyncIterator[Live]:
    """Serve `database_url` (migrated) on a loopback port until the block ends, in the shape of the test.

    Without `blobs` there is no file storage, without `federation` no route about other servers, without
    `routes` no WebSocket but that of clients, without `pages` nothing to look at. With a `bus` the server is
    one of several nodes.
    """
    issuer, limits = new_issuer(), limits or Limits()
    if InForce.shape is Shape.WORKERS:
        assert not any((routes, federation, pages, policy)), "not to be had from a command"
        async with served_by_workers(
            database_url,
            issuer,
            ISSUER,
            limits=limits,
            identity_hash_key=identity_hash_key,
            files=blobs is not None,
        ) as server:
            live = Live(issuer, (), (server.port,))
            live.between = BetweenWorkers(server.pid, server.port, ASKED_IN, live.ask)
            yield live
            for socket in live.opened:
                socket.abort()
        return
    keys = KeyFetcher({}, injected={ISSUER: {KID: issuer.key.public_key()}})
    node = partial(
        _node,
        database_url,
        limits,
        keys,
        identity_hash_key=identity_hash_key,
        routes=routes,
        blobs=blobs,
        file_bytes_max=file_bytes_max,
        federation=federation,
        pages=pages,
        policy=policy,
    )
    async with AsyncExitStack() as stack:
        buses: Sequence[Bus | None] = (bus,)
        if InForce.shape is Shape.NODES:
            buses = await stack.enter_async_context(two_buses())
        nodes = [await stack.enter_async_context(node(bus)) for bus in buses]
        live = Live(issuer, nodes, [one.port for one in nodes])
        yield live
        for socket in live.opened:
            socket.abort()


@asynccontextmanager
async def _node(
    database_url: str,
    limits: Limits,
    keys: KeyFetcher,
    bus: Bus | None,
    *,
    identity_hash_key: bytes | None,
    routes: Mapping[bytes, Route] | Callable[[Services], Mapping[bytes, Route]] | None,
    blobs: BlobStore | None,
    file_bytes_max: int,
    federation: FederationRoutes | Callable[[Services], FederationRoutes] | None,
    pages: Sequence[RawRoute],
    policy: TokenPolicy | None,
) -> AsyncIterator[Node]:
    """One server on a loopback port."""
    pool = await PostgresPool.open(database_url, connect=connect_primed)
    lanes = await PushLanes.start(pool)
    services = build_services(
        pool,
        lanes,
        Authenticator(keys, policy=policy),
        limits=limits,
        identity_hash_key=identity_hash_key,
        blobs=blobs,
        file_bytes_max=file_bytes_max,
        bus=bus,
    )
    config = uvicorn.Config(
        create_app(
            services,
            federation=federation(services) if callable(federation) else federation,
            pages=pages,
        ),
        host="127.0.0.1",
        port=0,
        http=http_protocol(services),
        ws=websocket_protocol(services, routes(services) if callable(routes) else routes),
        lifespan="off",
        log_config=None,
        access_log=False,
        ws_per_message_deflate=False,
    )
    server = _Server(config)
    tasks = [asyncio.create_task(server.serve())]
    serving = tasks[0]
    if bus is not None and services.nodes is not None:
        tasks.append(asyncio.create_task(services.nodes.run()))
        if isinstance(bus, NatsBus):
            tasks.append(asyncio.create_task(bus.run()))
    try:
        while not server.started:  # noqa: ASYNC110  uvicorn offers no event to wait for
            await asyncio.sleep(0.005)
        while isinstance(bus, NatsBus) and not bus.connected:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.005)
        yield Node(services, server, pool, lanes, bus)
    finally:
        await services.sessions.shutdown(0.2)
        server.stop.set()
        await serving
        if services.nodes is not None:
            await services.nodes.aclose()
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        if services.files is not None:
            await services.files.removals.aclose(5)
        await lanes.aclose(5)
        await pool.aclose(5)
        await services.authenticator.aclose()
