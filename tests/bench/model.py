"""What the parts of the bench share: how much is done, a row of the table, one run of it, the processes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from tests.bench import usage
from tests.bench.child import Child
from tests.wire.issuer import Issuer
from tests.wire.process import ServerProcess

KIB: Final = 1024
ISSUER: Final = "https://bench.example"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done in one run of each row."""

    rounds: int = 5
    single_pushes: int = 600
    hundred_pushes: int = 100
    thousand_pushes: int = 16
    short_pulls: int = 10
    long_pull_records: int = 1_000_000
    subscribers: int = 1000
    fan_outs: int = 50
    notifications: int = 300
    connects: int = 2000
    verifications: int = 2000
    chains: int = 400
    strangers: int = 2000
    attack_s: float = 8.0
    huge_pushes: int = 32
    stalled_records: int = 60_000
    folder_files: int = 20_000
    file_bytes: int = 100 * KIB * KIB
    file_transfers: int = 5
    small_file_bytes: int = 9 * KIB * KIB
    files_at_once: int = 64
    edge_pushes: int = 300
    relayed_records: int = 1_000_000
    links: int = 200
    heard_pushes: int = 200


QUICK: Final = Scale(
    rounds=2,
    single_pushes=100,
    hundred_pushes=20,
    thousand_pushes=5,
    short_pulls=3,
    long_pull_records=50_000,
    subscribers=200,
    fan_outs=10,
    notifications=50,
    connects=200,
    verifications=200,
    chains=40,
    strangers=200,
    attack_s=2.0,
    huge_pushes=8,
    stalled_records=20_000,
    folder_files=1000,
    file_bytes=20 * KIB * KIB,
    file_transfers=2,
    small_file_bytes=KIB * KIB,
    edge_pushes=50,
    relayed_records=50_000,
    links=20,
    heard_pushes=30,
)


@dataclass(frozen=True, slots=True)
class Row:
    """`at_least`: whether the ratio must not fall below `reach`, or not exceed it."""

    name: str
    floor: str
    unit: str
    reach: float
    at_least: bool
    existing: str
    shown: str = "{:.2f}"


@dataclass(slots=True)
class Use:
    """CPU seconds of one run of the server, and the share of one core that the load generator took."""

    server_s: float = 0.0
    postgres_s: float = 0.0
    load_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """One floor run and the server run right after it. `floor` is None where the row has none."""

    floor: float | None
    server: float
    ratio: float
    use: Use


@dataclass(slots=True)
class Target:
    """A server and the load generator that is pointed at it."""

    load: Child
    server: ServerProcess
    start_server: Callable[[], AbstractAsyncContextManager[ServerProcess]]

    @asynccontextmanager
    async def using(self, use: Use) -> AsyncIterator[None]:
        """Add up what the server spends in the block."""
        before = usage.cpu_s(self.server.pid)
        yield
        use.server_s += usage.cpu_s(self.server.pid) - before

    async def measured(self, use: Use, command: str, **arguments: Any) -> dict[str, Any]:
        """One command of the load generator, with everybody's CPU."""
        async with self.using(use):
            answer = await self.load(command, **arguments)
        use.load_share = answer["cpu_s"] / answer["wall_s"]
        return answer

    @asynccontextmanager
    async def fresh_server(self) -> AsyncIterator[Self]:
        """The same with a server just started, for what an earlier row would have left in memory."""
        async with self.start_server() as server:
            await self.load("target", port=server.port)
            yield replace(self, server=server)
        await self.load("target", port=self.server.port)

    async def open(
        self, group: str, count: int, *, space: str, parallel: int = 16, subscribe: bool = False
    ) -> None:
        """Open connections of one user to the load generator's current server."""
        tokens = (await self.load("tokens", count=count, user=f"user {space}", space=space))["tokens"]
        await self.load(
            "open",
            group=group,
            tokens=tokens,
            parallel=parallel,
            subscribe=space if subscribe else None,
        )


@dataclass(slots=True)
class Bench(Target):
    """The processes of a run."""

    floors: Child
    attackers: Child
    issuer: Issuer = field(repr=False)
    postgres_pid: int | None
    scale: Scale
    settings: Mapping[str, str] = field(repr=False)
    """Of the server that is measured."""
    disk: Path
    """Where folders and contents of files are written."""

    @asynccontextmanager
    async def using(self, use: Use) -> AsyncIterator[None]:
        """Add up what the server and Postgres spend in the block."""
        postgres = {} if self.postgres_pid is None else usage.family_cpu_s(self.postgres_pid)
        async with Target.using(self, use):
            yield
        if self.postgres_pid is not None:
            use.postgres_s += usage.spent_s(postgres, usage.family_cpu_s(self.postgres_pid))


Pairs = Mapping[str, Pair]
Measure = Callable[[Bench], Awaitable[Pairs]]
