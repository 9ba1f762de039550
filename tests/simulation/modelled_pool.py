"""The model of the database under the real pool, in real time: for the tests of the stores."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.simulation.database import Database, Weather
from tests.simulation.system import PostgresPool
from tests.simulation.tables import Tables


class ModelledPool(PostgresPool):
    """A pool whose database is a model, which tests may look into."""

    database: Database


def modelled_database(*, turns: int = 1) -> Database:
    """An empty database without faults, on the running loop.

    Args:
        turns: of the loop that a statement or an answer takes at most: with several they overtake each other.
    """
    loop, chance = asyncio.get_running_loop(), random.Random(1)

    def schedule(delay_s: float, label: str, event: Callable[[], None]) -> None:
        if delay_s:
            loop.call_later(delay_s, event)
        else:
            arrive_after(chance.randrange(turns), event)

    def arrive_after(more: int, event: Callable[[], None]) -> None:
        loop.call_soon(*((arrive_after, more - 1, event) if more else (event,)))

    tables = Tables(time.time, loop.time, random.Random(2))
    return Database(tables, Weather(latency_s=0.0), chance=random.Random(3), schedule=schedule)


@asynccontextmanager
async def modelled_pool(
    *, max_connections: int, database: Database | None = None
) -> AsyncIterator[ModelledPool]:
    """A pool over a modelled database, of its own unless several share one."""
    database = database or modelled_database()
    pool = await ModelledPool.open(
        "postgres://model", max_connections=max_connections, connect=database.connect
    )
    pool.database = database
    try:
        yield pool
    finally:
        await pool.aclose(5.0)
