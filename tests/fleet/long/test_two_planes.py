"""Two planes on one database, killed in turn under load: nothing is told twice, and nothing is lost."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fleet.databases import connected
from tests.fleet.process import GIVEN, KEY, FleetProcess
from tests.fleet.rig import Agent, registration

pytestmark = pytest.mark.anyio
AGENTS = 40
SILENT = 8
ROUNDS = 6
TIMEOUT_S = 60.0
FORCE_STALE = """
WITH seeing AS (UPDATE worker_state SET blind_until = '-infinity' WHERE name = 'health')
UPDATE agents SET last_heartbeat_at = least(last_heartbeat_at, now() - interval '60 s')
WHERE agent_id = ANY($1::uuid[]) AND status = 'active'"""
STALE = "SELECT count(*) FROM agents WHERE agent_id = ANY($1::uuid[]) AND status = 'stale'"


class TwoPlanes:
    """Both, and agents that speak to either: whoever gets no answer asks the other, with the same body."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self._settings = {
            "DATABASE_URL": url,
            "DATA_DIR": str(data_dir),
            "HEARTBEAT_INTERVAL_SECONDS": "20",
            "HEALTH_CHECK_INTERVAL_SECONDS": "1",
            "LOG_LEVEL": "warn",
            **GIVEN,
        }
        self.planes: list[FleetProcess] = []
        self.answers: Counter[str] = Counter()

    async def start(self) -> FleetProcess:
        plane = FleetProcess(self._settings)
        await plane.__aenter__()
        return plane

    async def register(self, client: httpx.AsyncClient, number: int) -> Agent:
        answer = await client.post(
            f"http://127.0.0.1:{self.planes[0].port}/management/v1/agents/register",
            json=registration(name=f"sync-{number}"),
            headers={"Authorization": f"Bearer {KEY}"},
        )
        assert answer.status_code == 201, answer.text
        return Agent(answer.json()["agent_id"], answer.json()["token"], client)

    async def beat(self, agent: Agent) -> None:
        body = agent.heartbeat({"connections": agent.sequence})
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                plane = random.choice(self.planes)
                url = f"http://127.0.0.1:{plane.port}{agent.path}/heartbeat"
                try:
                    answer = await agent.client.post(url, json=body, headers=agent.headers)
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code in (429, 503):  # counted per instance; its database pool is gone
                    await asyncio.sleep(0.05)
                    continue
                assert answer.status_code == 200, answer.text
                self.answers[answer.json()["status"]] += 1
                return


@pytest.fixture
async def planes(fleet_database_url: str, tmp_path: Path) -> AsyncIterator[TwoPlanes]:
    both = TwoPlanes(fleet_database_url, tmp_path)
    try:
        for _ in range(2):
            both.planes.append(await both.start())
        yield both
    finally:
        for plane in both.planes:
            await plane.__aexit__(None, None, None)


async def test_killed_under_load_neither_loses_nor_repeats_what_happened(
    planes: TwoPlanes, fleet_database_url: str
) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=TIMEOUT_S))
        connection = await stack.enter_async_context(connected(fleet_database_url))
        agents = [await planes.register(client, number) for number in range(AGENTS)]
        await asyncio.gather(*[planes.beat(agent) for agent in agents])
        silenced: Counter[str] = Counter()
        for turn in range(ROUNDS):
            silent = random.sample(agents, SILENT)
            ids = [agent.agent_id for agent in silent]
            silenced.update(ids)
            await connection.execute(FORCE_STALE, ids)
            beating = [planes.beat(agent) for agent in agents if agent not in silent]
            await asyncio.gather(kill_one(planes, turn % 2), *beating)
            async with asyncio.timeout(TIMEOUT_S):
                while await connection.fetchval(STALE, ids) < SILENT:
                    await asyncio.sleep(0.1)
                    await connection.execute(FORCE_STALE, ids)
            # They come back while the other plane is killed.
            await asyncio.gather(kill_one(planes, 1 - turn % 2), *[planes.beat(agent) for agent in silent])
        assert await told(connection, "agent.stale") == silenced
        assert await told(connection, "agent.recovered") == silenced
        alerts = await connection.fetch(
            "SELECT subject_id, status, occurrences FROM alerts WHERE kind = 'agent.stale'"
        )
        assert Counter(alert["subject_id"] for alert in alerts) == silenced
        assert {(alert["status"], alert["occurrences"]) for alert in alerts} == {("resolved", 1)}
        counts: Any = await connection.fetchval(
            "SELECT jsonb_object_agg(type, n) FROM (SELECT type, count(*) n FROM webhook_events GROUP BY 1) t"
        )
        raised = await connection.fetchval("SELECT count(*) FROM alerts")
        assert f'"alert.raised": {raised}' in counts
        sequences = await connection.fetch("SELECT agent_id, last_sequence FROM agents")
        assert {str(row["agent_id"]): row["last_sequence"] for row in sequences} == {
            agent.agent_id: agent.sequence for agent in agents
        }


async def kill_one(planes: TwoPlanes, which: int) -> None:
    """Kill -9 in the middle of what it does, and start another in its place."""
    await asyncio.sleep(random.uniform(0.0, 0.3))
    killed = planes.planes[which]
    await killed.kill()
    await killed.__aexit__(None, None, None)
    planes.planes[which] = await planes.start()


async def told(connection: Any, type_: str) -> Counter[str]:
    rows = await connection.fetch(
        """SELECT convert_from(payload, 'UTF8')::jsonb -> 'data' ->> 'agent_id' AS id
           FROM webhook_events WHERE type = $1""",
        type_,
    )
    return Counter(row["id"] for row in rows)
