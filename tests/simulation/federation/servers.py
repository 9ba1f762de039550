"""One of the two servers, put together as `bins` puts it together, and taken apart again.

What outlives a restart is in `Standing`: tables, settings, keys. Everything else is made anew.
"""

import asyncio
import base64
import random
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, cast
from uuid import UUID

from nacl.signing import SigningKey

from tests.simulation.cast import authenticator
from tests.simulation.database import Database
from tests.simulation.federation.parts import FederatedParts
from tests.simulation.federation.system import (
    Addresses,
    Answer,
    Dialler,
    FederationSettings,
    GuardedRoute,
    Inbound,
    LinkLimits,
    LinkOwner,
    PeerAddress,
    PeerCalls,
    PeerForwarder,
    PeerGate,
    PeerLink,
    PeerQuotas,
    Refusal,
    Signing,
    last_answer,
    parse_federation_trust,
    peer_sessions,
    refusal,
    request_ids,
)
from tests.simulation.federation.wire import HEAD_END, End
from tests.simulation.system import (
    CLIENT_PATH,
    ClientSocket,
    Limits,
    PostgresPool,
    PushLanes,
    Services,
    UpgradeRequest,
    build_services,
    client_sessions,
    run_background,
    websocket_protocol,
)
from tests.simulation.world import Connections

PEER_PATH: Final = b"/api/v1/federation/ws"
HOME, EDGE, PORT = "home.test", "edge.test", 5379
KEYS: Final = ("k1", "k2")
"""The keys that the edge may sign with, by the fragments of their ids."""
SHUTDOWN_S: Final = 8.0
LINKS_CLOSE_S: Final = 3.0


@cache
def signing(fragment: str) -> Signing:
    """A key of the edge, the same in every run."""
    seed = fragment.encode().ljust(32, b"\x07")
    return Signing(SigningKey(seed), f"https://{EDGE}/.well-known/jwks.json#{fragment}")


@cache
def _no_tls() -> ssl.SSLContext:
    """Nothing is dialled over TLS here."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Keys:
    """The own keys of a server. The home signs nothing."""

    def __init__(self, name: str, fragment: str | None) -> None:
        self._name = name
        self.fragment = fragment

    def primary(self) -> Signing | None:
        """The key that signs just now."""
        return None if self.fragment is None else signing(self.fragment)

    def names(self) -> Collection[str]:
        """The server's own names."""
        return (self._name,)


@dataclass(slots=True)
class Standing:
    """What a server finds again after a restart."""

    name: str
    database: Database
    limits: Limits
    keys: Keys
    quotas: PeerQuotas
    now: Callable[[], float]
    trusted: list[str] = field(default_factory=list)
    """Fragments of the edge's keys that the home knows."""
    secret: str | None = None
    link_limits: LinkLimits = field(default_factory=LinkLimits)
    linger_s: float = 60.0

    def settings(self) -> FederationSettings:
        """As an operator has written them."""
        keys = [signing(fragment) for fragment in self.trusted]
        text = " ".join(f"{one.key_id}={_public(one.key)}" for one in keys)
        return FederationSettings(
            domain=self.name,
            trust=parse_federation_trust(domains=None if keys else HOME, keys=text),
            peer_urls={HOME: f"ws://{HOME}:{PORT}/api/v1/federation/ws"},
            fst_secret=self.secret,
            quotas=self.quotas,
        )


def _public(key: SigningKey) -> str:
    return base64.urlsafe_b64encode(bytes(key.verify_key)).decode().rstrip("=")


