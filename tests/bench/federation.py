"""Two servers: what goes through an edge against what goes to the home directly, and what links cost."""

import os
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
from nacl.signing import SigningKey

from less_sync.auth import b64url_encode, sign_request
from less_sync.migrations import migrate_up
from tests.bench import usage
from tests.bench.model import KIB, Bench, Measure, Pair, Pairs, Row, Use
from tests.live import Person
from tests.wire.process import ServerProcess

MIB: Final = KIB * KIB
EDGE_CONNECTIONS: Final = 32
SLOW_BYTES_PER_S: Final = MIB
PLENTY: Final = str(10**12)
"""Of the hourly quotas: what is measured must not run into them."""
NOTIFICATION_TURNS: Final = 6
HOME_PATH: Final = "/api/v1/federation/ws"


@dataclass(frozen=True, slots=True)
class Key:
    """A server's own key, and the name it is known by."""

    domain: str
    seed: bytes

    @property
    def key_id(self) -> str:
        return f"https://{self.domain}/.well-known/jwks.json#bench"

    @property
    def public(self) -> bytes:
        return bytes(SigningKey(self.seed).verify_key)

    @property
    def trusted_entry(self) -> str:
        """As `FEDERATION_TRUSTED_KEYS` has it."""
        return f"{self.key_id}={b64url_encode(self.public)}"

    def signature(self, host: str) -> str:
        """The header lines of a signed upgrade."""
        uri = f"ws://{host}{HOME_PATH}"
        signed = sign_request(
            SigningKey(self.seed),
            key_id=self.key_id,
            created=int(time.time()),
            method="GET",
            target_uri=uri,
            host=host,
        )
        return f"Signature-Input: {signed.signature_input}\r\nSignature: {signed.signature}\r\n"


def new_key(domain: str) -> Key:
    return Key(domain, os.urandom(32))


@dataclass(frozen=True, slots=True)
class SharedSpace:
    """A space of the bench's own person, stored at the home; both servers have a row of it."""

    id: str
    owner: Person

    @property
    def ucan(self) -> str:
        return self.owner.grant(self.owner, self.id)


@dataclass(frozen=True, slots=True)
class Servers:
    """A home and an edge, each with a database of its own."""

    bench: Bench
    home: ServerProcess
    edge: ServerProcess
    home_url: str
    edge_url: str

    async def make_spaces(self, count: int, homes: Sequence[str]) -> list[SharedSpace]:
        """Spaces that are empty at the home, and rows at the edge that name their homes by turns."""
        owner = Person("bench")
        made = [SharedSpace(str(uuid4()), owner) for _ in range(count)]
        insert = (
            "INSERT INTO spaces (id, client_id, root_public_key, home_server) VALUES ($1, 'bench', $2, $3)"
        )
        at_home = [(UUID(space.id), owner.root_key, None) for space in made]
        at_edge = [(id, key, homes[index % len(homes)]) for index, (id, key, _) in enumerate(at_home)]
        await executed(self.home_url, insert, at_home)
        await executed(self.edge_url, insert, at_edge)
        return made

    @property
    def home_address(self) -> str:
        return f"http://127.0.0.1:{self.home.port}"

    async def open(
        self, group: str, count: int, server: ServerProcess, spaces: Sequence[SharedSpace], *, subscribe: bool
    ) -> None:
        """Open connections of the spaces' owner to one of the servers."""
        load = self.bench.load
        await load("target", port=server.port)
        owner = spaces[0].owner
        tokens = await load("tokens", count=count, user="bench", space=str(uuid4()), did=owner.did)
        wanted = {space.id: space.ucan for space in spaces} if subscribe else None
        await load("open", group=group, tokens=tokens["tokens"], parallel=16, spaces=wanted)


async def executed(url: str, statement: str, rows: Sequence[tuple[object, ...]] = ((),)) -> None:
    """Run one statement for each row of arguments."""
    connection = await asyncpg.connect(url)
    try:
        await connection.executemany(statement, rows)
    finally:
        await connection.close()


@asynccontextmanager
async def another_database(url: str) -> AsyncIterator[str]:
    """An empty, migrated database beside the one at `url`, dropped in the end."""
    name = f"bench_edge_{uuid4().hex}"
    own = urlsplit(url)._replace(path=f"/{name}").geturl()
    await executed(url, f'CREATE DATABASE "{name}"')
    try:
        await migrate_up(own)
        yield own
    finally:
        await executed(url, f'DROP DATABASE "{name}" WITH (FORCE)')


INSERT_KEY: Final = """INSERT INTO federation_signing_keys (kid, private_key, public_key, is_primary)
    VALUES ($1, $2, $3, true) ON CONFLICT DO NOTHING"""


