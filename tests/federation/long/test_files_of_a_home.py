"""Files that a scripted home serves, or does not, as a real server passes them on to its clients."""

import asyncio
import json
import socket
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.auth import FederationTrust, Permission, SignedRequest, verify_request
from less_sync.bins.postgres.urls import driver_url
from less_sync.federation.outbound.addresses import Addresses
from less_sync.federation.outbound.calls import LinkOwner, PeerAddress, PeerCalls
from less_sync.federation.outbound.files import FileLimits, HomeFiles
from less_sync.federation.outbound.forwarder import PeerForwarder
from less_sync.federation.settings import FederationSettings
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE
from tests.federation.outbound.home import KEY, KEY_ID, Keys
from tests.live import Live, Person, live_server
from tests.sync.file_requests import dek, path, told
from tests.sync.raw_http import Connection, Response, connected

NOW: Final = 1_700_000_000
IMPATIENT: Final = FileLimits(head_timeout_s=0.5, silence_s=0.5)


def answer(status: str, *lines: str, body: bytes = b"", length: int | None = None) -> bytes:
    """One whole answer, or one whose length is a lie."""
    size = len(body) if length is None else length
    head = "\r\n".join((f"HTTP/1.1 {status}", "X-Protocol-Version: 1", *lines, f"Content-Length: {size}"))
    return head.encode() + b"\r\n\r\n" + body


def in_json(status: str, error: str) -> bytes:
    return answer(status, "Content-Type: application/json", body=json.dumps({"error": error}).encode())


@dataclass
class ScriptedHome:
    """Takes requests over any number of connections, and answers each with what `answers` has next."""

    answers: list[bytes] = field(default_factory=list)
    """The last one is for all that follow. An empty one: nothing is said, and the connection is kept."""
    then_close: bool = False
    requests: list[list[str]] = field(default_factory=list)
    """The lines of each head."""
    open: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request has come."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a connection has ended."""
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head.decode().split("\r\n")[:-2])
                self.asked.set()
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
                if self.then_close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self.ended.set()
            writer.close()

    def signed(self, number: int = -1) -> SignedRequest:
        """A request as its signature sees it."""
        first, *lines = self.requests[number]
        method, target, _ = first.split(" ")
        pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        return SignedRequest.of(method=method, target=target, headers=pairs)


def reset(connection: Connection) -> None:
    """Hang up so that the other end knows: one half that is closed is no hang-up (RFC 9112 9.6)."""
    linger = struct.pack("ii", 1, 0)
    connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.writer.transport.abort()


@dataclass
class Edge:
    """A server with a space of the scripted home, and somebody who may read it."""

    live: Live
    home: ScriptedHome
    space: str
    file: UUID
    person: Person
    ucan: str

    @property
    def head(self) -> str:
        token = self.live.token(self.person.name, did=self.person.did)
        return f"Host: h\r\nAuthorization: Bearer {token}\r\nX-UCAN: {self.ucan}\r\n"

    def begin(self, connection: Connection, method: str = "GET") -> None:
        connection.send(f"{method} {path(self.space, self.file)} HTTP/1.1\r\n{self.head}\r\n".encode())

    async def ask(self, method: str = "GET") -> Response:
        async with connected(self.live.port) as connection:
            self.begin(connection, method)
            return await connection.receive(body=method != "HEAD")

    def found(
        self, body: bytes, *more: str, length: int | None = None, changed: Mapping[str, str] = {}
    ) -> bytes:
        """The home's answer that has the file; a changed header is left out when it is empty."""
        fields = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{self.file}"',
            "X-Wrapped-DEK": b64encode(dek()).decode(),
            **changed,
        }
        lines = [f"{name}: {value}" for name, value in fields.items() if value]
        return answer("200 OK", *lines, *more, body=body, length=length)


@asynccontextmanager
async def edge_of(
    database_url: str,
    *,
    limits: FileLimits | None = None,
    keys: Keys | None = None,
    schemes: Sequence[str] | None = None,
    nonces: Callable[[], str] | None = None,
) -> AsyncIterator[Edge]:
    home, numbers = ScriptedHome(), count()
    server = await asyncio.start_server(home.serve, "127.0.0.1", 0)
    home.port = server.sockets[0].getsockname()[1]
    url = f"ws://127.0.0.1:{home.port}/api/v1/federation/ws"
    settings = FederationSettings(trust=FederationTrust(("home.test",)), peer_urls={"home.test": url})
    keys = keys or Keys()
    files = HomeFiles(
        keys,
        now=lambda: NOW,
        tls=ssl.create_default_context(),
        new_nonce=nonces or (lambda: f"n{next(numbers)}"),
        schemes=schemes,
        limits=limits or FileLimits(),
    )

    def no_link(address: PeerAddress, owner: LinkOwner) -> PeerCalls:
        raise AssertionError("files need no link")

    async with server, live_server(database_url, blobs=MemoryBlobs()) as live:
        services = live.services
        addresses = Addresses(settings, lambda: ("edge.test",))
        forwarder = PeerForwarder(
            addresses,
            services.announce,
            services.broker,
            no_link,
            can_sign=lambda: keys.primary() is not None,
            files=lambda: files,
        )
        services.federate(forwarder)
        owner, person, space = Person("owner"), Person("reader"), str(uuid4())
        connection = await asyncpg.connect(driver_url(database_url))
        try:
            await connection.execute(
                "INSERT INTO spaces (id, client_id, root_public_key, home_server) VALUES ($1, '', $2, $3)",
                space,
                owner.root_key,
                "home.test",
            )
        finally:
            await connection.close()
        try:
            yield Edge(live, home, space, uuid4(), person, owner.grant(person, space, Permission.READ))
        finally:
            await forwarder.aclose()


