"""Files over servers in processes of their own: killed between two steps, stopped, and two at once."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import cbor2
import pytest

from tests.integration.gated_server import COMMITTED, PUBLISHED, GatedServer
from tests.integration.waiting import until
from tests.live import Client
from tests.sync.file_requests import b64, dek, path, told
from tests.sync.raw_http import Connection, Response, connected
from tests.wire.client import open_socket
from tests.wire.issuer import AUDIENCE, new_issuer, served_key_set
from tests.wire.process import ServerProcess

ISSUER = "https://files.example"
TIMEOUT_S = 30.0
SIZE_BYTES = 600_000


@dataclass(frozen=True, slots=True)
class Site:
    """A database, a directory of contents, and a person who may use the servers over them."""

    settings: Mapping[str, str]
    directory: Path
    space: str
    record: str
    token: str

    def head(
        self, file: UUID, method: str = "GET", *, size_bytes: int | None = None, key: bytes = b""
    ) -> bytes:
        """A request's head; that of an upload if it has a size."""
        fields = {"Host": "h", "Authorization": f"Bearer {self.token}"}
        if size_bytes is not None:
            fields |= {
                "X-Record-ID": self.record,
                "X-Wrapped-DEK": b64(key),
                "Content-Length": str(size_bytes),
            }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {path(self.space, file)} HTTP/1.1\r\n{lines}\r\n".encode()

    def put(self, connection: Connection, file: UUID, number: int) -> None:
        """Send a whole upload, whose content and key are made of the same number."""
        body = bytes([number]) * SIZE_BYTES
        connection.send(self.head(file, "PUT", size_bytes=SIZE_BYTES, key=dek(bytes([number]))) + body)

    async def uploaded(self, port: int, file: UUID, number: int) -> int:
        async with connected(port) as connection:
            self.put(connection, file, number)
            return (await connection.receive()).status

    async def got(self, port: int, file: UUID) -> Response:
        async with connected(port) as connection:
            connection.send(self.head(file))
            return await connection.receive()

    async def client(self, port: int) -> Client:
        socket = await open_socket("127.0.0.1", port)
        socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": self.token}}))
        return Client(socket, self.space)

    def files(self) -> list[Path]:
        """Everything in the directory, what is being written too."""
        return [one for one in self.directory.rglob("*") if one.is_file()]

    def content_of(self, file: UUID) -> Path:
        return self.directory / "spaces" / self.space / "files" / str(file)


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    issuer, space, record = new_issuer(), str(uuid4()), str(uuid4())
    directory = tmp_path / "contents"
    claims = {"iss": ISSUER, "sub": "u", "client_id": "c", "scope": "sync files", "personal_space_id": space}
    async with served_key_set(issuer) as key_set_url:
        settings = {
            "DATABASE_URL": database_url,
            "TRUSTED_ISSUERS": f"{ISSUER}={key_set_url}",
            "AUDIENCES": AUDIENCE,
            "DATA_DIR": str(tmp_path / "data"),
            "FILE_STORAGE_BACKEND": "local",
            "FILE_STORAGE_PATH": str(directory),
        }
        here = Site(settings, directory, space, record, issuer.token({**claims, "mailbox_id": "ab" * 32}))
        async with ServerProcess(settings) as server:
            pushed = await (await here.client(server.port)).push(
                {"id": record, "expected_cursor": 0, "blob": b"x"}
            )
            assert pushed["ok"]
        yield here


def is_of(response: Response, number: int) -> bool:
    """Whether content and key are both those of one upload."""
    key = response.header("x-wrapped-dek") == b64(dek(bytes([number])))
    return key and response.body == bytes([number]) * SIZE_BYTES


async def test_a_server_killed_in_mid_body_has_nothing_of_the_file(site: Site) -> None:
    file = uuid4()
    async with ServerProcess(site.settings) as server, connected(server.port) as connection:
        head = site.head(file, "PUT", size_bytes=SIZE_BYTES, key=dek(b"\x01"))
        connection.send(head + bytes(SIZE_BYTES - 1))

        async def begun() -> bool:
            return [one.stat().st_size > 0 for one in site.files()] == [True]

        await until(begun)
        await server.kill()
    assert not site.content_of(file).exists()
    async with ServerProcess(site.settings) as server:
        assert (await site.got(server.port, file)).status == 404
        assert await site.uploaded(server.port, file, 2) == 201
        assert is_of(await site.got(server.port, file), 2)


async def test_a_server_killed_before_the_row_is_written_serves_nothing_and_the_retry_replaces_it(
    site: Site,
) -> None:
    file = uuid4()
    async with GatedServer(PUBLISHED, site.settings) as doomed, connected(doomed.port) as connection:
        site.put(connection, file, 1)
        await doomed.reached()
        assert site.files() == [site.content_of(file)]
        await doomed.kill()
        assert await connection.ended() == b""
    async with ServerProcess(site.settings) as server:
        assert (await site.got(server.port, file)).status == 404
        client = await site.client(server.port)
        await client.subscribe()
        assert await site.uploaded(server.port, file, 2) == 201
        assert is_of(await site.got(server.port, file), 2)
        assert await client.methods_heard() == ["file"]


