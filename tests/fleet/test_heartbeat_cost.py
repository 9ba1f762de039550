"""What a heartbeat costs: one statement, whose update touches no index."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fleet.rig import Fleet, open_fleet

pytestmark = pytest.mark.anyio
AGENTS = 10
BEATS = 10
FIGURES: dict[str, Any] = {
    "connections": 120,
    "spaces": 4_000,
    "records": 1_200_000,
    "storage_bytes": 9_000_000_000,
    "database_id": "0123456789abcdef",
    "disk_free_ratio": 0.55,
    "database_ok": True,
    "backup_age_seconds": 3_600,
    "backup_interval_seconds": 86_400,
    "features": ["federation", "files"],
}


@pytest.fixture
async def narrow_fleet(fleet_database_url: str) -> AsyncIterator[Fleet]:
    """A plane with one connection, all of whose statements can be counted."""
    async with open_fleet(fleet_database_url, database_connections_max=1) as fleet:
        yield fleet


async def test_a_heartbeat_is_one_statement_that_touches_no_index(narrow_fleet: Fleet) -> None:
    fleet = narrow_fleet
    agents = [await fleet.register(labels={"ring": "1"}) for _ in range(AGENTS)]
    for agent in agents:
        await agent.beat(FIGURES)
    statements: list[str] = []

    async def hot() -> tuple[int, int]:
        await fleet.value("SELECT pg_stat_force_next_flush()")
        query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'agents'"
        [row] = await fleet.rows(query)
        return row["n_tup_upd"], row["n_tup_hot_upd"]

    before = await hot()
    async with fleet.plane.database.connection() as connection:
        connection.add_query_logger(lambda done: statements.append(done.query))
    for turn in range(BEATS):
        fleet.next_interval()
        for agent in agents:
            answer = await agent.beat(FIGURES | {"connections": turn})
            assert answer.json()["status"] == "ok"
    assert len(statements) == AGENTS * BEATS, set(statements)
    # What a heartbeat sets for its own commit is over with it.
    source = await fleet.value("SELECT source FROM pg_settings WHERE name = 'synchronous_commit'")
    assert source != "session"
    after = await hot()
    assert after[0] - before[0] == AGENTS * BEATS
    assert after[1] - before[1] >= 0.9 * AGENTS * BEATS