def raised_quotas(connections: int) -> dict[str, str]:
    """Settings of a home that lets its peers do what the bench does."""
    return {
        "FEDERATION_MAX_RECORDS_PER_HOUR": PLENTY,
        "FEDERATION_MAX_BYTES_PER_HOUR": PLENTY,
        "FEDERATION_MAX_SPACES": "100000",
        "FEDERATION_MAX_CONNECTIONS": str(connections),
        "FEDERATION_FST_SECRET": "the secret of the bench, which is long enough",
    }


@asynccontextmanager
async def two_servers(
    bench: Bench, *, peers: Sequence[Key] = (), connections: int = 3
) -> AsyncIterator[Servers]:
    """A home on the database of the bench and an edge on another one, freshly started.

    Args:
        peers: whom the home trusts beside the edge.
        connections: of one peer at a time.
    """
    home_url = bench.settings["DATABASE_URL"]
    key = new_key("edge.bench")
    async with another_database(home_url) as edge_url:
        await executed(edge_url, INSERT_KEY, [(key.key_id, key.seed, key.public)])
        trusted = " ".join(peer.trusted_entry for peer in (key, *peers))
        home_settings = {**bench.settings, **raised_quotas(connections), "FEDERATION_TRUSTED_KEYS": trusted}
        edge_settings = {**bench.settings, "DATABASE_URL": edge_url}
        async with (
            ServerProcess(home_settings, ("--listen", "0.0.0.0:0"), fresh=True) as home,
            ServerProcess(edge_settings, fresh=True) as edge,
        ):
            yield Servers(bench, home, edge, home_url, edge_url)
        await bench.load("target", port=bench.server.port)


async def edge_pushes(bench: Bench) -> Pairs:
    """Pushes of 32 connections through an edge against the same to the home: pushes a second."""
    async with two_servers(bench) as servers:
        spaces = await servers.make_spaces(EDGE_CONNECTIONS, [servers.home_address])
        shape: dict[str, Any] = {"pushes": bench.scale.edge_pushes, "records": 1, "blob_bytes": KIB}
        shape |= {"spaces": [space.id for space in spaces], "ucans": [space.ucan for space in spaces]}
        rates, use = [], Use()
        for server in (servers.home, servers.edge):
            await servers.open("push", EDGE_CONNECTIONS, server, spaces, subscribe=False)
            await bench.load("prepare", group="push", **(shape | {"pushes": 4}))
            await bench.load("push", group="push")  # connections, statements and tokens are known
            await bench.load("prepare", group="push", **shape)
            await bench.floors("checkpoint")
            before = usage.cpu_s(servers.edge.pid)
            done = await bench.load("push", group="push")
            use.server_s = usage.cpu_s(servers.edge.pid) - before
            use.load_share = done["cpu_s"] / done["wall_s"]
            rates.append(done["pushes"] / done["seconds"])
            await bench.load("close", group="push")
    direct, forwarded = rates
    return {"edge push": Pair(direct, forwarded, forwarded / direct, use)}


async def edge_notifications(bench: Bench) -> Pairs:
    """From a push at the home to its notification at a client of the edge, against one at the home: ms more.

    Medians; the two take turns within the run.
    """
    count = bench.scale.notifications // NOTIFICATION_TURNS
    use = Use()
    seconds: dict[str, list[float]] = {"local reader": [], "edge reader": []}
    async with two_servers(bench) as servers:
        spaces = await servers.make_spaces(1, [servers.home_address])
        await servers.open("local reader", 1, servers.home, spaces, subscribe=True)
        await servers.open("edge reader", 1, servers.edge, spaces, subscribe=True)
        await servers.open("writer", 1, servers.home, spaces, subscribe=False)
        space = spaces[0]
        call = {"pusher": "writer", "space": space.id, "ucan": space.ucan, "blob_bytes": KIB}
        for _ in range(NOTIFICATION_TURNS):
            for reader, taken in seconds.items():
                before = usage.cpu_s(servers.edge.pid)
                done = await bench.load("notify", subscriber=reader, count=count, **call)
                use.server_s += usage.cpu_s(servers.edge.pid) - before
                taken += done["seconds"]
                other = "edge reader" if reader == "local reader" else "local reader"
                await bench.load("drain", group=other, frames=count)
        for group in (*seconds, "writer"):
            await bench.load("close", group=group)
    local_ms, edge_ms = (statistics.median(taken) * 1e3 for taken in seconds.values())
    return {"edge notification": Pair(local_ms, edge_ms, edge_ms - local_ms, use)}


