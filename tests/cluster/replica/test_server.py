"""A server with replicas, as an operator starts it: one is down, the other lags when told to."""

import asyncio
import re
from pathlib import Path
from uuid import uuid4

import httpx

from less_sync.auth import Permission
from tests.cluster.replica.conftest import Streaming
from tests.integration.test_process import claims, log_in, server_of
from tests.live import Client, Person, cid_of
from tests.standby import pair
from tests.wire.issuer import Issuer
from tests.wire.process import ServerProcess


async def signed_in(server: ServerProcess, issuer: Issuer, person: Person) -> Client:
    space = str(uuid4())
    token = issuer.token(claims(person.name, space, did=person.did, mailbox_id=uuid4().hex * 2))
    return Client(await log_in(server.port, token), space)


def series(text: str, name: str, **labels: str) -> float | None:
    for line in text.splitlines():
        if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            return float(line.rpartition(" ")[2])
    return None


async def test_a_server_reads_from_its_replica_and_shows_nobody_what_he_may_not_see(
    streaming: Streaming, tmp_path: Path
) -> None:
    down = f"postgresql://postgres@/postgres?host={tmp_path}&port=5432"
    settings = {"REPLICA_DATABASE_URL": f"{down} {streaming.standby.url}", "ADMIN_ADDR": "127.0.0.1:0"}
    owner, member = Person("owner"), Person("member")
    async with (
        pair(streaming.primary.url, streaming.standby.url) as standby,
        server_of(streaming.primary.url, **settings) as (server, issuer),
        httpx.AsyncClient() as web,
    ):
        await standby.resume()
        theirs, his = [await signed_in(server, issuer, person) for person in (owner, member)]
        space = await theirs.create_space(owner)
        mine, granted = owner.grant(owner, space, Permission.ADMIN), owner.grant(member, space)

        async def metrics() -> str:
            [address] = re.findall(r"admin .* address=(127\.0\.0\.1:\d+)", "\n".join(server.output))
            return (await web.get(f"http://{address}/metrics")).text

        async def blobs(client: Client, ucan: str) -> list[bytes]:
            return [
                data["blob"] for name, data in await client.pull(space=space, ucan=ucan) if "record" in name
            ]

        await theirs.push({"id": str(uuid4()), "blob": b"one", "expected_cursor": 0}, space=space, ucan=mine)
        await standby.catch_up()
        async with asyncio.timeout(30):
            while not series(await metrics(), "less_sync_replica_pulls_total", outcome="served"):
                assert await blobs(his, granted) == [b"one"]
                await asyncio.sleep(0.05)
        await standby.pause()
        await theirs.push({"id": str(uuid4()), "blob": b"two", "expected_cursor": 0}, space=space, ucan=mine)
        assert await blobs(his, granted) == [b"one", b"two"]
        await theirs.call("membership.revoke", {"space": space, "ucan": mine, "ucan_cid": cid_of(granted)})
        assert await his.pull(space=space, ucan=granted) == []
        assert await blobs(theirs, mine) == [b"one", b"two"]
        async with asyncio.timeout(30):
            # What is told may be a second old.
            while series(await metrics(), "less_sync_replica_pulls_total", outcome="behind") != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert series(await metrics(), "less_sync_replica_pulls_total", outcome="stranger") == 0
        assert any("not read from the replica" in line for line in server.output)
        await standby.resume()
