"""A home in memory behind scripted links, and a real server that is its edge."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import cbor2

from less_sync.auth import FederationTrust, Permission
from less_sync.federation.outbound.addresses import Addresses
from less_sync.federation.outbound.calls import (
    LinkOwner,
    LinkState,
    PeerAddress,
    PeerRefused,
    PeerUnreachable,
    PullBroken,
    Repeat,
)
from less_sync.federation.outbound.forwarder import PeerForwarder
from less_sync.federation.settings import FederationSettings
from less_sync.storage import BlobStore
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Chunk, Notification
from tests.live import Client, Live, Person, live_server

HOME: Final = "home.test"
SUBSCRIBE: Final = "subscribe"


@dataclass(slots=True)
class Stored:
    """One space at the home."""

    cursor: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    members: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Sent:
    """One request as a link was given it."""

    method: str
    params: Any
    person: str
    repeat: Repeat


class ScriptedHome:
    """What a home does, as far as these tests need it; every fault is a test's own doing."""

    def __init__(self) -> None:
        self.spaces: dict[str, Stored] = {}
        self.links: list[ScriptedLink] = []
        self.sent: list[Sent] = []
        self.notified: list[tuple[str, Any]] = []
        self.refused: dict[str, str] = {}
        """Error codes by UCAN or token."""
        self.faults: list[tuple[str, Exception]] = []
        """Method and what its next call ends with, behind whatever the call did."""
        self.before: list[tuple[str, Exception]] = []
        """The same, and the call does nothing."""
        self.gates: dict[str, asyncio.Event] = {}
        """A method is held until its event is set."""
        self.tokens = True
        self.chunks: Callable[[str, list[Chunk]], list[Chunk]] = lambda space, chunks: chunks
        self.pull_breaks_after: int | None = None
        self.answer: Any = None
        """Stands for the result of the next `subscribe` or `push`."""
        self.in_flight = 0
        self.in_flight_most = 0

    @property
    def link(self) -> "ScriptedLink":
        return self.links[-1]

    def make_link(self, address: PeerAddress, owner: LinkOwner) -> "ScriptedLink":
        link = ScriptedLink(self, address, owner)
        self.links.append(link)
        return link

    def of(self, method: str) -> list[Any]:
        """The params of every request of this method so far."""
        return [sent.params for sent in self.sent if sent.method == method]

    def write(self, space: str, *records: dict[str, Any]) -> int:
        """Store one push."""
        stored = self.spaces[space]
        stored.cursor += 1
        stored.records += [{**record, "cursor": stored.cursor} for record in records]
        return stored.cursor

    def _subscribe(self, params: Any) -> Any:
        spaces, errors = [], []
        for entry in params["spaces"]:
            credential = entry.get("ucan") or entry.get("token") or ""
            code = self.refused.get(credential) or (None if entry["id"] in self.spaces else "not_found")
            if code is not None:
                errors.append({"space": entry["id"], "error": code})
                continue
            stored = self.spaces[entry["id"]]
            granted: dict[str, Any] = {"id": entry["id"], "cursor": stored.cursor, "key_generation": 3}
            if self.tokens:
                granted["token"] = f"T{len(self.sent)}"
            spaces.append(granted)
        return {"spaces": spaces, **({"errors": errors} if errors else {})}

    def _push(self, params: Any) -> Any:
        if params.get("ucan") in self.refused:
            return {"ok": False, "error": self.refused[params["ucan"]]}
        return {"ok": True, "cursor": self.write(params["space"], *params["changes"])}

    def _act(self, method: str, params: Any) -> Any:
        if self.answer is not None and method in (SUBSCRIBE, "push"):
            answer, self.answer = self.answer, None
            return answer
        match method:
            case "subscribe":
                return self._subscribe(params)
            case "push":
                return self._push(params)
            case _:
                return {"ok": True}

    async def call(self, sent: Sent) -> Any:
        self.sent.append(sent)
        _raise_first(self.before, sent.method)
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight, self.in_flight_most)
        try:
            gate = self.gates.get(sent.method)
            if gate is not None:
                await gate.wait()
        finally:
            self.in_flight -= 1
        answer = self._act(sent.method, sent.params)
        _raise_first(self.faults, sent.method)
        return answer

    def pull(self, params: Any) -> list[Chunk]:
        [entry] = params["spaces"]
        text = entry["id"]
        stored = self.spaces.get(text)
        if stored is None or entry.get("ucan") in self.refused:
            return []
        since = entry["since"]
        head = {"space": text, "prev": since, "cursor": stored.cursor}
        rows = [
            Chunk("", "pull.record", {"space": text, **record})
            for record in stored.records
            if record["cursor"] > since
        ]
        rows += [
            Chunk("", "pull.membership", {"space": text, "cursor": 1, "entries": [member]})
            for member in stored.members
        ]
        begin = Chunk("", "pull.begin", {**head, "key_generation": 3})
        return self.chunks(text, [begin, *rows, Chunk("", "pull.commit", {**head, "count": len(rows)})])


