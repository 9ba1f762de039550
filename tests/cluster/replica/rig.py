"""A store of pulls over a primary and a standby, on a clock of the test's own, that tells who was asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import asyncpg

from less_sync.storage import (
    PostgresDekStore,
    PostgresEpochStore,
    PostgresMemberStore,
    PostgresPool,
    PostgresPullStore,
    PullMeta,
    PullRow,
    PushLanes,
)
from less_sync.storage.postgres.replica_pulls import ReplicatedPullStore
from less_sync.storage.postgres.replicas import Identity, Replica, Replicas
from less_sync.storage.queries import QUERIES
from tests.standby import Pair, pair
from tests.storage.support import as_tuple, written

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

_NAMES: Final = {query.text: name for name, query in QUERIES.items()}
WAIT_S: Final = 15.0
"""For a standby: longer than a busy machine takes, and a promotion."""
READING: Final = ("pull_first", "pull_first_of_replica", "pull_all", "pull_page", "pull_legacy")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Asked(list[str]):
    """Names of the queries that connections of one kind were asked, in their order."""

    before_portal: Callable[[], Awaitable[None]] | None = None
    """What is to happen before the next transaction begins."""

    @property
    def rows(self) -> list[str]:
        """Those that read entries."""
        return [name for name in self if name in READING]

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """Open a connection that writes down here what it is asked."""
        asked = self

        class Telling(Connection):
            async def execute(self, query: str, *args: Any, **options: Any) -> str:
                if query.startswith("BEGIN") and asked.before_portal is not None:
                    happens, asked.before_portal = asked.before_portal, None
                    await happens()
                return await super().execute(query, *args, **options)

            async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
                # With the space that nobody has a new connection warms up, whenever the pool opens one.
                if args[:1] != (UUID(int=0),):
                    asked.append(_NAMES.get(query, query))
                return await super().fetch(query, *args, **options)

            async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
                asked.append(_NAMES.get(query, query))
                return await super().fetchrow(query, *args, **options)

            async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
                asked.append(_NAMES.get(query, query))
                return await super().fetchval(query, *args, **options)

            def cursor(self, query: str, *args: Any, **options: Any) -> Any:
                asked.append(_NAMES.get(query, query))
                return super().cursor(query, *args, **options)

        return await asyncpg.connect(*args, **{**options, "connection_class": Telling})


@dataclass
class Rig:
    """What a test works with."""

    pool: PostgresPool
    lanes: PushLanes
    pair: Pair
    clock: Clock
    primary: PostgresPullStore
    """Pulls without a replica."""
    pulls: ReplicatedPullStore
    replicas: Replicas
    at_primary: Asked
    at_standby: Asked
    members: PostgresMemberStore
    epochs: PostgresEpochStore
    deks: PostgresDekStore
    spaces: list[UUID] = field(default_factory=list)

    @property
    def replica(self) -> Replica:
        return self.replicas.all[0]

    async def push(self, space: UUID, *changes: tuple[UUID, int, bytes | None]) -> int:
        return await written(self.lanes, space, *changes)

    async def space(self, *, pushes: int = 1, each: int = 1, blob: bytes = b"x") -> UUID:
        """A space that was pushed to."""
        space = uuid4()
        for _ in range(pushes):
            await self.push(space, *((uuid4(), 0, blob) for _ in range(each)))
        return space

    async def ready(self) -> None:
        """Let the replica be found, and forget what was asked until then."""
        space = await self.space()
        await self.pair.catch_up()
        async with asyncio.timeout(20):
            while not all(replica.usable for replica in self.replicas.all):
                await pulled(self.pulls, space)
                await asyncio.sleep(0.01)
                self.clock.now_s += 1.0
        self.forget()

    def forget(self) -> None:
        self.at_primary.clear()
        self.at_standby.clear()


async def pulled(
    pulls: PostgresPullStore | ReplicatedPullStore, space: UUID, since: int = 0
) -> tuple[PullMeta, list[PullRow]]:
    """Pull everything above `since`."""
    async with pulls.pull(space, since, reader="somebody") as pull:
        assert pull is not None
        return pull.meta, [as_tuple(row) async for batch in pull.batches() for row in batch]


@asynccontextmanager
async def rig(primary_url: str, standby_urls: Sequence[str], *, wait_s: float = WAIT_S) -> AsyncIterator[Rig]:
    """Pulls with the standbys at the URLs; the last of them is the one in `pair`."""
    at_primary, at_standby, clock = Asked(), Asked(), Clock()
    pool = await PostgresPool.open(primary_url, max_connections=10, connect=at_primary.connect)

    async def identify() -> Identity:
        [(cluster, timeline)] = await pool.fetch("identify_primary")
        return cluster, timeline

    replicas = Replicas(
        Replica(url, identify, max_connections=5, clock=clock, connect=at_standby.connect)
        for url in standby_urls
    )
    lanes = await PushLanes.start(pool)
    try:
        primary = PostgresPullStore(pool)
        async with pair(primary_url, standby_urls[-1]) as both:
            yield Rig(
                pool,
                lanes,
                both,
                clock,
                primary,
                ReplicatedPullStore(primary, replicas, wait_s=wait_s),
                replicas,
                at_primary,
                at_standby,
                PostgresMemberStore(pool),
                PostgresEpochStore(pool),
                PostgresDekStore(pool),
            )
    finally:
        await replicas.aclose(5.0)
        await lanes.aclose(5.0)
        await pool.aclose(5.0)
