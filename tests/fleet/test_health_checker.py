"""The health checker: exact limits, the plane's own absence, mass staleness, and races with heartbeats."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from less_sync.fleet.plane import Plane
from less_sync.fleet.settings import HealthSettings
from less_sync.fleet.store.heartbeats import Heartbeat, take
from less_sync.fleet.workers import health
from tests.fleet.rig import Fleet, fleet_settings

pytestmark = pytest.mark.anyio
_MANY = """
INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version, heartbeat_interval_seconds,
  token_hash, last_heartbeat_at)
SELECT gen_random_uuid(), gen_random_uuid(), 'sync-' || n, 'sync', 'linux', 'amd64', '1.0.0', 60,
  sha256(n::text::bytea), now() - make_interval(secs => $2)
FROM generate_series(1, $1::int) n"""


async def run(fleet: Fleet, plane: Plane | None = None) -> None:
    """A run that is due, as after the usual interval."""
    await fleet.execute(
        """INSERT INTO worker_state (name, last_run_at, owner) VALUES ('health', now() - interval '30 s', '')
           ON CONFLICT (name) DO UPDATE SET last_run_at = excluded.last_run_at"""
    )
    plane = plane or fleet.plane
    worker = health.health(plane)
    while await worker.work(plane):
        pass


async def silent(fleet: Fleet, agent_id: str, seconds: float) -> None:
    await fleet.execute(
        "UPDATE agents SET last_heartbeat_at = now() - make_interval(secs => $2) WHERE agent_id = $1",
        agent_id,
        seconds,
    )


async def statuses(fleet: Fleet) -> dict[str, str]:
    return {row["name"]: row["status"] for row in await fleet.rows("SELECT name, status FROM agents")}


@pytest.mark.parametrize(
    ("silent_s", "interval_s", "status"),
    [
        (179, 60, "active"),
        (181, 60, "stale"),
        (599, 60, "stale"),
        (601, 60, "inactive"),
        (14.5, 5, "active"),
        (15.5, 5, "stale"),
        (50.5, 5, "inactive"),
        (3599, 1200, "active"),
    ],
)
async def test_the_limits_are_exact_and_of_the_agents_own_interval(
    fleet: Fleet, silent_s: float, interval_s: int, status: str
) -> None:
    agent = await fleet.register()
    await fleet.execute("UPDATE agents SET heartbeat_interval_seconds = $1", interval_s)
    await silent(fleet, agent.agent_id, silent_s)
    await run(fleet)
    assert await statuses(fleet) == {"sync-1": status}


async def test_silence_is_told_once_and_ends_with_a_heartbeat(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat()
    await silent(fleet, agent.agent_id, 200)
    await run(fleet)
    await run(fleet)
    assert await fleet.live_alerts() == {"agent.stale": "warning"}
    await silent(fleet, agent.agent_id, 700)
    await run(fleet)
    assert await fleet.live_alerts() == {"agent.inactive": "critical"}
    assert (await agent.beat()).json()["agent_status"] == "active"
    assert await fleet.live_alerts() == {}
    told = [(event["type"], event["data"].get("previous_status")) for event in await fleet.events("agent.")]
    assert sorted(told[1:]) == [
        ("agent.inactive", "stale"),
        ("agent.recovered", "inactive"),
        ("agent.stale", "active"),
    ]
    alerts = [(event["type"], event["data"]["alert"]["kind"]) for event in await fleet.events("alert.")]
    assert sorted(alerts) == [
        ("alert.raised", "agent.inactive"),
        ("alert.raised", "agent.stale"),
        ("alert.resolved", "agent.inactive"),
        ("alert.resolved", "agent.stale"),
    ]


async def test_whoever_is_silent_for_very_long_is_inactive_at_once(fleet: Fleet) -> None:
    agent = await fleet.register()
    await silent(fleet, agent.agent_id, 10_000)
    await run(fleet)
    assert await fleet.live_alerts() == {"agent.inactive": "critical"}


async def test_nobody_is_stale_for_the_planes_own_absence(fleet: Fleet) -> None:
    agent = await fleet.register()
    await silent(fleet, agent.agent_id, 3600)
    worker = health.health(fleet.plane)
    await fleet.execute(
        "INSERT INTO worker_state (name, last_run_at, owner) VALUES ('health', now() - interval '1 hour', '')"
    )
    assert not await worker.work(fleet.plane)
    assert await statuses(fleet) == {"sync-1": "active"}
    # Everybody gets the full time again, and no more than that.
    await fleet.execute("UPDATE worker_state SET blind_until = blind_until - interval '179 s'")
    await run(fleet)
    assert await statuses(fleet) == {"sync-1": "active"}
    await fleet.execute("UPDATE worker_state SET blind_until = blind_until - interval '2 s'")
    await run(fleet)
    assert await statuses(fleet) == {"sync-1": "stale"}


async def test_nobody_is_stale_for_an_absence_in_the_middle_of_a_run(fleet: Fleet) -> None:
    """The process is stopped between two batches, or the database is away, as heartbeats cannot come."""
    await fleet.execute(_MANY, health.BATCH, 200.0)
    await fleet.execute("UPDATE agents SET name = 'silent'")
    await fleet.register()
    await fleet.execute(
        "INSERT INTO worker_state (name, last_run_at, owner) VALUES ('health', now() - interval '30 s', '')"
    )
    worker = health.health(fleet.plane)
    assert await worker.work(fleet.plane)
    await fleet.execute("UPDATE agents SET last_heartbeat_at = last_heartbeat_at - interval '1 hour'")
    await fleet.execute("UPDATE worker_state SET last_run_at = last_run_at - interval '1 hour'")
    for _ in range(2):
        assert not await worker.work(fleet.plane)
        assert (await statuses(fleet))["sync-1"] == "active"


async def test_a_clock_that_is_set_back_ends_no_looking(fleet: Fleet) -> None:
    agent = await fleet.register()
    await fleet.execute(
        "INSERT INTO worker_state (name, last_run_at, owner) VALUES ('health', now() + interval '1 hour', '')"
    )
    await silent(fleet, agent.agent_id, 200)
    worker = health.health(fleet.plane)
    await worker.work(fleet.plane)
    assert await statuses(fleet) == {"sync-1": "stale"}


async def test_an_alert_that_is_being_raised_again_is_not_taken_for_calm(fleet: Fleet) -> None:
    await fleet.execute(
        """INSERT INTO alerts (id, kind, severity, subject_type, subject_id, title, last_seen_at)
           SELECT gen_random_uuid(), 'agent.flapping', 'warning', 'agent', name, '', now() - interval '2 h'
           FROM unnest('{busy,calm}'::text[]) AS name"""
    )
    async with fleet.plane.database.transaction() as connection:
        await connection.execute("UPDATE alerts SET last_seen_at = now() WHERE subject_id = 'busy'")
        await run(fleet)
    live = await fleet.rows("SELECT subject_id FROM alerts WHERE status <> 'resolved'")
    assert [alert["subject_id"] for alert in live] == ["busy"]


async def test_the_first_run_ever_blames_nobody(fleet: Fleet) -> None:
    agent = await fleet.register()
    await silent(fleet, agent.agent_id, 3600)
    assert not await health.health(fleet.plane).work(fleet.plane)
    assert await statuses(fleet) == {"sync-1": "active"}


async def test_half_a_fleet_at_once_is_one_alert(fleet: Fleet) -> None:
    await fleet.execute(_MANY, 9, 0.0)
    await fleet.execute("UPDATE agents SET name = 'well'")
    await fleet.execute(_MANY.replace("sha256(n", "sha256((n + 100)"), 10, 200.0)
    await run(fleet)
    assert await fleet.value("SELECT count(*) FROM agents WHERE status = 'stale'") == 10
    assert await fleet.value("SELECT count(*) FROM alerts WHERE kind = 'agent.stale'") == 10
    told = [(event["type"], event["data"]["alert"]["kind"]) for event in await fleet.events()]
    assert told == [("alert.raised", "cluster.mass_stale")]
    await run(fleet)
    assert await fleet.live_alerts() == {"agent.stale": "warning", "cluster.mass_stale": "critical"}
    # What nobody was told of ends as silently, and the one alert when half of the fleet is back.
    [agent] = await fleet.rows("SELECT agent_id, token_hash FROM agents WHERE name = 'sync-1'")
    back = Heartbeat(1, uuid4(), "1.0.0", datetime.now(UTC), None, {})
    assert await take(fleet.plane, agent["token_hash"], agent["agent_id"], back) is not None
    await run(fleet)
    told = [(event["type"], event["data"]["alert"]["kind"]) for event in await fleet.events()]
    assert told == [
        ("alert.raised", "cluster.mass_stale"),
        ("alert.resolved", "cluster.mass_stale"),
    ]


@pytest.mark.parametrize(("well", "gone"), [(0, 9), (10, 10)])
async def test_fewer_than_ten_or_not_more_than_half_are_told_one_by_one(
    fleet: Fleet, well: int, gone: int
) -> None:
    await fleet.execute(_MANY, well, 0.0)
    await fleet.execute(_MANY.replace("sha256(n", "sha256((n + 100)"), gone, 200.0)
    await run(fleet)
    assert len(await fleet.events("agent.stale")) == gone
    assert await fleet.live_alerts() == {"agent.stale": "warning"}


async def test_transitions_are_made_in_batches(fleet: Fleet) -> None:
    await fleet.execute(_MANY, 2 * health.BATCH + 1, 200.0)
    await run(fleet)
    assert await fleet.value("SELECT count(*) FROM agents WHERE status = 'stale'") == 2 * health.BATCH + 1
    assert await fleet.value("SELECT count(*) FROM alerts WHERE kind = 'agent.stale'") == 2 * health.BATCH + 1


async def test_an_agent_that_comes_and_goes_flaps_until_it_was_calm_for_an_hour(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat()
    for turn in range(1, 6):
        fleet.next_interval()
        await silent(fleet, agent.agent_id, 200)
        await run(fleet)
        await agent.beat()
        assert ("agent.flapping" in await fleet.live_alerts()) == (turn >= 4)
    assert await fleet.value("SELECT occurrences FROM alerts WHERE kind = 'agent.flapping'") == 2
    await run(fleet)
    assert await fleet.live_alerts() == {"agent.flapping": "warning"}
    await fleet.execute("UPDATE alerts SET last_seen_at = last_seen_at - interval '1 hour'")
    await run(fleet)
    assert await fleet.live_alerts() == {}


async def test_two_instances_tell_nothing_twice(fleet: Fleet) -> None:
    instances = [Plane.on(fleet.plane.database, fleet_settings()) for _ in range(4)]
    for _ in range(5):
        await fleet.begin()
        await fleet.execute(_MANY, 30, 200.0)
        await fleet.execute("UPDATE agents SET last_heartbeat_at = now() WHERE name < 'sync-2'")
        await asyncio.gather(*[run(fleet, plane) for plane in instances])
        stale = await fleet.value("SELECT count(*) FROM agents WHERE status = 'stale'")
        assert stale == await fleet.value("SELECT count(*) FROM alerts WHERE kind = 'agent.stale'") > 0
        assert await fleet.value("SELECT max(occurrences) FROM alerts") == 1


async def test_one_run_in_an_interval_however_many_instances_there_are(fleet: Fleet) -> None:
    instances = [Plane.on(fleet.plane.database, fleet_settings()) for _ in range(3)]
    workers = [health.health(plane) for plane in instances]
    owners: list[Any] = []
    for _ in range(5):
        await asyncio.gather(*[worker.work(plane) for worker, plane in zip(workers, instances, strict=True)])
        owners.append((await fleet.rows("SELECT owner, last_run_at FROM worker_state"))[0])
    assert owners == [owners[0]] * 5


async def test_a_heartbeat_that_counted_is_never_followed_by_stale(fleet: Fleet) -> None:
    """A thousand races: each agent is about to be stale and beats while the checker looks."""
    plane = fleet.use(health=HealthSettings(interval_s=1))
    await fleet.execute(_MANY, 50, 0.0)
    beating = await fleet.rows("SELECT agent_id, token_hash FROM agents")
    checker = health.HealthChecker()
    boot_id = uuid4()

    async def beat(agent: dict[str, Any], sequence: int) -> bool:
        sent = Heartbeat(sequence, boot_id, "1.0.0", datetime.now(UTC), None, {})
        taken = await take(plane, agent["token_hash"], agent["agent_id"], sent)
        assert taken is not None
        return taken[1]

    await asyncio.gather(*[beat(agent, 1) for agent in beating])
    for turn in range(20):
        await fleet.execute("UPDATE agents SET last_heartbeat_at = now() - interval '200 s'")
        await fleet.execute("UPDATE worker_state SET last_run_at = now() - interval '1 s'")
        beats = [beat(agent, turn + 2) for agent in beating]
        counted, _ = await asyncio.gather(asyncio.gather(*beats), checker.step(plane))
        assert counted == [True] * len(beating)
        assert await fleet.value("SELECT count(*) FROM agents WHERE status <> 'active'") == 0
        assert await fleet.value("SELECT count(*) FROM alerts WHERE status <> 'resolved'") == 0
    # Some were stale before their heartbeat came, and each of them was told to be back.
    told = [event["type"] for event in await fleet.events("agent.")]
    assert told.count("agent.stale") == told.count("agent.recovered")
