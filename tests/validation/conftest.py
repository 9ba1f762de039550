"""The rig: its servers are started once a session, its faults are taken back after each test."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conftest import DatabaseServer
from tests.validation.rig import Rig
from tests.validation.rig import rig as started_rig


@pytest.fixture(scope="session")
def rig_databases(database_server: DatabaseServer, database_template: str) -> Iterator[dict[str, str]]:
    """A migrated, empty database for each server of the rig."""
    names = {name: f"{database_server.run}{secrets.token_hex(4)}" for name in ("staging", "production")}
    try:
        yield {
            name: database_server.create(database, template=database_template)
            for name, database in names.items()
        }
    finally:
        for database in names.values():
            database_server.drop(database)


@pytest.fixture(scope="session")
async def session_rig(
    rig_databases: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rig]:
    """Real servers, with proxies before them."""
    async with started_rig(rig_databases, tmp_path_factory.mktemp("rig")) as made:
        yield made


@pytest.fixture
async def rig(session_rig: Rig) -> AsyncIterator[Rig]:
    """The rig without a fault; whatever a test does to its proxies is taken back."""
    await session_rig.mend()
    yield session_rig
    await session_rig.mend()
