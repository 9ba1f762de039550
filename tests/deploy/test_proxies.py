"""What the proxy examples let through, by a real nginx and a real Caddy before a real server."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from less_sync import FileClient, PushChange, SyncClient, personal_space
from less_sync.bins.dev import DevPeople
from less_sync.sync.files.space_files import FILE_BYTES_MAX
from less_sync.sync.protocol.codes import SUBPROTOCOLS
from less_sync.sync.protocol.messages import PullRecord
from tests.bins.test_server import call, signed_in_at
from tests.deploy.proxies import Caddy, Nginx, Proxy, proxy_before
from tests.federation.signed import Peer, upgrade
from tests.ports import ADDRESS
from tests.sync.raw_http import Connection, Response, connected, fetch
from tests.wire.client import KEEPALIVE, Closed, Message
from tests.wire.process import ServerProcess

TIMEOUT_S: Final = 30.0
FILE_BYTES: Final = 20 * 1024 * 1024
PIECE_BYTES: Final = 1024 * 1024
UCAN_BYTES_MAX: Final = 65_536
PEER: Final = Peer("peer.example")
KEEPALIVES: Final = 3


@dataclass(frozen=True, slots=True)
class Site:
    """A server, and the proxy before it."""

    server: ServerProcess
    proxy: Proxy
    data_dir: Path

    @property
    def url(self) -> str:
        return f"ws://{ADDRESS}:{self.proxy.ports.plain}/api/v1/ws"

    async def token(self) -> str:
        return DevPeople(self.data_dir).token("alice")

    async def authorization(self) -> str:
        return f"Authorization: Bearer {await self.token()}\r\n"

    async def both_ways(self, method: str, target: str, headers: str) -> tuple[Response, Response]:
        """The answers to one request: through the proxy, and of the server itself."""
        through = await fetch(self.proxy.ports.plain, method, target, headers)
        return through, await fetch(self.server.port, method, target, headers)


@pytest.fixture(params=[Nginx, Caddy], ids=["nginx", "caddy"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    settings = {
        "DATA_DIR": str(tmp_path / "data"),
        "LIMIT_KEEPALIVE_INTERVAL_S": "0.3",
        "ADMIN_ADDR": f"{ADDRESS}:0",
        "FEDERATION_TRUSTED_KEYS": f"{PEER.key_id}={PEER.entry()['x']}",
        "FEDERATION_TRUST_FORWARDED_PROTO": "true",
    }
    async with ServerProcess(settings) as server:
        async with proxy_before(request.param, server.port, tmp_path / "proxy") as proxy:
            yield Site(server, proxy, tmp_path / "data")


async def content() -> AsyncIterator[bytes]:
    for number in range(FILE_BYTES // PIECE_BYTES):
        yield bytes([number]) * PIECE_BYTES


async def pushed(client: SyncClient, space: str, blob: bytes) -> UUID:
    record = uuid4()
    result = await client.push(space, [PushChange(id=str(record), blob=blob, expected_cursor=0)])
    assert result.ok, result
    return record


async def test_an_upgrade_by_tls_passes_with_its_subprotocol(site: Site) -> None:
    url = f"wss://{ADDRESS}:{site.proxy.ports.tls}/api/v1/ws"
    for name in SUBPROTOCOLS:
        async with connect(url, ssl=site.proxy.tls, subprotocols=[Subprotocol(name)], proxy=None) as socket:
            assert socket.subprotocol == name
            assert socket.response is not None
            assert socket.response.headers["X-Protocol-Version"] == "1"


async def test_what_is_pushed_is_pulled(site: Site) -> None:
    space = str(personal_space(await site.token()))
    async with SyncClient(site.url, site.token) as client:
        blob = os.urandom(3 * 1024 * 1024)
        record = await pushed(client, space, blob)
        pulled = [event async for event in client.pull(space, 0)]
    assert [(one.id, one.blob) for one in pulled if isinstance(one, PullRecord)] == [(str(record), blob)]


async def test_a_connection_that_only_hears_keepalives_stays_open(site: Site) -> None:
    socket = await signed_in_at(site.proxy.ports.plain, site.data_dir)
    heard = [await socket.receive_any(TIMEOUT_S) for _ in range(KEEPALIVES)]
    assert heard == [Message(KEEPALIVE, binary=True)] * KEEPALIVES
    assert await call(socket, "subscribe", {"spaces": []})
    socket.abort()


async def test_a_large_file_passes_both_ways_and_leaves_nothing_behind(site: Site) -> None:
    space, file = str(personal_space(await site.token())), uuid4()
    async with SyncClient(site.url, site.token) as client, FileClient(site.url, site.token) as files:
        record = await pushed(client, space, b"sealed")
        assert await files.upload(
            space, file, record=record, wrapped_dek=bytes(44), size_bytes=FILE_BYTES, content=content
        )
        async with files.download(space, file) as download:
            assert download is not None
            received = b"".join([piece async for piece in download.chunks()])
    assert received == b"".join([piece async for piece in content()])
    kept = [
        path for path in site.proxy.folder.rglob("*") if path.is_file() and path.stat().st_size > PIECE_BYTES
    ]
    assert kept == []


async def test_an_upload_that_is_refused_by_its_head_is_refused_while_it_is_sent(site: Site) -> None:
    target = f"/api/v1/spaces/{personal_space(await site.token())}/files/{uuid4()}"
    headers = (
        f"{await site.authorization()}Content-Length: {FILE_BYTES_MAX + 1}\r\n"
        f"X-Record-ID: {uuid4()}\r\nX-Wrapped-DEK: {'A' * 59}=\r\n"
    )
    async with connected(site.proxy.ports.plain) as connection:
        connection.send(f"PUT {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode())
        answered, sent = asyncio.create_task(connection.receive()), 0
        # Caddy hands an answer on between two pieces of a body, not while it waits for one.
        while not answered.done() and sent < FILE_BYTES_MAX:
            connection.send(bytes(PIECE_BYTES))
            sent += PIECE_BYTES
            await connection.writer.drain()
            await asyncio.sleep(0.01)
        answer = await answered
    assert sent < FILE_BYTES_MAX
    assert (answer.status, answer.body) == (413, b'{"error":"file exceeds 100 MB limit"}')


async def test_a_ucan_of_64_kib_reaches_the_server(site: Site) -> None:
    target = f"/api/v1/spaces/{uuid4()}/files/{uuid4()}"
    for too_many in (0, 1):
        headers = f"{await site.authorization()}X-UCAN: {'a' * (UCAN_BYTES_MAX + too_many)}\r\n"
        through, direct = await site.both_ways("GET", target, headers)
        assert (through.status, through.body) == (direct.status, direct.body)
        assert through.body.startswith(b'{"error":')
        assert (b"too large" in through.body) is bool(too_many)


async def test_a_preflight_is_answered_by_the_server(site: Site) -> None:
    asked = "Origin: https://app.example\r\nAccess-Control-Request-Headers: x-ucan,x-wrapped-dek\r\n"
    through, direct = await site.both_ways("OPTIONS", f"/api/v1/spaces/{uuid4()}/files/{uuid4()}", asked)
    assert through.status == direct.status == 204

    def of_cors(answer: Response) -> list[tuple[str, str]]:
        return sorted(field for field in answer.headers if field[0].startswith("access-control-"))

    assert of_cors(through) == of_cors(direct) != []


async def test_nothing_leads_to_the_admin_listener(site: Site) -> None:
    for path in ("/metrics", "/readyz", "/healthz", "/drain", "/debug/pprof/"):
        answer = await fetch(site.proxy.ports.plain, "GET", path, await site.authorization())
        assert (path, answer.status, answer.body) == (path, 404, b"")


async def peer_upgrade(connection: Connection, port: int, scheme: str, claimed: str) -> int:
    """The status of an upgrade that a peer has signed for this scheme, and claims to make by that one."""
    headers = PEER.signature(f"{ADDRESS}:{port}", scheme=scheme)
    connection.send(upgrade({**headers, "X-Forwarded-Proto": claimed}))
    return (await connection.receive(body=False)).status


async def test_the_upgrade_of_a_peer_keeps_name_path_and_scheme(site: Site) -> None:
    port = site.proxy.ports.tls
    reader, writer = await asyncio.open_connection(ADDRESS, port, ssl=site.proxy.tls)
    assert await peer_upgrade(Connection(reader, writer), port, "wss", "http") == 101
    writer.close()


async def test_who_comes_without_tls_cannot_claim_it(site: Site) -> None:
    port = site.proxy.ports.plain
    for scheme, status in (("wss", 401), ("ws", 101)):
        async with connected(port) as connection:
            assert await peer_upgrade(connection, port, scheme, "https") == status


async def test_the_close_of_a_stopping_server_passes(site: Site) -> None:
    socket = await signed_in_at(site.proxy.ports.plain, site.data_dir)
    site.server.signal(signal.SIGTERM)
    assert await socket.receive(TIMEOUT_S) == Closed(1001, "server shutting down")
    assert await site.server.wait(TIMEOUT_S) == 0
    assert (await fetch(site.proxy.ports.plain, "GET", "/health")).status == 502