@dataclass(frozen=True, slots=True)
class RelayedPull:
    """Memory of an edge through which a client pulls a long space: MiB over what it has when idle."""

    row: str
    bytes_per_s: int | None = None

    async def __call__(self, bench: Bench) -> Pairs:
        use, records = Use(), bench.scale.relayed_records
        async with two_servers(bench) as servers:
            empty, space = await servers.make_spaces(2, [servers.home_address])
            shape = {"records": records, "blob_bytes": 1, "records_per_push": 100}
            await bench.floors("fill", space=space.id, exists=True, **shape)
            await servers.open("pull", 1, servers.edge, [space], subscribe=False)
            call = {"group": "pull", "bytes_per_s": self.bytes_per_s}
            await bench.load("pull", space=empty.id, ucan=empty.ucan, **call)  # the path is warm
            usage.reset_peak(servers.edge.pid)
            idle, before = usage.peak_bytes(servers.edge.pid), usage.cpu_s(servers.edge.pid)
            done = await bench.load("pull", space=space.id, ucan=space.ucan, **call)
            use.server_s = usage.cpu_s(servers.edge.pid) - before
            grown = usage.growth_bytes(servers.edge.pid, idle) / MIB
            await bench.load("close", group="pull")
            await executed(servers.home_url, "DELETE FROM records WHERE space_id = $1", [(UUID(space.id),)])
        assert done["frames"] == records + 3, done  # begin, commit and the result
        return {self.row: Pair(None, grown, grown, use)}


async def many_links(bench: Bench) -> Pairs:
    """Memory of links to many homes at an edge, and of connections of many peers at a home: KiB each."""
    count = bench.scale.links
    peers = [new_key(f"peer{number}.bench") for number in range(count)]
    async with two_servers(bench, peers=peers, connections=count + 1) as servers:
        port = servers.home.port
        homes = [f"http://127.0.{1 + number // 250}.{1 + number % 250}:{port}" for number in range(count)]
        spaces = await servers.make_spaces(count + 1, [servers.home_address, *homes])
        await servers.open("warm-up", 1, servers.edge, spaces[:1], subscribe=True)
        before = usage.resident_bytes(servers.edge.pid)
        await servers.open("reader", 1, servers.edge, spaces[1:], subscribe=True)
        edge_kib = (usage.resident_bytes(servers.edge.pid) - before) / count / KIB
        await bench.load("close", group="reader")

        await bench.load("target", port=port)
        before = usage.resident_bytes(servers.home.pid)
        signatures = [peer.signature(f"127.0.0.1:{port}") for peer in peers]
        await bench.load("open_peers", group="peers", signatures=signatures, parallel=16)
        home_kib = (usage.resident_bytes(servers.home.pid) - before) / count / KIB
        for group in ("peers", "warm-up"):
            await bench.load("close", group=group)
    return {
        "links of an edge": Pair(None, edge_kib, edge_kib, Use()),
        "peers of a home": Pair(None, home_kib, home_kib, Use()),
    }


FEDERATION_ROWS: Final[Mapping[str, Row]] = {
    "edge push": Row(
        "push of 1 record of 1 KiB through an edge, 32 connections in parallel",
        "the same to the home",
        "pushes/s",
        0.5,
        True,
        "",
    ),
    "edge notification": Row(
        "push at the home to notification at a client of an edge, p50: what it takes longer",
        "the same at a client of the home",
        "ms",
        3.0,
        False,
        "",
    ),
    "edge pull memory": Row(
        "pull of 1,000,000 records through an edge: growth of the edge", "", "MiB", 64.0, False, "", "{:.1f}"
    ),
    "edge slow pull memory": Row(
        "the same by a client that reads 1 MiB/s", "", "MiB", 64.0, False, "", "{:.1f}"
    ),
    "links of an edge": Row(
        "link to a home: resident memory of the edge, at 200", "", "KiB", 64.0, False, "", "{:.1f}"
    ),
    "peers of a home": Row(
        "connection of a peer: resident memory of the home, at 200", "", "KiB", 64.0, False, "", "{:.1f}"
    ),
}


def federation_measures() -> list[tuple[frozenset[str], Measure]]:
    """What fills which of these rows."""
    slow = "edge slow pull memory"
    return [
        (frozenset({"edge push"}), edge_pushes),
        (frozenset({"edge notification"}), edge_notifications),
        (frozenset({"edge pull memory"}), RelayedPull("edge pull memory")),
        (frozenset({slow}), RelayedPull(slow, SLOW_BYTES_PER_S)),
        (frozenset({"links of an edge", "peers of a home"}), many_links),
    ]
