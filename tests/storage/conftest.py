"""The room's parts on a database of each test's own: a real one, and the simulation's model of it.

Every test that asks for `pool`, or for what rests on it, runs over both, unless `modelled.py` says why not or
it asks for the URL of a real database besides.
"""

from collections.abc import AsyncIterator

import pytest

from less_sync.storage import PostgresPool, PostgresPullStore, PostgresSpaceStore, PushLanes
from tests.conftest import THREADED, Backend
from tests.primed import connect_primed
from tests.simulation.modelled_pool import modelled_pool
from tests.storage.modelled import reason_against


@pytest.fixture(scope="session")
def anyio_backend() -> Backend:
    """Threads work for the loop here: calls from the wrong one are found."""
    return THREADED


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test over both databases where nothing is against it."""
    wanted, against = (
        metafunc.fixturenames,
        reason_against(metafunc.module.__name__, metafunc.function.__name__),
    )
    if "postgres_url" in wanted and "database_url" not in wanted and against is None:
        metafunc.parametrize("postgres_url", ["postgres", "model"], indirect=True)


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> str | None:
    """Where the test's database is; None for the model."""
    if getattr(request, "param", "postgres") == "model":
        return None
    postgres_url: str = request.getfixturevalue("database_url")
    return postgres_url


@pytest.fixture
async def pool(postgres_url: str | None) -> AsyncIterator[PostgresPool]:
    if postgres_url is None:
        async with modelled_pool(max_connections=10) as modelled:
            yield modelled
        return
    opened = await PostgresPool.open(postgres_url, max_connections=10, connect=connect_primed)
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
