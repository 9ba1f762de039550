"""The folder client and the JavaScript client in one space, edited at random, with connections that break."""

import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from less_sync.storage import LocalBlobs
from tests.js.both import at_random, fleet
from tests.live import Live, claims, live_server

RUN_S = 10.0


@dataclass
class Cutting:
    """A server in this process whose connections are cut."""

    live: Live

    @property
    def space(self) -> UUID:
        return UUID(claims("alice")["personal_space_id"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.live.port}"

    def token(self) -> str:
        return self.live.token("alice")

    async def trouble(self) -> None:
        for connection in self.live.connections():
            connection.transport.abort()


async def test_both_kinds_of_replica_converge_and_lose_nothing(database_url: str, tmp_path: Path) -> None:
    blobs = LocalBlobs.at(tmp_path / "blobs")
    async with live_server(database_url, blobs=blobs) as live:
        seed = time.time_ns()
        print("seed", seed)
        async with fleet(Cutting(live), tmp_path, seed, nodes=2) as made:
            ends = time.monotonic() + RUN_S
            await at_random(made, lambda: time.monotonic() > ends)
    await blobs.aclose()
