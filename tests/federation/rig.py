"""Servers that speak to each other: real processes, a database, a key and a loopback address each.

Whatever one says to another goes over a wire of the test's own (`proxy`), one for each that is dialled by
each: a server may stop, come back at another port or be cut off, and no setting of its peers changes.
"""

import asyncio
import base64
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import cbor2
import httpx
from nacl.signing import SigningKey

from less_sync.auth import Permission, SignatureHeaders, key_id_domain, sign_request
from less_sync.bins.postgres.urls import driver_url
from less_sync.sync.protocol.frames import Notification
from tests.federation.certificates import private_authority
from tests.federation.proxy import Wire
from tests.integration.waiting import until
from tests.live import ISSUER, Client, Person, claims
from tests.wire.client import Socket, open_socket
from tests.wire.issuer import AUDIENCE, Issuer, new_issuer, served_key_set
from tests.wire.process import ServerProcess

PEER_PATH: Final = "/api/v1/federation/ws"
SECRET: Final = "a secret of at least thirty-two bytes"
END_S: Final = 30.0
BOTH_NAMES: Final = "betterbase-rpc-v1, less-rpc-v1"


def base64url(data: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def kid_of(domain: str, fragment: str = "k") -> str:
    """The id of a key of a domain."""
    return f"https://{domain}/.well-known/jwks.json#{fragment}"


@dataclass(slots=True)
class Node:
    """One server; it may be started more than once."""

    name: str
    host: str
    database_url: str
    issuer: Issuer
    settings: dict[str, str]
    kid: str
    key: SigningKey = field(default_factory=SigningKey.generate, repr=False)
    process: ServerProcess | None = None
    sockets: list[Socket] = field(default_factory=list)

    @property
    def domain(self) -> str:
        """Whom its peers know it as: the host of its key's id."""
        return key_id_domain(self.kid)

    @property
    def trusted_entry(self) -> str:
        """What a peer adds to its trusted keys."""
        return f"{self.kid}={base64url(self.key.verify_key.encode())}"

    @property
    def running(self) -> ServerProcess:
        assert self.process is not None
        return self.process

    @property
    def port(self) -> int:
        return self.running.port

    @property
    def output(self) -> str:
        """The last lines it printed."""
        return "\n".join(self.running.output)

    # Its life.

    async def start(self, **changes: str) -> None:
        """Start it with its settings and these changes, which last; it listens when this returns."""
        self.settings |= changes
        process = ServerProcess(self.settings, ("--listen", f"{self.host}:0"))
        await process.__aenter__()
        self.process = process

    async def stop(self) -> None:
        """SIGTERM, and wait for an orderly end with status 0."""
        self.running.signal(signal.SIGTERM)
        assert await self.running.wait(END_S) == 0, self.output
        await self._collect()

    async def kill(self) -> None:
        """`kill -9`."""
        await self.running.kill()
        await self._collect()

    async def _collect(self) -> None:
        process, self.process = self.running, None
        await process.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """Stop it, if it runs, and drop the clients that the test left."""
        for socket in self.sockets:
            socket.abort()
        if self.process is not None:
            process, self.process = self.process, None
            await process.__aexit__(None, None, None)

    # Its users.

    def token(self, user: str, **changes: Any) -> str:
        return self.issuer.token(claims(user, **changes))

    async def connect(self, user: str, **changes: Any) -> Client:
        """A client of this server, authenticated."""
        socket = await open_socket(self.host, self.port, subprotocols=(BOTH_NAMES,))
        self.sockets.append(socket)
        token = self.token(user, **changes)
        socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))
        return Client(socket, claims(user, **changes)["personal_space_id"])

    async def join(self, person: Person, **changes: Any) -> Client:
        """Connect as somebody who has a DID."""
        return await self.connect(person.name, did=person.did, **changes)

    # Its peers.

    def sign(
        self, to: "Node", *, created: int, path: str = PEER_PATH, scheme: str = "ws", host: str = ""
    ) -> SignatureHeaders:
        """The headers of an upgrade at another server, signed as this one."""
        host = host or f"{to.host}:{to.port}"
        return sign_request(
            self.key,
            key_id=self.kid,
            created=created,
            method="GET",
            target_uri=f"{scheme}://{host}{path}",
            host=host,
        )

    async def status(self, peer: "Node | str") -> Mapping[str, Any]:
        """What this server counts of a peer."""
        domain = peer if isinstance(peer, str) else peer.domain
        response = await self.get(f"/api/v1/federation/status/{domain}", token=self.token("operator"))
        assert response.status_code == 200, (response.status_code, response.text)
        status: Mapping[str, Any] = json.loads(response.content)
        return status

    async def counts(self, peer: "Node") -> tuple[int, int]:
        """Connections and spaces of a peer."""
        status = await self.status(peer)
        return status["connections"], status["spaces"]

    async def until_counts(self, peer: "Node", connections: int, spaces: int) -> None:
        """Wait until a peer has just so many connections and spaces."""

        async def reached() -> bool:
            return await self.counts(peer) == (connections, spaces)

        try:
            await until(reached)
        except TimeoutError:
            raise TimeoutError(f"still {await self.counts(peer)}") from None

    async def until_spaces(self, peer: "Node", spaces: int) -> None:
        """Wait until a peer has so many subscriptions, however many connections it keeps for its pulls."""

        async def reached() -> bool:
            return (await self.counts(peer))[1] == spaces

        await until(reached)

    async def get(self, path: str, *, token: str = "", headers: Mapping[str, str] = {}) -> httpx.Response:
        """One HTTP request."""
        sent = dict(headers) | ({"Authorization": f"Bearer {token}"} if token else {})
        async with httpx.AsyncClient(trust_env=False, timeout=END_S) as http:
            return await http.get(f"http://{self.host}:{self.port}{path}", headers=sent)

    # Its database.

    async def sql(self, statement: str, *args: object) -> list[Any]:
        """Run one statement and return its rows."""
        connection = await asyncpg.connect(driver_url(self.database_url), statement_cache_size=0)
        try:
            return list(await connection.fetch(statement, *args))
        finally:
            await connection.close()

    async def store_key(self) -> None:
        """Put its key where the server looks for it, as the primary one."""
        await self.sql(
            "INSERT INTO federation_signing_keys (kid, private_key, public_key, is_active, is_primary)"
            " VALUES ($1, $2, $3, TRUE, TRUE)",
            self.kid,
            bytes(self.key),
            self.key.verify_key.encode(),
        )

    async def cast_shadow(self, space: str, owner: Person, home: str) -> None:
        """Note a space whose home is elsewhere."""
        await self.sql(
            "INSERT INTO spaces (id, client_id, root_public_key, home_server) VALUES ($1, '', $2, $3)"
            " ON CONFLICT (id) DO UPDATE SET home_server = $3",
            space,
            owner.root_key,
            home,
        )