@pytest.fixture
async def edge(database_url: str) -> AsyncIterator[Edge]:
    async with edge_of(database_url) as made:
        yield made


async def test_a_request_is_signed_with_its_ucan_and_a_nonce_of_its_own(edge: Edge) -> None:
    edge.home.answers = [edge.found(b"content")]
    for method in ("GET", "GET", "HEAD"):
        if method == "HEAD":
            edge.home.answers = [edge.found(b"", length=7)]
        assert (await edge.ask(method)).status == 200
    public, seen = bytes(KEY.verify_key), set()
    for number, lines in enumerate(edge.home.requests):
        target = f"/api/v1/federation/spaces/{edge.space}/files/{edge.file}"
        assert lines[0] == f"{'HEAD' if number == 2 else 'GET'} {target} HTTP/1.1"
        fields = dict(line.split(": ", 1) for line in lines[1:])
        assert fields.keys() == {"Host", "X-UCAN", "Signature-Input", "Signature"}, "and no credential"
        assert fields["X-UCAN"] == edge.ucan
        assert fields["Host"] == f"127.0.0.1:{edge.home.port}"
        verified = verify_request(
            edge.home.signed(number), key_of=lambda key_id: public if key_id == KEY_ID else None, now=NOW
        )
        assert verified.components == ("@method", "@target-uri", "host", "x-ucan")
        assert f'"@target-uri": http://127.0.0.1:{edge.home.port}{target}\n' in verified.base
        seen.add(verified.signature)
    assert len(seen) == 3


async def test_only_what_is_said_of_the_file_is_passed_on(edge: Edge) -> None:
    edge.home.answers = [
        edge.found(
            b"content", "Set-Cookie: a=b", "Location: http://x/", changed={"Content-Type": "text/html"}
        )
    ]
    response = await edge.ask()
    assert (response.status, response.body) == (200, b"content")
    assert response.header("content-type") == "application/octet-stream"
    assert response.header("etag") == f'"{edge.file}"'
    assert response.header("x-wrapped-dek") == b64encode(dek()).decode()
    names = {name for name, _ in response.headers}
    assert not names & {"set-cookie", "location"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("said", "status", "error"),
    [
        (in_json("404 Not Found", "file not found"), 404, "file not found"),
        (in_json("403 Forbidden", "access denied"), 403, "access denied"),
        # Existing servers, which have no such route.
        (in_json("401 Unauthorized", "missing authorization"), 409, HOSTED_ELSEWHERE),
        (answer("404 Not Found"), 409, HOSTED_ELSEWHERE),
        # A home that does not take our signature, or does not trust us.
        (answer("401 Unauthorized", "Content-Type: text/plain; charset=utf-8"), 502, ""),
        (answer("403 Forbidden", "Content-Type: text/plain; charset=utf-8"), 502, ""),
        (answer("400 Bad Request", "Content-Type: text/plain; charset=utf-8"), 502, ""),
        (answer("302 Found", "Location: http://127.0.0.1:1/"), 502, ""),
        (in_json("429 Too Many Requests", "too many requests are waiting"), 503, ""),
        (in_json("500 Internal Server Error", "internal error"), 503, ""),
        (answer("503 Service Unavailable"), 503, ""),
        (b"SSH-2.0-x\r\n\r\n", 503, ""),
    ],
)
async def test_what_a_home_answers_otherwise(
    edge: Edge, said: bytes, status: int, error: str, method: str
) -> None:
    edge.home.then_close = True  # so that an answer to HEAD may have a body here
    edge.home.answers = [said]
    response = await edge.ask(method)
    words = {502: "invalid answer of the home server", 503: "home server unavailable"}
    assert response.status == status
    assert response.header("retry-after") == ("5" if status in words else None)
    if method == "GET":
        assert told(response) == (status, error or words[status])


@pytest.mark.parametrize(
    "changed",
    [
        {"ETag": '"x"'},
        {"ETag": ""},
        {"X-Wrapped-DEK": ""},
        {"X-Wrapped-DEK": "AAAA"},
        {"X-Wrapped-DEK": "A" * 60},
        {"Transfer-Encoding": "chunked"},
    ],
)
async def test_a_file_that_is_not_rightly_described_is_502(edge: Edge, changed: dict[str, str]) -> None:
    edge.home.answers = [edge.found(b"content", changed=changed)]
    assert told(await edge.ask()) == (502, "invalid answer of the home server")