class Server:
    """One life of a server: `start`, and `stop` once.

    Args:
        number: how many of its name were started before: names that it gives are its own.
    """

    def __init__(
        self,
        standing: Standing,
        loop: asyncio.AbstractEventLoop,
        chance: random.Random,
        parts: FederatedParts,
    ) -> None:
        self.standing = standing
        self._loop = loop
        self._chance = chance
        self._parts = parts
        self._state = Connections()
        self.services: Services
        self.forwarder: PeerForwarder
        self.listening = False
        self.quotas = parts.quotas(standing.quotas, loop.time)
        self.inbound: Inbound | None = None

    async def start(self) -> None:
        """Open the database, ready to serve: whoever starts it says that it is `listening`."""
        chance, standing = self._chance, self.standing
        self._pool = await PostgresPool.open(
            "postgres://model", max_connections=6, connect=standing.database.connect, chance=chance
        )
        self._lanes = PushLanes(self._pool)
        await self._lanes.open()
        self._authenticator = authenticator(standing.now, None)
        services = self.services = build_services(
            self._pool,
            self._lanes,
            self._authenticator,
            limits=standing.limits,
            identity_hash_key=bytes(32),
            clock=self._loop.time,
            chance=chance,
            presence_secret=chance.randbytes(32),
        )
        services.now = standing.now
        services.new_id = lambda: str(UUID(int=chance.getrandbits(128), version=4))
        self._parts.alter(standing.name, services)
        settings = standing.settings()
        self.forwarder = self._forwarder(settings)
        services.federate(self.forwarder)
        routes: dict[bytes, Any] = {CLIENT_PATH: client_sessions(services)}
        if settings.accepts_peers:
            inbound = self.inbound = Inbound.of(settings, self.quotas)
            inbound.random_bytes = chance.randbytes
            gate = PeerGate(settings, own_hosts=standing.keys.names, now=standing.now)
            routes[PEER_PATH] = GuardedRoute(gate, peer_sessions(services, inbound))
            self._gate = gate
        self.socket = websocket_protocol(services, routes)
        self._background = self._loop.create_task(run_background(services, maintenance_interval_s=3600.0))

    def _forwarder(self, settings: FederationSettings) -> PeerForwarder:
        standing, services = self.standing, self.services
        dial = Dialler(standing.keys, now=standing.now, tls=_no_tls(), limits=standing.link_limits)
        new_id = request_ids()

        def make_link(address: PeerAddress, owner: LinkOwner) -> PeerCalls:
            owner = self._parts.owner(owner)
            return PeerLink(
                address,
                dial,
                new_id=new_id,
                chance=self._chance,
                restore=owner.restore,
                wanted=lambda: owner.wanted,
                on_notification=owner.heard,
                on_state=owner.changed,
                limits=standing.link_limits,
            )

        return self._parts.forwarder(
            Addresses(settings, standing.keys.names),
            services.announce,
            services.broker,
            make_link,
            can_sign=lambda: standing.keys.primary() is not None,
            clock=self._loop.time,
            chance=self._chance,
            linger_s=standing.linger_s,
        )

    async def stop(self) -> None:
        """As docs/operations.md 2.2 has it: sessions, background, links, writes, the database."""
        self.listening = False
        services = self.services
        await services.sessions.shutdown(SHUTDOWN_S)
        self._background.cancel()
        await asyncio.wait({self._background})
        try:
            async with asyncio.timeout(LINKS_CLOSE_S):
                await self.forwarder.aclose()
        except TimeoutError:
            pass
        await services.announce.aclose(1.0)
        services.mailboxes.close()
        await self._authenticator.aclose()
        await self._lanes.aclose(5.0)
        await self._pool.aclose(5.0)

    # Who connects.

    def serve(self, transport: asyncio.Transport) -> ClientSocket:
        """A client's connection whose upgrade was just read."""
        socket = self.socket(cast(Any, None), cast(Any, self._state), {})
        socket.connection_made(transport)
        return socket

    def accept(self, end: End) -> None:
        """Take a connection of another server.

        Raises:
            ConnectionRefusedError: nobody listens.
        """
        if not self.listening:
            raise ConnectionRefusedError
        end.attach(_Doorman(self, end))

    def admit(self, request: UpgradeRequest) -> Answer:
        """Whether a peer is let in."""
        answer = refusal(request) or self._gate.admit(request.signed())
        assert not callable(answer), "all keys are configured"
        return answer

    @property
    def subprotocols(self) -> Sequence[str]:
        """Accepted ones."""
        return self.services.subprotocols


class _Doorman(asyncio.Protocol):
    """Reads the head of a peer's request, and hands the connection over: what the HTTP server does."""

    def __init__(self, server: Server, end: End) -> None:
        self._server = server
        self._end = end
        self._head = b""

    def data_received(self, data: bytes) -> None:
        """A piece of the head, or all of it and what comes behind."""
        self._head += data
        head, found, early = self._head.partition(HEAD_END)
        if not found:
            return
        first, *rest = head.split(b"\r\n")
        method, target, _ = first.split(b" ")
        lines = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in rest)]
        server = self._server
        request = UpgradeRequest(method.decode(), "1.1", lines, server.subprotocols, target)
        answer = server.admit(request)
        if isinstance(answer, Refusal):
            self._end.write(last_answer(answer, server.standing.now()))
            self._end.close()
            return
        socket = server.serve(self._end)
        self._end.set_protocol(socket)
        socket.upgrade(PEER_PATH, request, early, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing was begun."""
