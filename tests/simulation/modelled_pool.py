"""The model of the database under the real pool, in real time: for the tests of the stores."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.simulation.database import Database, Weather
from tests.simulation.system import PostgresPool
from tests.simulation.tables import Tables


@asynccontextmanager
async def modelled_pool(*, max_connections: int) -> AsyncIterator[PostgresPool]:
    """A pool over a modelled database of its own, empty and without faults."""
    loop = asyncio.get_running_loop()

    def schedule(delay_s: float, label: str, event: Callable[[], None]) -> None:
        loop.call_later(delay_s, event)

    tables = Tables(time.time, loop.time, random.Random(1))
    database = Database(tables, Weather(latency_s=0.0), chance=random.Random(2), schedule=schedule)
    pool = await PostgresPool.open(
        "postgres://model", max_connections=max_connections, connect=database.connect
    )
    try:
        yield pool
    finally:
        await pool.aclose(5.0)
