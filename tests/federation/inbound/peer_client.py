"""A home server, and peers that speak to it over real sockets. Who they are is told by the path."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import asyncpg

from less_sync.auth import FstKeys, Identity, Permission, derive_fst_key, peer_identity
from less_sync.federation.inbound.peers import Inbound
from less_sync.federation.inbound.sessions import peer_sessions
from less_sync.federation.quotas import QuotaTracker, Usage
from less_sync.federation.settings import NoticesFrom, PeerQuotas
from less_sync.sync.forwarding import Alone
from less_sync.sync.http.socket import CLIENT_PATH, SessionFactory
from less_sync.sync.limits import Limits
from less_sync.sync.session.clients import client_sessions
from less_sync.sync.session.session import Session, SessionWire
from tests.live import Client, Live, Person, live_server
from tests.wire.client import open_socket

EDGE1: Final = "edge1.test"
EDGE2: Final = "edge2.test"
SECRET: Final = "a secret of the home server, long enough"
KEYS: Final = FstKeys(derive_fst_key(SECRET))


@dataclass(slots=True)
class Shared:
    """A shared space of the home, and who owns it."""

    id: str
    owner: Person

    def ucan(self, permission: Permission = Permission.WRITE, **more: Any) -> str:
        """What its owner gives a user of an edge."""
        return self.owner.grant(Person("user of an edge"), self.id, permission, **more)


@dataclass(slots=True)
class Home:
    """A running server that lets peers in."""

    live: Live
    inbound: Inbound
    database_url: str
    factories: dict[bytes, SessionFactory]
    sessions: Callable[[SessionWire, Identity], Session]

    @property
    def quotas(self) -> QuotaTracker:
        return self.inbound.quotas

    def usage(self, domain: str = EDGE1) -> Usage:
        """What a peer uses."""
        return self.quotas.usage(domain)

    async def peer(self, domain: str = EDGE1) -> Client:
        """Connect as a peer, which has no space of its own and sends no first message."""
        path = f"/peers/{domain}"
        self.factories[path.encode()] = lambda wire: self.sessions(wire, peer_identity(domain))
        socket = await open_socket("127.0.0.1", self.live.port, path=path)
        self.live.opened.append(socket)
        return Client(socket, "")

    async def share(self, owner: Person | None = None) -> Shared:
        """Create a shared space."""
        owner = owner or Person(f"owner {uuid4()}")
        client = await self.live.join(owner, mailbox_id=uuid4().hex * 2)
        space = await client.create_space(owner)
        await client.socket.hangup(20)
        return Shared(space, owner)

    async def member(self, shared: Shared) -> Client:
        """A client of the home that is subscribed to a shared space."""
        client = await self.live.join(shared.owner, mailbox_id=uuid4().hex * 2)
        await client.subscribe(shared.id, ucan=shared.owner.grant(shared.owner, shared.id))
        return client

    async def sql(self, statement: str, *args: object) -> list[asyncpg.Record]:
        """Do something to the database behind the server's back."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(statement, *args)
        finally:
            await connection.close()

    async def set_home(self, space: str, home: str | None) -> None:
        """Say where a space has its home."""
        await self.sql("UPDATE spaces SET home_server = $2 WHERE id = $1", space, home)


@asynccontextmanager
async def home_server(
    database_url: str,
    *,
    quotas: PeerQuotas | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] | None = None,
    fst_keys: FstKeys | None = KEYS,
    notices_from: NoticesFrom = NoticesFrom.HOME,
    own_names: Collection[str] = (),
) -> AsyncIterator[Home]:
    """Serve clients and peers until the block ends; then nobody may have anything counted any more."""
    tracker = QuotaTracker(quotas or PeerQuotas(), *(() if clock is None else (clock,)))
    inbound = Inbound(tracker, fst_keys=fst_keys, notices_from=notices_from)
    factories: dict[bytes, SessionFactory] = {}
    async with live_server(database_url, limits, routes=factories) as live:
        live.services.federate(Alone(lambda: own_names))
        factories[CLIENT_PATH] = client_sessions(live.services)
        yield Home(live, inbound, database_url, factories, peer_sessions(live.services, inbound))
    assert {(usage.connections, usage.spaces) for usage in tracker.usages().values()} <= {(0, 0)}


def change(blob: bytes | None = b"x", *, dek: bytes | None = None, expected: int = 0) -> dict[str, object]:
    """One record to push."""
    more = {} if dek is None else {"dek": dek}
    return {"id": str(uuid4()), "blob": blob, "expected_cursor": expected, **more}


def entry(space: str, *, ucan: str = "", token: str = "") -> dict[str, object]:
    """One space to subscribe to."""
    return {"id": space, "since": 0} | ({"ucan": ucan} if ucan else {}) | ({"token": token} if token else {})


async def subscribe(peer: Client, *entries: dict[str, object]) -> Any:
    """Subscribe to several spaces at once."""
    return await peer.call("subscribe", {"spaces": list(entries)})
