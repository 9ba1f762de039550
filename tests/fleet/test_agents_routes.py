"""Reading and changing agents, and the figures of the whole fleet."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.fleet.rig import Agent, Fleet

pytestmark = pytest.mark.anyio
AGENTS = "/management/v1/agents"
NOBODY = "2f0c8a3e-6d0b-4c3e-9a55-0d8f0e6a7b1c"
AGENT_KEYS = [
    *("agent_id", "instance_id", "name", "kind", "status", "hostname", "public_url", "os", "arch", "version"),
    *("region", "labels", "heartbeat_interval_seconds", "last_heartbeat_at", "status_changed_at"),
    *("uptime_seconds", "report", "desired_version", "desired_state", "license_id", "server_id"),
    *("created_at", "updated_at", "retired_at"),
]


async def names(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get(AGENTS, params=query)
    assert answer.status_code == 200, answer.text
    return [agent["name"] for agent in answer.json()["agents"]]


async def problems(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get(AGENTS, params=query)
    assert answer.status_code == 400, answer.text
    return [problem["field"] for problem in answer.json()["fields"]]


async def test_agents_are_found_by_what_they_are(fleet: Fleet) -> None:
    await fleet.register(
        name="alpha", hostname="One.example", region="eu-1", labels={"tier": "gold", "ring": "1"}
    )
    await fleet.register(name="50%_off", kind="volume", version="2.0.0", labels={"tier": "gold"})
    gone = await fleet.register(name="gone")
    await fleet.client.delete(gone.path)
    client = fleet.client
    assert await names(client) == ["alpha", "50%_off"]
    assert await names(client, status="retired") == ["gone"]
    assert await names(client, status="active", kind="volume") == ["50%_off"]
    assert await names(client, version="2.0.0") == ["50%_off"]
    assert await names(client, region="eu-1") == ["alpha"]
    assert await names(client, license_id=str(uuid4())) == []
    assert await names(client, label="tier:gold") == ["alpha", "50%_off"]
    assert await names(client, label=["tier:gold", "ring:1"]) == ["alpha"]
    assert await names(client, label="tier:") == []
    assert await names(client, q="AL") == ["alpha"]
    assert await names(client, q="one.") == ["alpha"]
    assert await names(client, q="%") == []
    assert await names(client, q="50%_") == ["50%_off"]
    assert await problems(client, label="tier:\x1b") == ["label"]
    assert await problems(
        client, status="lost", license_id="x", label="tier", limit="0", cursor="?", more="1"
    ) == [
        *("status", "license_id", "label", "limit", "cursor", "more"),
    ]


async def test_pages_are_complete_while_agents_are_added(fleet: Fleet) -> None:
    for number in range(7):
        await fleet.register(name=f"old-{number}")
    await fleet.execute("UPDATE agents SET created_at = '2026-01-01'")  # all at once: the id decides
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(5):
        content = (await fleet.client.get(AGENTS, params={"limit": 2, **cursor})).json()
        seen += [agent["name"] for agent in content["agents"]]
        cursor = {"cursor": content["next_cursor"]}
        if len(seen) < 6:
            await fleet.register(name="new")
    assert content["next_cursor"] is None
    # Those added meanwhile come at the end.
    assert sorted(seen[:7]) == [f"old-{number}" for number in range(7)]
    assert seen[7:] == ["new", "new"]


async def test_one_agent_is_shown_with_its_history_and_alerts(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat({"connections": 2, "database_ok": False})
    content = (await fleet.client.get(agent.path)).json()
    assert list(content) == ["agent", "history", "alerts"]
    assert list(content["agent"]) == AGENT_KEYS
    assert [alert["kind"] for alert in content["alerts"]] == ["agent.database"]
    [point] = content["history"]
    assert list(point) == ["received_at", "sequence", "version", "report"]
    assert (point["sequence"], point["report"]["connections"]) == (1, 2)
    assert (await fleet.client.get(agent.path, params={"history": "none"})).json()["history"] == []
    assert (await fleet.client.get(agent.path, params={"history": "1h"})).status_code == 400


async def test_history_is_bounded_and_its_newest_points_are_told(fleet: Fleet) -> None:
    agent = await fleet.register()
    await fleet.execute(
        """INSERT INTO heartbeats SELECT $1, now() - make_interval(mins => n), 1000 - n, $1, '1.0.0', '{}'
           FROM generate_series(1, 500) n""",
        agent.agent_id,
    )
    for window, points in (("24h", 300), ("7d", 300)):
        history = (await fleet.client.get(agent.path, params={"history": window})).json()["history"]
        assert [point["sequence"] for point in history] == list(range(1000 - points, 1000))
    await fleet.execute("UPDATE heartbeats SET received_at = received_at - interval '24 hours'")
    assert (await fleet.client.get(agent.path)).json()["history"] == []
    assert len((await fleet.client.get(agent.path, params={"history": "7d"})).json()["history"]) == 300


async def test_an_agent_reads_its_own_row_and_no_more(fleet: Fleet) -> None:
    agent, other = await fleet.register(), await fleet.register()
    await agent.beat({"database_ok": False})
    own = await fleet.anonymous.get(agent.path, headers=agent.headers)
    assert own.status_code == 200
    assert (own.json()["history"], own.json()["alerts"]) == ([], [])
    assert (await fleet.anonymous.get(other.path, headers=agent.headers)).status_code == 403
    assert (await fleet.anonymous.get(AGENTS, headers=agent.headers)).status_code == 403


async def test_operators_change_what_is_theirs(fleet: Fleet) -> None:
    agent = await fleet.register()
    changes = {
        "name": "new",
        "labels": {"tier": "gold"},
        "desired_state": "draining",
        "desired_version": None,
    }
    answer = await fleet.client.patch(agent.path, json=changes)
    assert answer.status_code == 200
    assert list(answer.json()) == ["message", "agent"]
    shown = answer.json()["agent"]
    assert {key: shown[key] for key in changes} == changes
    told = (await agent.beat()).json()["desired"]
    assert told == {"state": "draining", "version": None}
    [entry] = await fleet.rows("SELECT * FROM audit_log WHERE action = 'agent.change'")
    assert (entry["subject_id"], entry["detail"]) == (agent.agent_id, changes)
    # What is not named stays.
    await fleet.client.patch(agent.path, json={"name": "newer"})
    assert (await fleet.client.get(agent.path)).json()["agent"]["labels"] == {"tier": "gold"}


async def test_a_change_that_makes_no_sense_is_refused(fleet: Fleet) -> None:
    agent = await fleet.register()

    async def fields(**changes: Any) -> list[str]:
        answer = await fleet.client.patch(agent.path, json=changes)
        assert answer.status_code == 400
        return [problem["field"] for problem in answer.json()["fields"]]

    assert await fields() == ["body"]
    assert await fields(
        name="", labels={"less-sync/x": ""}, desired_version="1", desired_state="off", os="x"
    ) == [
        *("name", "labels.less-sync/x", "desired_version", "desired_state", "os"),
    ]


async def test_a_wanted_version_is_one_that_there_is_for_the_platform(fleet: Fleet) -> None:
    agent = await fleet.register()
    answer = await fleet.client.patch(agent.path, json={"desired_version": "1.2.0", "name": "other"})
    assert answer.status_code == 400
    assert answer.json()["fields"] == [
        {"field": "desired_version", "message": "there is no published release 1.2.0 for linux/amd64"}
    ]
    await fleet.execute(
        "INSERT INTO releases (version, sort_key, channel, status, created_by) "
        "VALUES ('1.2.0', '1', 'stable', 'published', '')"
    )
    await fleet.execute(
        """INSERT INTO release_artifacts
             (id, version, os, arch, object_key, filename, size_bytes, sha256, manifest, signature, key_id,
              uploaded_at)
           VALUES (gen_random_uuid(), '1.2.0', 'linux', 'amd64', '', '', 1, sha256(''), '',
             sha256('') || sha256(''), '', now())"""
    )
    assert (await fleet.client.patch(agent.path, json={"desired_version": "1.2.0"})).status_code == 200
    assert (await agent.beat()).json()["desired"]["version"] == "1.2.0"


async def test_a_retired_agent_is_void_at_once_and_stays_to_be_seen(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat({"database_ok": False})
    answer = await fleet.client.delete(agent.path)
    assert (answer.status_code, answer.json()) == (200, {"message": "agent retired"})
    assert (await agent.beat()).status_code == 410
    assert (await fleet.anonymous.get(agent.path, headers=agent.headers)).status_code == 401
    content = (await fleet.client.get(agent.path)).json()
    assert (content["agent"]["status"], len(content["history"]), content["alerts"]) == ("retired", 1, [])
    [resolved] = await fleet.rows("SELECT status, resolved_by FROM alerts")
    assert (resolved["status"], resolved["resolved_by"]) == ("resolved", "management-key")
    assert [event["type"] for event in await fleet.events("agent.ret")] == ["agent.retired"]
    for refused in (
        await fleet.client.delete(agent.path),
        await fleet.client.patch(agent.path, json={"name": "x"}),
        await fleet.client.post(f"{agent.path}/rotate-token"),
    ):
        assert (refused.status_code, refused.json()["error"]) == (410, "agent retired")


@pytest.mark.parametrize("agent_id", [NOBODY, "x", NOBODY.upper()])
async def test_what_there_is_not_is_404(fleet: Fleet, agent_id: str) -> None:
    path = f"{AGENTS}/{agent_id}"
    for answer in (
        await fleet.client.get(path),
        await fleet.client.patch(path, json={"name": "x"}),
        await fleet.client.delete(path),
        await fleet.client.post(f"{path}/rotate-token"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (404, "agent not found")


async def test_a_heartbeat_and_a_retirement_at_once_leave_no_alert(fleet: Fleet) -> None:
    for _ in range(5):
        agent = await fleet.register()
        await agent.beat()
        beats = [agent.beat({"database_ok": False}) for _ in range(3)]
        await asyncio.gather(*beats, fleet.client.delete(agent.path))
    assert await fleet.live_alerts() == {}


async def test_stats_equal_a_count_by_hand(fleet: Fleet) -> None:
    shared = {"database_id": "a" * 16, "spaces": 5, "records": 50, "storage_bytes": 500}
    agents = [await fleet.register(name=f"n{number}", region="eu" if number else None) for number in range(5)]
    volume = await fleet.register(kind="volume", version="2.0.0", os="darwin", arch="arm64")
    for agent in agents[:2]:
        await agent.beat({"connections": 2, **shared})
    await agents[2].beat(
        {"connections": 1, "spaces": 1, "records": 10, "storage_bytes": 100, "database_ok": False}
    )
    await agents[3].beat({"connections": 100, "spaces": 100})
    await fleet.execute("UPDATE agents SET status = 'stale' WHERE agent_id = $1", agents[3].agent_id)
    await fleet.client.delete(agents[4].path)
    await volume.beat(version="2.0.0")
    content = (await fleet.client.get("/management/v1/fleet/stats")).json()
    assert isinstance(content.pop("generated_at"), str)
    assert content == {
        "total": 5,
        "by_status": {"active": 4, "stale": 1, "inactive": 0, "retired": 1},
        "by_kind": {"sync": 4, "volume": 1},
        "by_version": {"1.0.0": 4, "2.0.0": 1},
        "by_os": {"linux": 4, "darwin": 1},
        "by_region": {"eu": 3, "unknown": 2},
        "totals": {"connections": 5, "spaces": 6, "records": 60, "storage_bytes": 600},
        "licenses": {"active": 0, "expiring_30d": 0, "expired": 0},
        "alerts": {"open": 1, "critical": 1},
        "releases": {"latest_stable": None},
    }


async def test_stats_are_reused_for_five_seconds(fleet: Fleet) -> None:
    first = (await fleet.client.get("/management/v1/fleet/stats")).json()
    assert first["total"] == 0
    await fleet.register()
    assert (await fleet.client.get("/management/v1/fleet/stats")).json() == first
    fleet.use()
    assert (await fleet.client.get("/management/v1/fleet/stats")).json()["total"] == 1


async def test_maps_of_stats_are_cut_to_the_fifty_largest(fleet: Fleet) -> None:
    await fleet.execute(
        """INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version,
             heartbeat_interval_seconds, token_hash)
           SELECT gen_random_uuid(), gen_random_uuid(), 'n', 'sync', 'linux', 'amd64',
             '1.0.' || least(n, 60), 60, sha256(n::text::bytea)
           FROM generate_series(1, 70) n"""
    )
    versions = (await fleet.client.get("/management/v1/fleet/stats")).json()["by_version"]
    assert len(versions) == 51
    assert next(iter(versions.items())) == ("1.0.60", 11)
    assert (versions["other"], sum(versions.values())) == (10, 70)


async def test_a_twin_of_an_agent_is_seen_by_operators(fleet: Fleet) -> None:
    agent = await fleet.register()
    twin = Agent(agent.agent_id, agent.token, fleet.anonymous)
    for one in (agent, twin, agent):
        await one.beat()
    [alert] = (await fleet.client.get(agent.path)).json()["alerts"]
    assert alert["kind"] == "agent.duplicate"
    assert sorted(alert["detail"]["boot_ids"]) == sorted([agent.boot_id, twin.boot_id])
