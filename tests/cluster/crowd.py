"""People at several nodes who write and listen without a pause, and a witness who counts what they were told.

Everybody behaves as clients do (docs/protocol.md 6, 13.4), but comes back at once: a listener applies what
follows upon its cursor, pulls what does not, and keeps what it knows when its connection ends.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import cbor2
from websockets.exceptions import InvalidState

from less_sync.auth import Permission
from less_sync.sync.protocol.frames import Chunk, Notification, Response, decode_server_frame
from tests.live import Client, Person, cid_of, claims
from tests.wire.client import Closed, Event, Message, Refused, open_socket
from tests.wire.issuer import Issuer

TIMEOUT_S: Final = 60.0
PAUSE_S: Final = 0.05
"""Between an answer and the next push of a writer; between two attempts to connect."""
GOING: Final = Closed(1001, "server shutting down")


class Lost(Exception):
    """The connection ended; the argument says how."""

    def __init__(self, event: Event) -> None:
        super().__init__(event)
        self.event = event


class Caller(Client):
    """A client whose server may die."""

    def send(self, method: str, params: Mapping[str, object]) -> str:
        """Send a request, which goes nowhere if a close frame has come: `next` says so then."""
        try:
            return super().send(method, params)
        except InvalidState:
            return ""

    async def next(self) -> Response | Chunk | Notification:
        """The next frame.

        Raises:
            Lost: there is none.
        """
        if self.unread:
            return self.unread.pop(0)
        event = await self.socket.receive(TIMEOUT_S)
        if not isinstance(event, Message):
            raise Lost(event)
        frame = decode_server_frame(event.data)
        assert frame is not None
        return frame


@dataclass
class Place:
    """A node as clients see it: the address is another one after a restart."""

    port: int


@dataclass(frozen=True)
class Space:
    """A shared space, or one that its person calls personal."""

    id: str
    owner: Person
    shared: bool

    def ucan(self, person: Person) -> str:
        """What lets somebody in."""
        return self.owner.grant(person, self.id) if self.shared else ""


@dataclass
class Member(ABC):
    """Somebody at one node, in one space, who comes back whenever the connection ends."""

    crowd: "Crowd"
    place: Place
    space: Space
    person: Person
    ends: list[Event] = field(default_factory=list)
    """How connections ended, that were not ended here."""
    refused: list[str] = field(default_factory=list)
    """Connections that were not made."""
    client: Caller | None = None

    def __post_init__(self) -> None:
        self.ucan = self.space.ucan(self.person)
        mine = {} if self.space.shared else {"personal_space_id": self.space.id}
        self._token = self.crowd.issuer.token(claims(self.person.name, did=self.person.did, **mine))

    async def connected(self) -> Caller:
        """A new connection; tries until there is one."""
        while True:
            try:
                socket = await open_socket("127.0.0.1", self.place.port)
            except (OSError, EOFError, Refused) as error:
                self.refused.append(repr(error))
                await asyncio.sleep(PAUSE_S)
                continue
            auth = {"type": 2, "method": "auth", "params": {"token": self._token}}
            with suppress(InvalidState):  # it was closed already, as `next` will say
                socket.send(cbor2.dumps(auth))
            self.client = Caller(socket, self.space.id)
            return self.client

    async def run(self) -> None:
        """Do what it does, for ever."""
        while True:
            client = await self.connected()
            try:
                await self.take_part(client)
            except Lost as lost:
                self.ends.append(lost.event)
            finally:
                client.socket.abort()

    @abstractmethod
    async def take_part(self, client: Caller) -> None:
        """Do it over one connection, until that is lost."""

    @property
    def closes(self) -> set[Closed]:
        """Those that came."""
        return {end for end in self.ends if isinstance(end, Closed)}


class Writer(Member):
    """Pushes one new record after the other while the crowd is `busy`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.acknowledged: dict[str, int] = {}
        """Record by record the cursor that was answered."""
        self.pushing = False

    async def take_part(self, client: Caller) -> None:
        while True:
            await self.crowd.busy.wait()
            id, self.pushing = str(uuid4()), True
            change = {"id": id, "blob": b"x", "expected_cursor": 0}
            try:
                answer = await client.push(change, space=self.space.id, ucan=self.ucan)
            finally:
                self.pushing = False
            assert answer["ok"], answer
            self.acknowledged[id] = answer["cursor"]
            await asyncio.sleep(PAUSE_S)