@dataclass(slots=True)
class Shared:
    """A space that several servers know."""

    id: str
    owner: Person

    def grant(self, to: Person, permission: Permission = Permission.WRITE) -> str:
        """A UCAN of the owner's."""
        return self.owner.grant(to, self.id, permission)


@dataclass(slots=True)
class Rig:
    """The servers, and the wires between them by who dials and who is dialled."""

    nodes: Mapping[str, Node]
    wires: Mapping[tuple[str, str], Wire]

    @property
    def home(self) -> Node:
        return self.nodes["home"]

    @property
    def edge1(self) -> Node:
        return self.nodes["edge1"]

    @property
    def edge2(self) -> Node:
        return self.nodes["edge2"]

    def wire(self, dialler: Node, dialled: Node) -> Wire:
        return self.wires[dialler.name, dialled.name]

    async def start(self, *nodes: Node, **changes: str) -> None:
        """Start servers, and lead the wires that end at them there."""
        await asyncio.gather(*(node.start(**changes) for node in nodes))
        for node in nodes:
            self.lead_to(node)

    def lead_to(self, node: Node) -> None:
        """Lead the wires that end at a server to where it listens now."""
        for (_, dialled), wire in self.wires.items():
            if dialled == node.name:
                wire.target = node.host, node.port

    async def share(self, home: Node, *edges: Node, owner: Person | None = None) -> Shared:
        """Make a space at its home, and let edges know of it."""
        owner = owner or Person("owner")
        client = await home.join(owner)
        shared = Shared(await client.create_space(owner), owner)
        await client.socket.hangup(END_S)
        for edge in edges:
            await edge.cast_shadow(shared.id, owner, home.domain)
        return shared