def _raise_first(faults: list[tuple[str, Exception]], method: str) -> None:
    for index, (whose, fault) in enumerate(faults):
        if whose == method:
            del faults[index]
            raise fault


class ScriptedLink:
    """A link whose connection is what the test says."""

    def __init__(self, home: ScriptedHome, address: PeerAddress, owner: LinkOwner) -> None:
        self.home = home
        self.address = address
        self.owner = owner
        self.state = LinkState.OPEN
        self.pulls_open = 0
        self.calls = 0
        """Also those that found no connection."""

    async def call(self, method: str, params: bytes, *, person: str, repeat: Repeat = Repeat.ONCE) -> object:
        self.calls += 1
        if self.state is not LinkState.OPEN:
            raise PeerUnreachable
        return await self.home.call(Sent(method, cbor2.loads(params), person, repeat))

    async def pull(self, params: bytes, *, person: str) -> AsyncGenerator[Chunk, None]:
        if self.state is not LinkState.OPEN:
            raise PeerUnreachable
        decoded = cbor2.loads(params)
        self.home.sent.append(Sent("pull", decoded, person, Repeat.ONCE))
        _raise_first(self.home.before, "pull")
        self.pulls_open += 1
        try:
            for index, chunk in enumerate(self.home.pull(decoded)):
                if index == self.home.pull_breaks_after:
                    raise PullBroken
                yield chunk
        finally:
            self.pulls_open -= 1

    def notify(self, method: str, params: bytes) -> None:
        self.home.notified.append((method, cbor2.loads(params)))

    def wake(self) -> None:
        """It is always awake."""

    async def aclose(self) -> None:
        self.state = LinkState.CLOSED

    async def reconnect(self) -> None:
        """A new connection, before anything else is sent over it."""

        async def call(method: str, params: bytes) -> object:
            return await self.home.call(Sent(method, cbor2.loads(params), "restore", Repeat.ONCE))

        await self.owner.restore(call)
        self.state = LinkState.OPEN
        self.owner.changed(self.state)

    def announce(self, method: str, **params: object) -> None:
        self.owner.heard(Notification(method, params))

    def announce_sync(self, space: str, record: dict[str, Any]) -> int:
        """The home tells of a push of somebody else."""
        cursor = self.home.write(space, record)
        self.announce(
            "sync",
            space=space,
            prev=cursor - 1,
            cursor=cursor,
            key_generation=3,
            records=[{**record, "cursor": cursor}],
        )
        return cursor


@dataclass(slots=True)
class Edge:
    """A running server and the homes it dials, by host."""

    live: Live
    homes: dict[str, ScriptedHome]
    forwarder: PeerForwarder

    @property
    def home(self) -> ScriptedHome:
        return self.homes[HOME]

    async def shared(self, owner: Person, *, at: str = HOME) -> str:
        """A space of this root key that is stored at a home, and known here."""
        space = str(uuid4())
        client = await self.live.join(owner)
        params = {"id": space, "root_public_key": owner.root_key, "home_server": at}
        await client.call("space.create", params)
        self.homes[at].spaces[space] = Stored()
        return space

    async def member(self, owner: Person, name: str, space: str) -> tuple[Client, str]:
        """Somebody who is let in, connected, with his UCAN."""
        person = Person(name)
        return await self.live.join(person), owner.grant(person, space, Permission.WRITE)


@asynccontextmanager
async def edge(
    database_url: str,
    *,
    limits: Limits | None = None,
    trusted: tuple[str, ...] = (HOME, "other.test"),
    own: tuple[str, ...] = ("edge.test",),
    can_sign: Callable[[], bool] = lambda: True,
    blobs: BlobStore | None = None,
    clock: Callable[[], float] = time.monotonic,
    linger_s: float = 60.0,
) -> AsyncIterator[Edge]:
    """A server whose peers are scripted: real sockets for its clients, a real database."""
    homes = {name: ScriptedHome() for name in (HOME, "other.test")}

    def make_link(address: PeerAddress, owner: LinkOwner) -> ScriptedLink:
        return homes[address.host].make_link(address, owner)

    settings = FederationSettings(trust=FederationTrust(trusted))
    async with live_server(database_url, limits, blobs=blobs) as live:
        services = live.services
        forwarder = PeerForwarder(
            Addresses(settings, lambda: own),
            services.announce,
            services.broker,
            make_link,
            can_sign=can_sign,
            linger_s=linger_s,
            clock=clock,
        )
        services.federate(forwarder)
        try:
            yield Edge(live, homes, forwarder)
        finally:
            for socket in live.opened:
                socket.abort()
            await forwarder.aclose()


def refusal(code: str) -> PeerRefused:
    """An error response."""
    return PeerRefused(code, "because")


def record(number: int, **more: object) -> dict[str, Any]:
    """One change to push."""
    return {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "blob": b"blob %d" % number,
        "expected_cursor": 0,
        **more,
    }


async def until(holds: Callable[[], object]) -> None:
    """Return once it holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  there is no event for what a test waits for
            await asyncio.sleep(0.005)