class Listener(Member):
    """Knows what its space holds, by what it is told and what it pulls when it has to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known: dict[str, int] = {}
        """Record by record its cursor."""
        self.cursor = 0
        self.pulls = 0
        self.told_last_s = 0.0
        """When a `sync` came last (`time.monotonic`)."""
        self.revoked = False
        self.subscribed = False
        self.events: set[bytes] = set()
        self.present: dict[str, bytes] = {}

    async def take_part(self, client: Caller) -> None:
        try:
            await self._listen(client)
        finally:
            self.subscribed = False

    async def _listen(self, client: Caller) -> None:
        answer = await client.subscribe(self.space.id, ucan=self.ucan, presence=True)
        if not answer["spaces"]:
            assert self.revoked, (answer, self.space)
            await client.next()
            raise AssertionError("somebody who was not let in was told something")
        known = answer["spaces"][0]["cursor"]
        self.present = {peer["peer"]: peer["data"] for peer in answer["spaces"][0].get("peers", [])}
        if known > self.cursor:
            await self._pull(client)
        self.subscribed = True
        told = 0
        while True:
            frame = await client.next()
            assert isinstance(frame, Notification), frame
            params: Any = frame.params
            match frame.method:
                case "sync":
                    # The first may tell of what was known by the answer (docs/protocol.md 6.2).
                    assert told or params["prev"] <= known
                    told = await self._sync(client, params, told)
                case "event":
                    self.events.add(params["data"])
                case "presence":
                    self.present[params["peer"]] = params["data"]
                case "presence.leave":
                    self.present.pop(params["peer"], None)
                case "revoked":
                    self.revoked = True
                case method:
                    raise AssertionError(f"nobody does anything that would be told as {method}")

    async def _sync(self, client: Caller, params: Mapping[str, Any], told: int) -> int:
        """Take one notice; the cursor that it told."""
        self.told_last_s = time.monotonic()
        prev, cursor, records = params["prev"], params["cursor"], params["records"]
        assert cursor > told, f"told {cursor} behind {told}"
        if records:
            assert told in (0, prev), f"told what follows {prev} behind {told}"
            cursors = [record["cursor"] for record in records]
            assert cursors == sorted(cursors)
            assert prev < cursors[0] <= cursors[-1] <= cursor
        if cursor > self.cursor:
            if records and prev == self.cursor:
                self.known |= {record["id"]: record["cursor"] for record in records}
                self.cursor = cursor
            else:
                await self._pull(client)
        return int(cursor)

    async def _pull(self, client: Caller) -> None:
        self.pulls += 1
        id = client.send("pull", {"spaces": [{"id": self.space.id, "since": self.cursor, "ucan": self.ucan}]})
        response, chunks = await client.response(id)
        assert response.error is None, response.error
        for chunk in chunks:
            data: Any = chunk.data
            if chunk.name == "pull.record":
                self.known[data["id"]] = data["cursor"]
            elif chunk.name == "pull.commit":
                self.cursor = data["cursor"]


@dataclass
class Crowd:
    """Everybody, and what the witness asks of them. Made by `crowd`."""

    issuer: Issuer
    database_url: str
    writers: list[Writer] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    guests: list[Listener] = field(default_factory=list)
    """Listeners whose access is to be revoked."""
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Have somebody do it until the crowd goes home."""
        self.tasks.append(asyncio.create_task(work))

    async def gather(self, *places: Place, guests: int = 0) -> None:
        """Two shared and two personal spaces, and in each a writer and a listener at every node.

        Args:
            guests: of the shared spaces, at the last node.
        """
        alice, bob = Person("alice"), Person("bob")
        spaces = [await self._shared(alice, places[0]) for _ in range(2)]
        spaces += [Space(str(uuid4()), person, shared=False) for person in (alice, bob)]
        for number, space in enumerate(spaces):
            for place in places:
                # A mailbox may have so many connections, and each notices the end of its own access alone.
                writer, listener = (
                    Person(f"{role} {number} {place.port}") if space.shared else space.owner
                    for role in ("writer", "listener")
                )
                self.writers.append(Writer(self, place, space, writer))
                self.listeners.append(Listener(self, place, space, listener))
        self.guests = [
            Listener(self, places[-1], spaces[number % 2], Person(f"guest {number}"))
            for number in range(guests)
        ]
        for member in (*self.listeners, *self.guests, *self.writers):
            self.start(member.run())
        await self.until(lambda: all(one.subscribed for one in (*self.listeners, *self.guests)))
        self.busy.set()
        # What fails next may keep a writer away until the crowd pauses: nobody begins with nothing.
        await self.until(lambda: all(writer.acknowledged for writer in self.writers))

    async def _shared(self, owner: Person, place: Place) -> Space:
        space = Space(str(uuid4()), owner, shared=True)
        client = await Writer(self, place, space, owner).connected()
        await client.call("space.create", {"id": space.id, "root_public_key": owner.root_key})
        client.socket.abort()
        return space

    async def revoke(self, guest: Listener, place: Place) -> float:
        """Take a guest's access back at a node; when that was acknowledged (`time.monotonic`)."""
        owner = Writer(self, place, guest.space, guest.space.owner)
        client = await owner.connected()
        right = owner.person.grant(owner.person, guest.space.id, Permission.ADMIN)
        params = {"space": guest.space.id, "ucan": right, "ucan_cid": cid_of(guest.ucan)}
        assert await client.call("membership.revoke", params) == {}
        acknowledged_s = time.monotonic()
        client.socket.abort()
        return acknowledged_s

    async def until(self, true: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Wait until something holds; fails at once with whoever was told what is wrong."""
        async with asyncio.timeout(timeout_s):
            while not true():
                for task in self.tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def wait(self, seconds: float) -> None:
        """Let the crowd go on for so long."""
        end = time.monotonic() + seconds
        await self.until(lambda: time.monotonic() >= end)

    async def all_heard(self, within_s: float) -> float:
        """Have everybody pause, and wait until each listener knows what is in the database; seconds.

        Fails when a push that was acknowledged is not there, when somebody knows of one that is not, and
        when it takes longer than `within_s`.
        """
        self.busy.clear()
        await self.until(lambda: not any(writer.pushing for writer in self.writers))
        begun = time.monotonic()
        stored: dict[str, dict[str, int]] = {}
        try:
            async with asyncio.timeout(within_s):
                while True:
                    stored = await self._stored()
                    if all(one.known == stored[one.space.id] for one in self.listeners):
                        break
                    await self.wait(0.05)
        except TimeoutError:
            wrong = {
                (one.person.name, one.place.port): one.known.items() ^ stored[one.space.id].items()
                for one in self.listeners
            }
            raise AssertionError(f"not told within {within_s} s: {wrong}") from None
        seconds = time.monotonic() - begun
        for writer in self.writers:
            assert writer.acknowledged
            assert writer.acknowledged.items() <= stored[writer.space.id].items()
        self.busy.set()
        return seconds

    async def _stored(self) -> dict[str, dict[str, int]]:
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = await connection.fetch("SELECT space_id, id, cursor FROM records")
        finally:
            await connection.close()
        stored: dict[str, dict[str, int]] = {one.space.id: {} for one in self.listeners}
        for space, id, cursor in rows:
            stored[str(UUID(str(space)))][str(id)] = cursor
        return stored

    async def events_cross(self, teller: Listener, ear: Listener, *, within_s: float) -> bool:
        """Whether what one says in their space reaches the other."""
        said = set()
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            word = uuid4().bytes
            said.add(word)
            if teller.client is not None and not teller.client.socket.lost:
                teller.client.notify("event.send", {"space": teller.space.id, "data": word})
            await self.wait(0.1)
            if said & ear.events:
                return True
        return False

    def closes(self) -> set[Closed]:
        """Every close that anybody got."""
        everybody = (*self.writers, *self.listeners, *self.guests)
        return set().union(*(one.closes for one in everybody))

    def ends(self) -> int:
        """Connections that were lost."""
        return sum(len(one.ends) for one in (*self.writers, *self.listeners, *self.guests))


@asynccontextmanager
async def crowd(issuer: Issuer, database_url: str) -> AsyncIterator[Crowd]:
    """A crowd that goes home at the end."""
    made = Crowd(issuer, database_url)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
