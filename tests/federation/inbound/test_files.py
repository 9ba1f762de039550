"""The route of files for servers: who is let in, and what a peer is told, over real sockets."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.auth import Permission
from less_sync.bins.postgres.urls import driver_url
from less_sync.federation.gate import PeerGate
from less_sync.federation.inbound.files import COVERED_CHARS_MAX, COVERING, PeerFiles
from less_sync.federation.quotas import QuotaTracker
from less_sync.federation.routes import PeerRoutes
from less_sync.federation.settings import FederationSettings, PeerQuotas
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.limits import Limits
from less_sync.sync.services import Services
from tests.federation.signed import COVERED, Peer
from tests.live import Live, Person, cid_of, live_server
from tests.sync.file_requests import Shelf, dek, shelf
from tests.sync.http.test_app import has_common_headers
from tests.sync.raw_http import Connection, Response, connected

HOST: Final = "sync.example.com"
PEER: Final = Peer()
BAD: Final = (401, b"signature verification failed")
LIMITS: Final = Limits(file_downloads_per_person=1, file_requests_waiting_per_person=1)


class NoKeys:
    """A server without keys of its own."""

    async def jwks(self) -> bytes:
        return b'{"keys": []}'


def routes(settings: FederationSettings) -> Callable[[Services], PeerRoutes]:
    """What makes the routes of a server for peers."""

    def of(services: Services) -> PeerRoutes:
        assert services.files is not None
        gate = PeerGate(settings, covering=COVERING, covered_chars_max=COVERED_CHARS_MAX)
        files = PeerFiles(services, services.files, gate)
        return PeerRoutes(settings, QuotaTracker(PeerQuotas()), NoKeys(), files)

    return of


@dataclass
class Home:
    """A home with one file in a shared space, and a peer who asks for it."""

    live: Live
    own: Shelf
    owner: Person
    reader: Person
    file: UUID

    @property
    def space(self) -> str:
        return self.own.space

    @property
    def ucan(self) -> str:
        return self.owner.grant(self.reader, self.space, Permission.READ)

    def path(self, file: UUID | str = "", space: str = "") -> str:
        return f"/api/v1/federation/spaces/{space or self.space}/files/{file or self.file}"

    def signed(self, ucan: str = "", *, target: str = "", method: str = "GET", **more: Any) -> dict[str, str]:
        values = {"@method": method, "x-ucan": ucan or self.ucan}
        headers = PEER.signature(
            HOST,
            target=target or self.path(),
            values=values,
            **{"covered": (*COVERED, "x-ucan"), "scheme": "http", **more},
        )
        return {name: value for name, value in headers.items() if name != "@method"}

    async def ask(
        self, headers: Mapping[str, str] | None = None, *, target: str = "", method: str = "GET"
    ) -> Response:
        fields = self.signed(target=target, method=method) if headers is None else headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        async with connected(self.live.port) as connection:
            connection.send(f"{method} {target or self.path()} HTTP/1.1\r\n{lines}\r\n".encode())
            response = await connection.receive(body=method != "HEAD")
        assert has_common_headers(response)
        return response


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    settings = FederationSettings(trust=PEER.trust())
    async with live_server(database_url, LIMITS, blobs=MemoryBlobs(), federation=routes(settings)) as live:
        owner, reader, file = Person("alice"), Person("reader"), uuid4()
        client = await live.join(owner)
        space = await client.create_space(owner)
        ucan, record = owner.grant(owner, space), str(uuid4())
        await client.call(
            "push",
            {
                "space": space,
                "ucan": ucan,
                "changes": [{"id": record, "expected_cursor": 0, "blob": b"x"}],
            },
        )
        own = Shelf(live, client, record, "alice", space, {"x-ucan": ucan})
        token = live.token("alice", did=owner.did)
        assert (await own.put(file, b"content", authorization=f"Bearer {token}")).status == 201
        yield Home(live, own, owner, reader, file)


def text(response: Response) -> tuple[int, bytes]:
    """Status and body of an answer of the gate."""
    assert response.header("content-type") == "text/plain; charset=utf-8"
    return response.status, response.body


def told(response: Response) -> tuple[int, str]:
    return response.status, json.loads(response.body)["error"]


async def test_a_peer_gets_the_file_its_users_ucan_lets_him_read(home: Home) -> None:
    for method in ("GET", "HEAD"):
        response = await home.ask(method=method)
        assert response.status == 200
        assert response.body == (b"content" if method == "GET" else b"")
        assert response.header("content-length") == "7"
        assert response.header("etag") == f'"{home.file}"'
        assert response.header("x-wrapped-dek") == b64encode(dek()).decode()


async def test_any_scheme_may_be_signed_and_a_nonce_may_be_added(home: Home) -> None:
    for scheme in ("http", "https", "ws", "wss"):
        assert (await home.ask(home.signed(scheme=scheme))).status == 200
    one = home.signed()["Signature-Input"].partition(")")[2]
    for nonce in range(20):  # more than a signature may be used
        assert (await home.ask(home.signed(parameters=f'{one};nonce="{nonce}"'))).status == 200


async def test_what_is_not_signed_rightly_is_refused_in_the_words_of_the_upgrade(home: Home) -> None:
    good = home.signed()
    other = home.owner.grant(home.reader, home.space, Permission.READ)
    wrong: dict[str, Mapping[str, str]] = {
        "nothing signed": {"Host": HOST, "X-UCAN": home.ucan},
        "no UCAN": {name: value for name, value in good.items() if name != "x-ucan"},
        "another UCAN": good | {"x-ucan": other},
        "UCAN not covered": home.signed(covered=COVERED),
        "another file": home.signed(target=home.path(uuid4())),
        "another method": home.signed(method="HEAD"),
        "a query": home.signed(target=f"{home.path()}?x"),
        "another host": good | {"Host": "other.example.com"},
        "another key": good | {"Signature": "sig=:" + b64encode(bytes(64)).decode() + ":"},
        "a bearer token": {
            "Host": HOST,
            "X-UCAN": home.ucan,
            "Authorization": f"Bearer {home.live.token('reader', did=home.reader.did)}",
        },
    }
    assert {name: text(await home.ask(fields)) for name, fields in wrong.items()} == dict.fromkeys(wrong, BAD)
    assert (await home.ask(good)).status == 200


async def test_a_signature_is_good_for_a_handful_of_uses(home: Home) -> None:
    signed = home.signed()
    statuses = [(await home.ask(signed)).status for _ in range(10)]
    assert statuses == [200] * 8 + [401] * 2


async def test_a_server_that_is_not_trusted_is_told_so(database_url: str) -> None:
    settings = FederationSettings(trust=PEER.trust("other.example.com"))
    async with live_server(database_url, blobs=MemoryBlobs(), federation=routes(settings)) as live:
        own, person = await shelf(live), Person("alice")
        own.space = str(uuid4())
        home = Home(live, own, person, person, uuid4())
        assert text(await home.ask()) == (403, b"untrusted peer")


async def test_access_is_decided_as_for_a_pull_in_the_words_of_the_route_of_files(home: Home) -> None:
    nothing = home.path(uuid4())
    assert told(await home.ask(home.signed(target=nothing), target=nothing)) == (404, "file not found")
    no_ids = (home.path("x"), "invalid file ID"), (home.path(space="x"), "invalid space ID")
    for target, error in no_ids:
        assert told(await home.ask(home.signed(target=target), target=target)) == (400, error)
    # A space nobody has, and a personal one.
    for space in (str(uuid4()), home.own.client.space):
        target, ucan = home.path(space=space), home.owner.grant(home.reader, space)
        fields = home.signed(ucan, target=target)
        assert told(await home.ask(fields, target=target)) == (404, "file not found")
    stranger = Person("stranger").grant(home.reader, home.space)
    for ucan in (stranger, "x", home.owner.grant(home.reader, home.space, expires_at=1)):
        assert told(await home.ask(home.signed(ucan))) == (403, "access denied")
    empty = home.signed() | PEER.signature(
        HOST, target=home.path(), covered=(*COVERED, "x-ucan"), values={"x-ucan": ""}
    )
    assert told(await home.ask(empty)) == (401, "authorization required")


async def test_a_revoked_ucan_opens_nothing(home: Home) -> None:
    ucan = home.ucan
    assert (await home.ask(home.signed(ucan))).status == 200
    admin = home.owner.grant(home.owner, home.space, Permission.ADMIN)
    params = {"space": home.space, "ucan": admin, "ucan_cid": cid_of(ucan)}
    await home.own.client.call("membership.revoke", params)
    assert told(await home.ask(home.signed(ucan))) == (403, "access denied")


async def test_a_space_whose_home_is_elsewhere_is_not_served_nor_asked_for(
    home: Home, database_url: str
) -> None:
    connection = await asyncpg.connect(driver_url(database_url))
    try:
        await connection.execute("UPDATE spaces SET home_server = 'third.test'")
    finally:
        await connection.close()
    assert told(await home.ask()) == (403, "access denied")


async def test_a_ucan_may_have_64_kib(home: Home) -> None:
    assert told(await home.ask(home.signed("x" * 65_536))) == (403, "access denied")
    assert told(await home.ask(home.signed("x" * 65_537))) == (401, "X-UCAN header too large")


async def test_downloads_of_a_peer_take_the_places_of_one_person(home: Home) -> None:
    file, token = uuid4(), home.live.token("alice", did=home.owner.did)
    await home.own.put(file, bytes(16 * 1024 * 1024), authorization=f"Bearer {token}")
    target = home.path(file)

    def begin(connection: Connection) -> None:
        fields = home.signed(target=target)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        connection.send(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode())

    async with (
        connected(home.live.port) as slow,
        connected(home.live.port) as second,
        connected(home.live.port) as third,
    ):
        begin(slow)
        await slow.reader.readuntil(b"\r\n\r\n")
        both = []
        for one in (second, third):
            begin(one)
            both.append(asyncio.create_task(one.receive()))
        done, waiting = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        busy = done.pop().result()
        assert told(busy) == (429, "too many requests are waiting")
        assert busy.header("retry-after") == "5"
        # A file may be asked about meanwhile.
        assert (await home.ask(method="HEAD")).status == 200
        await slow.reader.readexactly(16 * 1024 * 1024)
        assert len((await waiting.pop()).body) == 16 * 1024 * 1024


async def test_other_methods_are_405(home: Home) -> None:
    response = await home.ask({"Host": HOST, "Content-Length": "0"}, method="PUT")
    assert (response.status, response.header("allow"), response.body) == (405, "GET,HEAD", b"")


@pytest.mark.parametrize("federation", ["off", "without files"])
async def test_without_the_route_nothing_shows_that_there_is_one(database_url: str, federation: str) -> None:
    settings = FederationSettings(trust=PEER.trust())
    peers = PeerRoutes(settings, QuotaTracker(PeerQuotas()), NoKeys())
    off = federation == "off"
    async with live_server(
        database_url, blobs=MemoryBlobs() if off else None, federation=None if off else peers
    ) as live:
        client, person = await live.connect("alice"), Person("alice")
        home = Home(live, Shelf(live, client, "", space=str(uuid4())), person, person, uuid4())
        for fields in (home.signed(), {"Host": HOST}):
            assert told(await home.ask(fields)) == (401, "missing authorization")
