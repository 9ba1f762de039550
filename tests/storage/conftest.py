"""The room's parts on a database of each test's own."""

from collections.abc import AsyncIterator

import pytest

from less_sync.storage import PostgresPool, PostgresPullStore, PostgresSpaceStore, PushLanes


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[PostgresPool]:
    opened = await PostgresPool.open(database_url, max_connections=10)
    yield opened
    await opened.aclose(5.0)


@pytest.fixture
def spaces(pool: PostgresPool) -> PostgresSpaceStore:
    return PostgresSpaceStore(pool)


@pytest.fixture
async def lanes(pool: PostgresPool) -> AsyncIterator[PushLanes]:
    opened = await PushLanes.start(pool)
    yield opened
    await opened.aclose(5.0)


@pytest.fixture
def pulls(pool: PostgresPool) -> PostgresPullStore:
    return PostgresPullStore(pool)