@asynccontextmanager
async def rig(
    databases: Sequence[str],
    *names: str,
    tls: bool = False,
    started: Iterable[str] | None = None,
    settings: Mapping[str, Mapping[str, str]] = {},
) -> AsyncIterator[Rig]:
    """Servers of these names (`home`, `edge1`, `edge2`) that trust each other, until the block ends.

    Args:
        tls: whoever is dialled is reached by TLS, with a certificate of an authority of the test's own.
        started: who is started at once; all without it.
        settings: more variables, by name of the server.
    """
    names = names or ("home", "edge1")
    async with AsyncExitStack() as stack:
        issuer = new_issuer()
        key_set_url = await stack.enter_async_context(served_key_set(issuer))
        base = {"TRUSTED_ISSUERS": f"{ISSUER}={key_set_url}", "AUDIENCES": AUDIENCE}
        context, authority = private_authority("127.0.0.1") if tls else (None, "")
        if tls:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            Path(folder, "authority.pem").write_text(authority)
            base["SSL_CERT_FILE"] = str(folder / "authority.pem")
        nodes: dict[str, Node] = {}
        for number, (name, url) in enumerate(zip(names, databases, strict=False), 1):
            settings_of = {**base, "DATABASE_URL": url}
            nodes[name] = Node(name, f"127.0.0.{number}", url, issuer, settings_of, kid_of(f"{name}.test"))
        wires = {
            (dialler, dialled): await stack.enter_async_context(Wire(tls=context))
            for dialler in names
            for dialled in names
            if dialler != dialled
        }
        for node in nodes.values():
            node.settings |= _peers_of(node, nodes, wires) | dict(settings.get(node.name, {}))
            await node.store_key()
            stack.push_async_callback(node.aclose)
        made = Rig(nodes, wires)
        await made.start(*(nodes[name] for name in (names if started is None else started)))
        yield made


def _peers_of(node: Node, nodes: Mapping[str, Node], wires: Mapping[tuple[str, str], Wire]) -> dict[str, str]:
    """The variables by which a server trusts and dials all others."""
    others = [other for other in nodes.values() if other is not node]
    return {
        "FEDERATION_TRUSTED_KEYS": " ".join(other.trusted_entry for other in others),
        "FEDERATION_PEER_URLS": " ".join(
            f"{other.domain}={wires[node.name, other.name].url}" for other in others
        ),
        "FEDERATION_FST_SECRET": f"{SECRET} of {node.name}",
    }


def change(
    blob: bytes = b"blob", *, id: str = "", expected_cursor: int = 0, **more: object
) -> dict[str, Any]:
    """One change of a push; a new record unless an id is given."""
    return {"id": id or str(uuid4()), "blob": blob, "expected_cursor": expected_cursor, **more}


async def dial(
    peer: Node,
    home: Node,
    *,
    path: str = PEER_PATH,
    subprotocols: Sequence[str] = ("betterbase-rpc-v1",),
    headers: SignatureHeaders | None = None,
) -> Client:
    """Connect to a server as a peer does, in the name of one that need not run.

    Raises:
        tests.wire.client.Refused: the answer was not 101.
    """
    signed = headers or peer.sign(home, created=int(time.time()))
    lines = [("Signature-Input", signed.signature_input), ("Signature", signed.signature)]
    socket = await open_socket(home.host, home.port, path=path, subprotocols=subprotocols, headers=lines)
    peer.sockets.append(socket)
    return Client(socket, "")


async def subscribed(node: Node, person: Person, shared: Shared) -> Client:
    """A client that is subscribed to a space, by a grant of its own to write."""
    client = await node.join(person)
    entry = {"id": shared.id, "since": 0, "ucan": shared.grant(person)}
    answer = await client.call("subscribe", {"spaces": [entry]})
    assert [space["id"] for space in answer["spaces"]] == [shared.id], answer
    return client


async def notice(client: Client, method: str = "sync") -> Any:
    """The params of what comes next, which is a notification of this method."""
    frame = await client.next()
    assert isinstance(frame, Notification), frame
    assert frame.method == method, frame
    return frame.params