async def test_a_server_killed_after_the_row_was_committed_has_the_file_and_the_retry_is_told_so(
    site: Site,
) -> None:
    file = uuid4()
    async with GatedServer(COMMITTED, site.settings) as doomed, connected(doomed.port) as connection:
        site.put(connection, file, 1)
        await doomed.reached()
        await doomed.kill()
        assert await connection.ended() == b""
    async with ServerProcess(site.settings) as server:
        assert is_of(await site.got(server.port, file), 1)
        assert await site.uploaded(server.port, file, 2) == 204
        assert is_of(await site.got(server.port, file), 1)
        names = [name for name, _ in await (await site.client(server.port)).pull(1)]
        assert names == ["pull.begin", "pull.file", "pull.commit"]


async def test_a_stop_lets_an_upload_under_way_come_to_its_end(site: Site) -> None:
    file = uuid4()
    body = b"\x01" * SIZE_BYTES
    async with ServerProcess(site.settings) as server, connected(server.port) as connection:
        connection.send(site.head(file, "PUT", size_bytes=SIZE_BYTES, key=dek(b"\x01")) + body[:-1])

        async def begun() -> bool:
            return [one.stat().st_size > 0 for one in site.files()] == [True]

        await until(begun)
        server.signal(signal.SIGTERM)

        async def stopping() -> bool:
            return any("shutting down" in line for line in server.output)

        await until(stopping)
        connection.send(body[-1:])
        assert (await connection.receive()).status == 201
        assert await server.wait(TIMEOUT_S) == 0
    async with ServerProcess(site.settings) as server:
        assert is_of(await site.got(server.port, file), 1)


async def test_an_upload_that_outlasts_the_grace_period_leaves_nothing(site: Site) -> None:
    file = uuid4()
    settings = {**site.settings, "SHUTDOWN_GRACE_SECONDS": "1"}
    async with ServerProcess(settings) as server, connected(server.port) as connection:
        connection.send(
            site.head(file, "PUT", size_bytes=SIZE_BYTES, key=dek(b"\x01")) + bytes(SIZE_BYTES - 1)
        )

        async def begun() -> bool:
            return [one.stat().st_size > 0 for one in site.files()] == [True]

        await until(begun)
        server.signal(signal.SIGTERM)
        assert await server.wait(TIMEOUT_S) == 0
        answer = await connection.receive()
        assert told(answer) == (500, "internal error")
        assert answer.header("access-control-allow-origin") == "*"
    assert site.files() == []


async def test_of_ten_uploads_of_one_file_to_two_servers_one_wins(site: Site) -> None:
    file = uuid4()
    async with AsyncExitStack() as stack:
        ports = [(await stack.enter_async_context(ServerProcess(site.settings))).port for _ in range(2)]
        statuses = await asyncio.gather(*(site.uploaded(ports[n % 2], file, n) for n in range(10)))
        assert sorted(statuses) == [201] + [204] * 9
        winner = statuses.index(201)
        for port in ports:
            assert is_of(await site.got(port, file), winner)
        (_, begin), (_, entry), _ = await (await site.client(ports[0])).pull(1)
        assert (begin["cursor"], entry["cursor"]) == (2, 2)
    assert site.files() == [site.content_of(file)]


async def test_the_log_holds_no_key_of_a_file_and_no_ids_at_info(site: Site) -> None:
    file, forged = uuid4(), uuid4()
    async with ServerProcess({**site.settings, "LOG_LEVEL": "trace"}) as server:
        assert await site.uploaded(server.port, file, 1) == 201
        assert is_of(await site.got(server.port, file), 1)
        site.content_of(file).unlink()
        assert (await site.got(server.port, file)).status == 404
        assert await site.uploaded(server.port, file, 2) == 201
        site.content_of(file).write_bytes(b"short")
        assert (await site.got(server.port, file)).status == 500
        async with connected(server.port) as connection:
            connection.send(site.head(forged, "PUT", size_bytes=5, key=dek() + b"x") + b"12345")
            assert (await connection.receive()).status == 400
        server.signal(signal.SIGTERM)
        assert await server.wait(TIMEOUT_S) == 0
    said = "\n".join(server.output)
    keys = [b64(dek(bytes([number]))) for number in (1, 2)]
    for secret in (site.token, site.token[:40], *keys, keys[0][8:40], dek(b"\x01").hex()):
        assert secret not in said
    lines = [line for line in server.output if site.space in line or str(file) in line]
    assert len(lines) == 2  # the repair and the wrong length
    assert all(" WARN " in line or " ERROR " in line for line in lines)
    assert str(forged) not in said
