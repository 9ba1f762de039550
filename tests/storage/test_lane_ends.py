"""Lanes that cannot start, or end by themselves: nobody waits for them, nothing is left behind."""

import pytest

from less_sync.storage import PostgresPool, PushLanes, Unavailable
from tests.storage.gate import Connector


async def test_lanes_that_cannot_all_connect_leave_no_connection_open(database_url: str) -> None:
    connector = Connector()
    pool = await PostgresPool.open(database_url, max_connections=1, connect=connector)
    try:
        connector.attempts_max = connector.attempts + 2
        with pytest.raises(Unavailable):
            await PushLanes.start(pool, lanes=3)
        of_pool, *of_lanes = connector.opened
        assert len(of_lanes) == 2
        assert [con.is_closed() for con in of_lanes] == [True, True]
        assert not of_pool.is_closed()
    finally:
        await pool.aclose(5.0)
