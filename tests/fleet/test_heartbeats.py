"""Heartbeats: which count, what they change and tell, and who is refused with what."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from less_sync.fleet.heartbeat_limit import PER_INTERVAL_MAX
from less_sync.fleet.identifiers import AGENT_TOKEN, new_token
from less_sync.fleet.reports import REPORT
from tests.fleet.raw import ask
from tests.fleet.rig import KEY, Agent, Fleet

pytestmark = pytest.mark.anyio


async def test_a_heartbeat_is_answered_with_what_is_wanted(fleet: Fleet) -> None:
    agent = await fleet.register()
    for _ in range(2):
        answer = await agent.beat({"connections": 3, "unheard_of": 1}, unheard_of=True, license_serial=4)
        assert answer.status_code == 200
        content = answer.json()
        assert datetime.fromisoformat(content.pop("server_time")).tzinfo is not None
        assert content == {
            "status": "ok",
            "agent_status": "active",
            "heartbeat_interval_seconds": 60,
            "desired": {"state": "serving", "version": None},
            "config_revision": 0,
            "license": None,
            "commands": [],
        }
    shown = (await fleet.client.get(agent.path)).json()["agent"]
    assert list(shown["report"]) == list(REPORT)
    assert (shown["report"]["connections"], shown["uptime_seconds"]) == (3, 60)
    assert fleet.plane.metrics.heartbeats == 2


async def test_a_repeated_replayed_or_late_heartbeat_changes_nothing(fleet: Fleet) -> None:
    agent = await fleet.register()
    bodies = [agent.heartbeat({"connections": number}) for number in range(3)]
    for body in (bodies[0], bodies[2]):
        assert (await agent.send(body)).json()["status"] == "ok"
    await fleet.execute("UPDATE agents SET status = 'stale', last_heartbeat_at = now() - interval '1 hour'")
    before = await fleet.rows("SELECT * FROM agents")
    for body in (bodies[2], bodies[1], bodies[0]):
        answer = await agent.send(body)
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["agent_status"]) == ("duplicate", "stale")
    assert await fleet.rows("SELECT * FROM agents") == before


async def test_what_a_replaced_process_sent_is_replayed_in_vain(fleet: Fleet) -> None:
    agent = await fleet.register()
    old = [agent.heartbeat() for _ in range(3)]
    for body in old:
        await agent.send(body)
    agent.boot_id, agent.sequence = str(uuid4()), 0
    assert (await agent.beat()).json()["status"] == "ok"
    fleet.next_interval()
    for body in old:
        assert (await agent.send(body)).json()["status"] == "duplicate"
    assert await fleet.live_alerts() == {}


async def test_a_new_process_begins_anew_and_leaves_a_point_of_history(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat()
    await agent.beat()
    assert await fleet.value("SELECT count(*) FROM heartbeats") == 1
    agent.boot_id, agent.sequence = str(uuid4()), 0
    assert (await agent.beat()).json()["status"] == "ok"
    points = await fleet.rows("SELECT sequence, boot_id FROM heartbeats ORDER BY received_at")
    # The first, the last of the process that was replaced, and the first of the new one.
    assert [point["sequence"] for point in points] == [1, 2, 1]
    assert str(points[-1]["boot_id"]) == agent.boot_id


async def test_two_processes_with_one_identity_are_one_alert_and_both_are_answered(fleet: Fleet) -> None:
    one = await fleet.register()
    other = Agent(one.agent_id, one.token, fleet.anonymous)
    await one.beat()
    assert (await other.beat()).json()["status"] == "ok"
    assert await fleet.live_alerts() == {}  # so far it may have been restarted
    for twin in (one, other, one):
        answer = await twin.beat()
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert await fleet.live_alerts() == {"agent.duplicate": "critical"}
    assert await fleet.value("SELECT occurrences FROM alerts") == 3
    assert len(await fleet.events("alert.raised")) == 1


async def test_a_process_that_was_stopped_for_long_is_no_second_one(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat()
    other = Agent(agent.agent_id, agent.token, fleet.anonymous)
    await other.beat()
    await fleet.execute("UPDATE agents SET last_heartbeat_at = now() - interval '4 minutes'")
    assert (await agent.beat()).json()["status"] == "ok"
    assert await fleet.live_alerts() == {}


async def test_history_is_sampled(fleet: Fleet) -> None:
    fleet.use(heartbeat_sample_s=300)
    agent = await fleet.register()
    for _ in range(3):
        await agent.beat()
    assert await fleet.value("SELECT count(*) FROM heartbeats") == 1
    await fleet.execute("UPDATE heartbeats SET received_at = received_at - interval '5 minutes'")
    await agent.beat()
    assert await fleet.value("SELECT count(*) FROM heartbeats") == 2


async def test_a_changed_setting_makes_nobody_late(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat()
    fleet.use(heartbeat_interval_s=3600)
    assert (await agent.beat()).json()["heartbeat_interval_seconds"] == 3600
    assert await fleet.value("SELECT heartbeat_interval_seconds FROM agents") == 3600
    fleet.use(heartbeat_interval_s=5)
    agent.sequence -= 1
    # What is repeated stores nothing, so it tells what is stored.
    assert (await agent.beat()).json()["heartbeat_interval_seconds"] == 3600


async def test_a_changed_version_is_told_once(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat()
    await agent.beat(version="1.1.0-rc.1")
    await agent.beat(version="1.1.0-rc.1")
    [updated] = await fleet.events("agent.updated")
    assert (updated["data"]["from_version"], updated["data"]["to_version"]) == ("1.0.0", "1.1.0-rc.1")
    assert updated["data"]["version"] == "1.1.0-rc.1"


async def test_a_heartbeat_brings_a_silent_agent_back(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat()
    await fleet.execute(
        "UPDATE agents SET status = 'inactive', last_heartbeat_at = now() - interval '1 hour'"
    )
    assert (await agent.beat()).json()["agent_status"] == "active"
    [recovered] = await fleet.events("agent.recovered")
    assert recovered["data"]["previous_status"] == "inactive"
    assert recovered["data"]["down_seconds"] == 3600


async def test_thresholds_raise_and_end_alerts_with_a_distance_between(fleet: Fleet) -> None:
    fleet.use(heartbeat_interval_s=5)
    agent = await fleet.register()
    await agent.beat()
    for free, live in (
        (0.11, {}),
        (0.09, {"agent.disk": "warning"}),
        (0.11, {"agent.disk": "warning"}),
        (0.04, {"agent.disk": "critical"}),
        (0.09, {"agent.disk": "critical"}),
        (None, {"agent.disk": "critical"}),
        (0.13, {}),
    ):
        fleet.next_interval()
        assert (await agent.beat({"disk_free_ratio": free})).status_code == 200
        assert await fleet.live_alerts() == live, free
    assert [event["type"] for event in await fleet.events("alert.")] == ["alert.raised", "alert.resolved"]


async def test_an_alert_that_was_resolved_too_early_is_raised_by_the_next_heartbeat(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat({"database_ok": False})
    [alert] = (await fleet.client.get("/management/v1/alerts")).json()["alerts"]
    assert (alert["kind"], alert["severity"]) == ("agent.database", "critical")
    await fleet.client.post(f"/management/v1/alerts/{alert['id']}/resolve")
    assert await fleet.live_alerts() == {}
    await agent.beat({"database_ok": False})
    assert await fleet.live_alerts() == {"agent.database": "critical"}
    await agent.beat({"database_ok": True})
    assert await fleet.live_alerts() == {}


async def test_a_clock_that_is_off_is_an_alert_until_it_is_right(fleet: Fleet) -> None:
    agent = await fleet.register()
    for off_s, live in (
        (61, {"agent.clock_skew": "warning"}),
        (40, {"agent.clock_skew": "warning"}),
        (20, {}),
    ):
        sent_at = datetime.now(UTC) - timedelta(seconds=off_s)
        await agent.beat(sent_at=sent_at.isoformat())
        assert await fleet.live_alerts() == live
    # The time of the heartbeat is the database's all the same.
    assert await fleet.value("SELECT now() - last_heartbeat_at < interval '10 seconds' FROM agents")


async def test_all_problems_of_a_heartbeat_are_told_at_once(fleet: Fleet) -> None:
    agent = await fleet.register()
    report = {
        "connections": -1,
        "cpu_ratio": "much",
        "database_ok": 1,
        "features": ["a", 2],
        "migration": 1.5,
    }
    body = {"sequence": 0, "boot_id": "x", "version": "v1", "sent_at": "now", "report": report}
    answer = await agent.send(body)
    assert answer.status_code == 400
    assert [problem["field"] for problem in answer.json()["fields"]] == [
        "sequence",
        "boot_id",
        "version",
        "uptime_seconds",
        "sent_at",
        "report.connections",
        "report.cpu_ratio",
        "report.database_ok",
        "report.migration",
        "report.features[1]",
    ]


async def test_a_figure_that_is_whole_is_an_integer_however_it_is_written(fleet: Fleet) -> None:
    agent = await fleet.register()
    assert (await agent.beat({"connections": 7.0})).status_code == 200
    kept = (await fleet.client.get(agent.path)).json()["agent"]["report"]["connections"]
    assert (kept, type(kept)) == (7, int)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b'{"sequence":1,"sequence":2}', "invalid_json"),
        (b'{"sequence":NaN}', "invalid_json"),
        (b'{"report":{"connections":9007199254740993}}', "invalid_json"),
        (b"[]", "invalid_json"),
        (b'{"report":"' + b"x" * 70_000 + b'"}', "body_too_large"),
    ],
)
async def test_a_bad_body_is_refused_after_a_bad_token(fleet: Fleet, body: bytes, code: str) -> None:
    agent = await fleet.register()
    headers = agent.headers | {"Content-Type": "application/json"}
    answer = await fleet.anonymous.post(f"{agent.path}/heartbeat", content=body, headers=headers)
    assert answer.json()["code"] == code
    headers["Authorization"] = "Bearer lsa_" + "x" * 43
    answer = await fleet.anonymous.post(f"{agent.path}/heartbeat", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid credentials")


async def test_who_is_refused_with_what(fleet: Fleet) -> None:
    agent, other, retired = [await fleet.register() for _ in range(3)]
    await fleet.client.delete(retired.path)
    unknown = f"/management/v1/agents/{uuid4()}/heartbeat"
    malformed = "/management/v1/agents/x/heartbeat"

    async def status(path: str, credential: str | None, *, good: bool = True) -> tuple[int, str]:
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        body = agent.heartbeat() if good else {}
        answer = await fleet.anonymous.post(path, json=body, headers=headers)
        return answer.status_code, answer.json()["error"]

    stranger, beat = "lsa_" + "x" * 43, f"{agent.path}/heartbeat"
    gone = f"{retired.path}/heartbeat"
    for good in (True, False):
        assert await status(beat, None, good=good) == (401, "missing authorization")
        assert await status(beat, stranger, good=good) == (401, "invalid credentials")
        assert await status(beat, KEY, good=good) == (403, "forbidden")
        assert await status(beat, other.token, good=good) == (403, "forbidden")
        assert await status(gone, other.token, good=good) == (403, "forbidden")
    assert await status(unknown, agent.token) == (404, "agent not found")
    assert await status(malformed, agent.token) == (404, "agent not found")
    assert await status(malformed, stranger) == (401, "invalid credentials")
    assert await status(gone, retired.token) == (410, "agent retired")
    assert await status(beat, retired.token) == (401, "invalid credentials")


async def test_who_guesses_at_tokens_is_told_to_wait(fleet: Fleet) -> None:
    agent = await fleet.register()
    guesses = [Agent(agent.agent_id, "lsa_" + f"{n:043}", fleet.anonymous) for n in range(11)]
    statuses = [(await guess.beat()).status_code for guess in guesses]
    assert statuses == [401] * 10 + [429]
    assert (await agent.beat()).status_code == 200  # a good one is never refused for its neighbours


async def test_more_heartbeats_than_six_an_interval_are_refused(fleet: Fleet) -> None:
    agent, neighbour = await fleet.register(), await fleet.register()
    answers = [await agent.beat() for _ in range(PER_INTERVAL_MAX + 1)]
    assert [answer.status_code for answer in answers] == [200] * PER_INTERVAL_MAX + [429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert (await neighbour.beat()).status_code == 200


async def test_heartbeats_of_one_agent_at_once_are_taken_in_their_order(fleet: Fleet) -> None:
    agent = await fleet.register()
    await agent.beat()
    bodies = [agent.heartbeat({"disk_free_ratio": 0.01}) for _ in range(5)]
    answers = await asyncio.gather(*[agent.send(body) for body in bodies])
    assert {answer.status_code for answer in answers} == {200}
    assert await fleet.value("SELECT last_sequence FROM agents") == 6
    assert await fleet.value("SELECT occurrences FROM alerts WHERE kind = 'agent.disk'") == 1


async def test_nothing_of_a_heartbeat_but_known_figures_is_kept(fleet: Fleet) -> None:
    agent = await fleet.register()
    figures: dict[str, Any] = {"connections": 1, "secret_of_a_newer_server": "do not keep"}
    await agent.beat(figures, issuer_keys={"project": ["kid"]}, client_address="192.0.2.1")
    kept = json.dumps(await fleet.rows("SELECT * FROM agents, heartbeats"), default=str)
    assert "do not keep" not in kept
    assert "192.0.2.1" not in kept


async def test_of_a_stranger_no_long_body_is_waited_for(fleet: Fleet) -> None:
    fleet.use(request_timeout_s=2)
    agent = await fleet.register()
    long = "Content-Length: 60000"
    begun = b'{"report":{}, "more":"' + b"x" * 10_000
    stranger = f"Authorization: Bearer {new_token(AGENT_TOKEN)}"
    json_ = "Content-Type: application/json"
    heard = await ask(fleet, f"POST {agent.path}/heartbeat", stranger, json_, long, body=begun)
    assert (heard.status, json.loads(heard.body)["error"]) == (401, "invalid credentials")
    body = agent.heartbeat() | {"of a newer agent": "x" * 50_000}
    assert (await agent.send(body)).json()["status"] == "ok"