async def test_a_file_of_unknown_length_is_502(edge: Edge) -> None:
    whole = edge.found(b"content")
    edge.home.then_close = True
    edge.home.answers = [whole.replace(b"Content-Length: 7\r\n", b"")]
    assert told(await edge.ask()) == (502, "invalid answer of the home server")


@pytest.mark.parametrize("closes", [True, False])
async def test_a_body_that_is_too_short_breaks_the_clients_connection(
    database_url: str, closes: bool
) -> None:
    """Whether the home hangs up, or says nothing more for too long."""
    async with edge_of(database_url, limits=IMPATIENT) as edge, connected(edge.live.port) as connection:
        edge.home.then_close = closes
        edge.home.answers = [edge.found(b"cont", length=7)]
        edge.begin(connection)
        with pytest.raises(asyncio.IncompleteReadError) as short:
            await connection.receive()
        assert short.value.partial == b"cont"
        assert await connection.ended() == b""


async def test_what_follows_a_body_is_none_of_it(edge: Edge) -> None:
    edge.home.answers = [edge.found(b"content and more", length=7)]
    async with connected(edge.live.port) as connection:
        for _ in range(2):
            edge.begin(connection)
            assert (await connection.receive()).body == b"content"


async def test_a_home_that_says_nothing_is_503(database_url: str) -> None:
    async with edge_of(database_url, limits=IMPATIENT) as edge:
        edge.home.answers = [b""]
        assert told(await edge.ask()) == (503, "home server unavailable")
        await edge.home.ended.wait()
        assert edge.home.open == 0


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_hangs_up_ends_the_request_whatever_is_waited_for(
    database_url: str, begun: bool
) -> None:
    """The head, or a byte of the content: waits that would be long."""
    async with edge_of(database_url, limits=FileLimits()) as edge:
        edge.home.answers = [edge.found(b"cont", length=7) if begun else b""]
        async with connected(edge.live.port) as connection:
            edge.begin(connection)
            if begun:
                await connection.reader.readuntil(b"cont")
            async with asyncio.timeout(10):
                await edge.home.asked.wait()
            reset(connection)
        async with asyncio.timeout(10):
            await edge.home.ended.wait()


async def test_a_connection_that_the_home_had_closed_is_no_fault(edge: Edge) -> None:
    edge.home.answers = [edge.found(b"content")]
    assert (await edge.ask()).body == b"content"
    # The home takes the second request over the connection that rests, and closes it unanswered.
    edge.home.then_close = True
    edge.home.answers = [b"", edge.found(b"content")]
    assert (await edge.ask()).body == b"content"
    assert len(edge.home.requests) == 3
    signatures = {edge.home.signed(number).headers["signature"] for number in range(3)}
    assert len(signatures) == 3


async def test_another_scheme_is_signed_when_the_first_is_refused(database_url: str) -> None:
    refused = answer("401 Unauthorized", "Content-Type: text/plain", body=b"signature verification failed")
    async with edge_of(database_url) as edge:
        edge.home.answers = [refused, edge.found(b"content")]
        assert (await edge.ask()).body == b"content"
        edge.home.answers = [refused]
        assert (await edge.ask()).status == 502
        assert len(edge.home.requests) == 4
        assert len({request[0] for request in edge.home.requests}) == 1
    async with edge_of(database_url, schemes=("https",)) as edge:
        edge.home.answers = [refused]
        assert (await edge.ask()).status == 502
        assert len(edge.home.requests) == 1


async def test_without_a_key_to_sign_with_nobody_is_asked(database_url: str) -> None:
    async with edge_of(database_url, keys=Keys(None)) as edge:
        assert told(await edge.ask()) == (503, "home server unavailable")
        assert edge.home.requests == []


async def test_a_person_has_so_many_requests_at_a_home_and_so_many_waiting(database_url: str) -> None:
    limits = FileLimits(at_once=2, at_once_per_person=1, waiting_per_person=1)
    async with edge_of(database_url, limits=limits) as edge:
        edge.home.answers = [edge.found(b"cont", length=7)]
        async with (
            connected(edge.live.port) as first,
            connected(edge.live.port) as second,
            connected(edge.live.port) as third,
        ):
            edge.begin(first)
            await first.reader.readuntil(b"cont")
            edge.home.answers = [edge.found(b"content")]
            both = []
            for one in (second, third):
                edge.begin(one)
                both.append(asyncio.create_task(one.receive()))
            done, waiting = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            busy = done.pop().result()
            assert told(busy) == (429, "too many requests are waiting")
            assert busy.header("retry-after") == "5"
            assert len(edge.home.requests) == 1
            # What is only asked about a file waits for no content.
            assert (await edge.ask("HEAD")).status == 200
            reset(first)
            assert (await waiting.pop()).body == b"content"
