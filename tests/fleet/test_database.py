"""The plane's connections when the database is silent."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from less_sync.fleet.database import Database
from less_sync.fleet.line import DEFAULT_SCHEMA
from less_sync.storage import Unavailable
from tests.storage.gate import Gate

pytestmark = pytest.mark.anyio


@pytest.fixture
async def gate(fleet_module_url: str) -> AsyncIterator[Gate]:
    async with Gate.before(fleet_module_url) as gate:
        yield gate


@pytest.fixture
async def database(gate: Gate) -> AsyncIterator[Database]:
    """One connection, through the gate."""
    database = await Database.open(gate.url, schema=DEFAULT_SCHEMA, connections_max=1)
    yield database
    await database.aclose(1.0)


@pytest.mark.parametrize("transaction", [False, True])
async def test_a_call_that_is_cut_short_waits_for_no_silent_database_and_gives_the_connection_back(
    gate: Gate, database: Database, *, transaction: bool
) -> None:
    lent = database.transaction if transaction else database.connection

    async def cut_short() -> None:
        async with asyncio.timeout(0.1), lent() as connection:
            gate.silence()
            await connection.fetchval("SELECT pg_backend_pid()")

    clock = asyncio.get_running_loop().time
    began_s = clock()
    with pytest.raises(TimeoutError):
        await cut_short()
    # Far more than it takes, and far less than a statement may take.
    assert clock() - began_s < 5
    gate.speak()
    assert await database.value("ping") is not None


async def test_a_refusal_within_a_transaction_is_told_though_the_database_fell_silent(
    gate: Gate, database: Database
) -> None:
    async def refused() -> None:
        async with database.transaction():
            gate.silence()
            raise KeyError

    clock = asyncio.get_running_loop().time
    began_s = clock()
    with pytest.raises(KeyError):
        await refused()
    assert clock() - began_s < 5
    gate.speak()
    assert await database.value("ping") is not None


async def test_who_is_stopped_within_a_transaction_lets_go_before_others_give_up(database: Database) -> None:
    """An instance that is suspended holds the lock that all changes take."""
    async with database.connection() as connection:
        limits = [
            await connection.fetchval("SELECT extract(epoch FROM current_setting($1)::interval)", name)
            for name in ("idle_in_transaction_session_timeout", "lock_timeout")
        ]
    assert 0 < limits[0] < limits[1]


@pytest.mark.parametrize("transaction", [False, True])
async def test_a_connection_that_ends_under_the_driver_is_an_unavailable_database(
    database: Database, *, transaction: bool
) -> None:
    """What the driver raises when a server shuts down between two messages, and the connection is gone."""

    async def lose() -> None:
        async with (database.transaction if transaction else database.connection)() as connection:
            connection.terminate()
            raise asyncpg.InternalClientError

    with pytest.raises(Unavailable):
        await lose()
    assert await database.value("ping") is not None
