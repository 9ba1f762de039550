"""Files of a space whose home is another server, between two real servers (docs/federation.md 10)."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import httpx
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from less_sync.auth import Permission
from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE
from tests.federation.certificates import private_authority
from tests.federation.pipe import Pipe
from tests.federation.rig import END_S, Node, Rig, Shared, rig
from tests.live import Client, Person, cid_of
from tests.sync.file_requests import b64, dek, path

MIB: Final = 1024 * 1024
OWN: Final = ("content-type", "content-length", "etag", "x-wrapped-dek")
"""Headers that say something of the file."""


@dataclass
class Shelf:
    """A shared space with a record at the home, and somebody who uses it at the edge."""

    rig: Rig
    pipe: Pipe
    """What the edge dials the home by."""
    shared: Shared
    writer: Client
    """The owner, at the home."""
    record: str
    reader: Person
    ucan: str

    def fields(self, node: Node, person: Person, ucan: str = "", **more: str) -> Mapping[str, str]:
        token = node.token(person.name, did=person.did)
        return {"Authorization": f"Bearer {token}", "X-UCAN": ucan or self.shared.grant(person), **more}

    async def put(self, body: bytes, node: Node | None = None) -> tuple[UUID, httpx.Response]:
        """Store a file, as the owner, at the home unless another server is named."""
        file, node = uuid4(), node or self.rig.home
        more = {"X-Record-ID": self.record, "X-Wrapped-DEK": b64(dek())}
        fields = self.fields(node, self.shared.owner, **more)
        async with httpx.AsyncClient(trust_env=False, timeout=END_S) as http:
            url = f"http://{node.host}:{node.port}{path(self.shared.id, file)}"
            return file, await http.put(url, headers=fields, content=body)

    async def stored(self, body: bytes) -> UUID:
        file, response = await self.put(body)
        assert response.status_code == 201, response.text
        return file

    async def ask(
        self, file: UUID, method: str = "GET", *, ucan: str = "", node: Node | None = None, space: str = ""
    ) -> httpx.Response:
        """As the reader, at the edge unless another server is named."""
        node = node or self.rig.edge1
        fields = self.fields(node, self.reader, ucan or self.ucan)
        async with httpx.AsyncClient(trust_env=False, timeout=END_S) as http:
            url = f"http://{node.host}:{node.port}{path(space or self.shared.id, file)}"
            return await http.request(method, url, headers=fields)

    @asynccontextmanager
    async def begun(self, file: UUID) -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
        """Ask the edge over a connection that is then read by hand, and what length the answer says.

        Leaving the block hangs up.
        """
        edge = self.rig.edge1
        reader, writer = await asyncio.open_connection(edge.host, edge.port, limit=64 * 1024)
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.fields(edge, self.reader).items())
        writer.write(f"GET {path(self.shared.id, file)} HTTP/1.1\r\nHost: h\r\n{lines}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200 "), head
        length = next(line for line in head.split("\r\n") if line.startswith("content-length: "))
        try:
            yield reader, int(length.split(": ")[1])
        finally:
            writer.transport.abort()


@asynccontextmanager
async def shelf(databases: list[str], folder: Path, *, tls: bool = False) -> AsyncIterator[Shelf]:
    context, authority = private_authority("127.0.0.1") if tls else (None, "")
    Path(folder, "authority.pem").write_text(authority)
    trust = {"SSL_CERT_FILE": str(folder / "authority.pem")} if tls else {}
    async with Pipe(tls=context) as pipe:
        settings = {
            name: {"FILE_STORAGE_BACKEND": "local", "FILE_STORAGE_PATH": str(folder / name)}
            for name in ("home", "edge1")
        }
        settings["edge1"] |= {"FEDERATION_PEER_URLS": f"home.test={pipe.url}", **trust}
        async with rig(databases, settings=settings) as r:
            pipe.target = (r.home.host, r.home.port)
            shared = await r.share(r.home, r.edge1)
            writer = await r.home.join(shared.owner)
            record = str(uuid4())
            pushed = await writer.call(
                "push",
                {
                    "space": shared.id,
                    "ucan": shared.grant(shared.owner),
                    "changes": [{"id": record, "expected_cursor": 0, "blob": b"x"}],
                },
            )
            assert pushed["ok"]
            reader = Person("reader")
            ucan = shared.grant(reader, Permission.READ)
            yield Shelf(r, pipe, shared, writer, record, reader, ucan)


def told(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize("tls", [False, True])
async def test_a_file_is_read_through_the_edge_as_at_its_home(
    databases: list[str], tmp_path: Path, tls: bool
) -> None:
    async with shelf(databases, tmp_path, tls=tls) as own:
        for body in (os.urandom(3 * MIB + 17), b"", b"x"):
            file = await own.stored(body)
            there, here = [await own.ask(file, node=node) for node in (own.rig.home, own.rig.edge1)]
            head = await own.ask(file, "HEAD")
            assert (here.status_code, here.content) == (200, body)
            for answer in (here, head):
                assert answer.status_code == 200
                assert {name: answer.headers[name] for name in OWN} == {
                    name: there.headers[name] for name in OWN
                }
            assert here.headers.keys() == there.headers.keys()
            assert head.content == b""
        # Nothing of it was kept.
        assert [one for one in (tmp_path / "edge1").rglob("*") if one.is_file()] == []
        assert await own.rig.edge1.sql("SELECT id FROM files") == []


async def test_what_the_home_refuses_is_refused_by_the_edge(databases: list[str], tmp_path: Path) -> None:
    async with shelf(databases, tmp_path) as own:
        file, edge = await own.stored(b"content"), own.rig.edge1
        # What the edge can refuse does not leave it: a space it does not know, somebody else's UCAN, one that
        # no chain leads to, and what federation does not carry.
        assert told(await own.ask(file, space=str(uuid4()))) == (404, "file not found")
        other = own.shared.grant(Person("other"), Permission.READ)
        forged = Person("stranger").grant(own.reader, own.shared.id, Permission.READ)
        for ucan in (other, forged):
            assert told(await own.ask(file, ucan=ucan)) == (403, "access denied")
        assert told((await own.put(b"content", edge))[1]) == (409, HOSTED_ELSEWHERE)
        assert own.pipe.up_bytes == 0
        assert told(await own.ask(uuid4())) == (404, "file not found")
        assert (await own.ask(uuid4(), "HEAD")).status_code == 404
        # A space that the edge takes for the home's, and the home does not know.
        lost = str(uuid4())
        await edge.cast_shadow(lost, own.shared.owner, "home.test")
        ucan = own.shared.owner.grant(own.reader, lost, Permission.READ)
        assert told(await own.ask(file, ucan=ucan, space=lost)) == (404, "file not found")


async def test_a_ucan_that_was_revoked_at_the_home_opens_nothing_at_the_edge(
    databases: list[str], tmp_path: Path
) -> None:
    async with shelf(databases, tmp_path) as own:
        file = await own.stored(b"content")
        assert (await own.ask(file)).content == b"content"
        params = {
            "space": own.shared.id,
            "ucan": own.shared.grant(own.shared.owner, Permission.ADMIN),
            "ucan_cid": cid_of(own.ucan),
        }
        await own.writer.call("membership.revoke", params)
        assert told(await own.ask(file)) == (403, "access denied")
        assert (await own.ask(file, ucan=own.shared.grant(own.reader))).content == b"content"


async def test_a_home_that_is_gone_is_503_and_may_come_back(databases: list[str], tmp_path: Path) -> None:
    async with shelf(databases, tmp_path) as own:
        file = await own.stored(b"content")
        assert (await own.ask(file)).content == b"content"
        await own.rig.home.kill()
        for method in ("GET", "HEAD"):
            gone = await own.ask(file, method)
            assert gone.status_code == 503
            assert gone.headers["retry-after"] == "5"
        assert told(await own.ask(file)) == (503, "home server unavailable")
        await own.rig.start(own.rig.home)
        own.pipe.target = (own.rig.home.host, own.rig.home.port)
        assert (await own.ask(file)).content == b"content"


async def test_a_home_that_dies_in_the_middle_breaks_the_answer(databases: list[str], tmp_path: Path) -> None:
    async with shelf(databases, tmp_path) as own:
        file = await own.stored(os.urandom(32 * MIB))
        async with own.begun(file) as (reader, length):
            await reader.readexactly(MIB)
            await own.rig.home.kill()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await asyncio.wait_for(reader.readexactly(length - MIB), END_S)
        assert "Traceback" not in own.rig.edge1.output


async def test_a_client_that_reads_slowly_holds_the_home_back(databases: list[str], tmp_path: Path) -> None:
    async with shelf(databases, tmp_path) as own:
        body = os.urandom(48 * MIB)
        file = await own.stored(body)
        before = own.pipe.down_bytes
        async with own.begun(file) as (reader, length):
            carried = -1
            while carried != own.pipe.down_bytes:  # until nothing moves any more
                carried = own.pipe.down_bytes
                await asyncio.sleep(0.5)
            assert carried - before < 24 * MIB, "the rest waits at the home"
            # Others are served meanwhile, and this one is served to its end.
            assert (await own.ask(await own.stored(b"small"))).content == b"small"
            assert await asyncio.wait_for(reader.readexactly(length), END_S) == body


async def test_transfers_that_stand_still_hold_little_memory(databases: list[str], tmp_path: Path) -> None:
    async with shelf(databases, tmp_path) as own, AsyncExitStack() as stack:
        file = await own.stored(os.urandom(32 * MIB))
        assert (await own.ask(file)).status_code == 200
        edge = psutil.Process(own.rig.edge1.running.pid)
        idle = edge.memory_info().rss
        for _ in range(8):
            await stack.enter_async_context(own.begun(file))
        carried = -1
        while carried != own.pipe.down_bytes:  # until nothing moves any more
            carried = own.pipe.down_bytes
            await asyncio.sleep(0.5)
        assert edge.memory_info().rss - idle < 24 * MIB


async def test_a_client_that_hangs_up_ends_the_request_to_the_home(
    databases: list[str], tmp_path: Path
) -> None:
    async with shelf(databases, tmp_path) as own:
        file = await own.stored(os.urandom(32 * MIB))
        before = own.pipe.open
        async with own.begun(file):
            assert own.pipe.open == before + 1
        await own.pipe.until(before)
        assert own.pipe.down_bytes < 32 * MIB


async def test_forty_downloads_at_once_take_turns(databases: list[str], tmp_path: Path) -> None:
    async with shelf(databases, tmp_path) as own:
        bodies = [os.urandom(MIB // 2 + number) for number in range(4)]
        files = [await own.stored(body) for body in bodies]
        answers = await asyncio.gather(*(own.ask(files[number % 4]) for number in range(40)))
        assert [answer.content for answer in answers] == [bodies[number % 4] for number in range(40)]
        assert own.pipe.open <= 8, "of one person"
