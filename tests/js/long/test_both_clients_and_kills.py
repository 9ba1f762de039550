"""Both clients in one space for a minute, while the server's process is killed and started again."""

import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from less_sync.bins.dev import DevIssuer
from less_sync.sync.client import personal_space
from tests.js.both import Fleet, Folder, Node, at_random, fleet
from tests.wire.process import ServerProcess

RUN_S = 60.0


@dataclass
class Killed:
    """A server in a process of its own, always on the same port."""

    database_url: str
    data_dir: Path
    port: int = 0
    kills: int = 0
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        settings = {"DATABASE_URL": self.database_url, "DATA_DIR": str(self.data_dir), "ADMIN_ADDR": ""}
        server = ServerProcess(settings, ("--dev", "--listen", f"127.0.0.1:{self.port}"))
        await self._running.enter_async_context(server)
        self.port, self._server = server.port, server

    async def trouble(self) -> None:
        self.kills += 1
        await self._server.kill()
        await self._running.aclose()
        await self.start()

    async def stop(self) -> None:
        await self._running.aclose()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def space(self) -> UUID:
        return personal_space(self.token())

    def token(self) -> str:
        return DevIssuer(self.data_dir).mint("alice", now=datetime.now(UTC))


def ended(run_s: float) -> Callable[[], bool]:
    ends = time.monotonic() + run_s
    return lambda: time.monotonic() > ends


async def test_replicas_converge_and_lose_nothing_while_servers_and_clients_are_killed(
    database_url: str, tmp_path: Path
) -> None:
    server = Killed(database_url, tmp_path / "data")
    await server.start()
    try:
        seed = time.time_ns()
        print("seed", seed)
        async with fleet(server, tmp_path, seed, nodes=3) as made:
            await at_random(made, ended(RUN_S))
            errors = [error for one in made.replicas if isinstance(one, Node) for error in await one.errors()]
        assert [error for error in errors if not error.startswith(("connect", "timeout"))] == []
        assert server.kills > 0
    finally:
        await server.stop()


class Forgetful(Node):
    """A replica that deletes what it should have kept beside: the check has to notice."""

    async def settle(self) -> None:
        await super().settle()
        for path, was in (await self.digests()).items():
            if "conflict" in path:
                await self.delete(path, was)
        await super().settle()


@pytest.mark.parametrize("seed", [1])
async def test_a_replica_that_loses_conflict_copies_is_noticed(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    server = Killed(database_url, tmp_path / "data")
    await server.start()
    # The second comes too late with its edit, so it is the one that makes the copy, and forgets it.
    replicas: list[Node | Folder] = [Node(server, tmp_path / "one"), Forgetful(server, tmp_path / "two")]
    try:
        for replica in replicas:
            await replica.start()
        made = Fleet(server, random.Random(seed), replicas)
        for replica, content in zip(replicas, (b"one", b"two"), strict=True):
            await replica.disturb(_Pausing())
            await made.place(replica, "a", content)
        found = await made.settle()
        assert len(made.lost(found)) == 1
    finally:
        for replica in replicas:
            await replica.kill()
        await server.stop()


class _Pausing(random.Random):
    """Chooses to go offline."""

    def random(self) -> float:
        return 0.9
