"""The rig starts what it says: servers apart from each other, a space that both know, an authority."""

import asyncio
import ssl

from tests.federation.certificates import private_authority
from tests.federation.proxy import Wire
from tests.federation.rig import rig
from tests.live import Person


async def test_each_server_has_an_address_a_database_and_a_key_of_its_own(databases: list[str]) -> None:
    async with rig(databases, "home", "edge1", "edge2") as r:
        nodes = list(r.nodes.values())
        assert [node.host for node in nodes] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        for node in nodes:
            (health, stored) = (
                await node.get("/health"),
                await node.sql("SELECT kid FROM federation_signing_keys"),
            )
            assert health.status_code == 200
            assert [row["kid"] for row in stored] == [node.kid]
        shared = await r.share(r.home, r.edge1)
        shadows = [await node.sql("SELECT id::text, home_server FROM spaces") for node in nodes]
        assert [[tuple(row) for row in rows] for rows in shadows] == [
            [(shared.id, None)],
            [(shared.id, "home.test")],
            [],
        ]


async def test_a_server_may_be_killed_and_started_again_behind_the_same_wire(databases: list[str]) -> None:
    async with rig(databases) as r:
        await r.home.kill()
        await r.start(r.home)
        assert r.wire(r.edge1, r.home).target == (r.home.host, r.home.port)
        client = await r.home.join(Person("zero"))
        assert (await client.subscribe())["spaces"]
        await r.home.stop()


async def test_a_wire_with_tls_is_trusted_by_who_knows_the_authority() -> None:
    context, authority = private_authority("127.0.0.1")
    answered = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        answered.set()
        writer.close()

    target = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with target, Wire(tls=context) as wire:
        wire.target = target.sockets[0].getsockname()[:2]
        client = ssl.create_default_context(cadata=authority)
        reader, writer = await asyncio.open_connection(wire.host, wire.port, ssl=client)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
        writer.close()
        assert answered.is_set()
        assert wire.upgrades[0].status == 404
