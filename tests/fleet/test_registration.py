"""Who may register, what comes of it, and that neither a lost answer nor a race makes one agent too many."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.fleet.rig import Agent, Fleet, registration

pytestmark = pytest.mark.anyio
REGISTER = "/management/v1/agents/register"
ENROLMENT = "/management/v1/enrolment-tokens"


async def enrolment(fleet: Fleet, **changes: Any) -> str:
    answer = await fleet.client.post(ENROLMENT, json={"label": "new servers", **changes})
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


async def register(fleet: Fleet, credential: str, **changes: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {credential}"}
    return await fleet.anonymous.post(REGISTER, json=registration(**changes), headers=headers)


async def test_a_new_server_is_an_agent_and_gets_a_token(fleet: Fleet) -> None:
    instance = str(uuid4())
    said = registration(
        instance_id=instance,
        name="  sync-1 ",
        hostname="a.example",
        public_url="https://a.example",
        region="eu-1",
        labels={"tier": "gold"},
        license_key="LSK-whatever",
        something_newer=1,
    )
    answer = await fleet.client.post(REGISTER, json=said)
    assert answer.status_code == 201
    content = answer.json()
    assert list(content) == ["agent_id", "token", "heartbeat_interval_seconds", "server_time", "license"]
    assert content["heartbeat_interval_seconds"] == 60
    assert content["license"] is None
    shown = (await fleet.client.get(f"/management/v1/agents/{content['agent_id']}")).json()["agent"]
    assert (shown["instance_id"], shown["name"], shown["labels"]) == (instance, "sync-1", {"tier": "gold"})
    assert (shown["kind"], shown["status"], shown["region"]) == ("sync", "active", "eu-1")
    told = await fleet.events("agent.")
    named = {"agent_id": content["agent_id"], "name": "sync-1", "kind": "sync", "version": "1.0.0"}
    assert [(event["type"], event["data"]) for event in told] == [("agent.registered", named)]


async def test_all_problems_of_a_registration_are_told_at_once_in_the_order_of_its_fields(
    fleet: Fleet,
) -> None:
    said = {
        "name": "a\nb",
        "kind": "cloud",
        "public_url": "https://me@a.example",
        "os": "plan9",
        "arch": 7,
        "version": "1.0",
        "region": "EU",
        "labels": {"less-sync/own": "x"},
    }
    answer = await fleet.client.post(REGISTER, json=said)
    assert answer.status_code == 400
    assert [problem["field"] for problem in answer.json()["fields"]] == [
        "instance_id",
        "name",
        "kind",
        "public_url",
        "os",
        "arch",
        "version",
        "region",
        "labels.less-sync/own",
    ]
    assert await fleet.value("SELECT count(*) FROM agents") == 0


async def test_an_enrolment_token_gives_its_labels_and_is_used_up(fleet: Fleet) -> None:
    token = await enrolment(fleet, labels={"ring": "1"})
    first = await register(fleet, token, labels={"tier": "gold"})
    assert first.status_code == 201
    labels = await fleet.value("SELECT labels FROM agents")
    assert labels == {"tier": "gold", "ring": "1"}
    second = await register(fleet, token)
    assert (second.status_code, second.json()["error"]) == (403, "enrolment token is used up")
    assert await fleet.value("SELECT count(*) FROM agents") == 1


async def test_a_lost_answer_takes_no_second_use_and_raises_no_alert(fleet: Fleet) -> None:
    token, instance = await enrolment(fleet), str(uuid4())
    lost = await register(fleet, token, instance_id=instance)
    again = await register(fleet, token, instance_id=instance)
    assert (lost.status_code, again.status_code) == (201, 200)
    assert await fleet.value("SELECT uses FROM enrolment_tokens") == 1
    agent = Agent(again.json()["agent_id"], again.json()["token"], fleet.anonymous)
    assert (await agent.beat()).status_code == 200
    assert await fleet.live_alerts() == {}
    # From the first heartbeat on, the same looks like a copied data directory.
    third = await register(fleet, token, instance_id=instance)
    assert third.status_code == 403


async def test_a_known_instance_that_lost_its_token_is_the_same_agent_and_somebody_is_told(
    fleet: Fleet,
) -> None:
    instance = str(uuid4())
    old = await fleet.register(instance_id=instance)
    await old.beat()
    answer = await fleet.client.post(REGISTER, json=registration(instance_id=instance, name="renamed"))
    assert (answer.status_code, answer.json()["agent_id"]) == (200, old.agent_id)
    new = Agent(old.agent_id, answer.json()["token"], fleet.anonymous, old.boot_id, old.sequence)
    assert await fleet.live_alerts() == {"agent.reenrolled": "warning"}
    assert [event["type"] for event in await fleet.events("agent.re")] == [
        "agent.registered",
        "agent.reenrolled",
    ]
    # The old token stays good for ten minutes.
    assert (await new.beat()).status_code == 200
    old.sequence = new.sequence
    assert (await old.beat()).status_code == 200
    await fleet.execute("UPDATE agents SET previous_token_until = now()")
    assert (await old.beat()).status_code == 401


async def test_with_its_own_token_an_agent_says_what_is_new_and_keeps_the_token(fleet: Fleet) -> None:
    instance = str(uuid4())
    agent = await fleet.register(instance_id=instance, labels={"tier": "gold", "ring": "1"})
    answer = await register(
        fleet, agent.token, instance_id=instance, version="1.1.0", labels={"tier": "silver"}
    )
    assert (answer.status_code, answer.json()["token"]) == (200, None)
    shown = (await fleet.client.get(agent.path)).json()["agent"]
    assert (shown["version"], shown["labels"]) == ("1.1.0", {"tier": "silver", "ring": "1"})
    updated = await fleet.events("agent.updated")
    assert [(event["data"]["from_version"], event["data"]["to_version"]) for event in updated] == [
        ("1.0.0", "1.1.0")
    ]
    foreign = await register(fleet, agent.token)
    assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")


async def test_a_rotated_token_replaces_the_one_that_was_shown_even_if_the_answer_is_lost(
    fleet: Fleet,
) -> None:
    instance = str(uuid4())
    agent = await fleet.register(instance_id=instance)
    asked = await fleet.client.post(f"{agent.path}/rotate-token")
    assert (asked.status_code, asked.json()) == (200, {"message": "token rotation requested"})
    assert (await agent.beat()).json()["commands"] == [{"type": "rotate_token"}]
    said = registration(instance_id=instance)
    for _ in range(3):  # two answers are lost
        answer = await fleet.anonymous.post(f"{REGISTER}?rotate=1", json=said, headers=agent.headers)
        assert answer.status_code == 200
    agent.token = answer.json()["token"]
    told = await agent.beat()
    assert (told.status_code, told.json()["commands"]) == (200, [])


async def test_two_first_registrations_of_one_instance_make_one_agent(fleet: Fleet) -> None:
    for _ in range(20):
        instance = str(uuid4())
        said = registration(instance_id=instance)
        answers = await asyncio.gather(*[fleet.client.post(REGISTER, json=said) for _ in range(4)])
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
        assert len({answer.json()["agent_id"] for answer in answers}) == 1
    assert await fleet.value("SELECT count(*) FROM agents") == 20


async def test_two_registrations_race_for_the_last_use(fleet: Fleet) -> None:
    for _ in range(20):
        token = await enrolment(fleet)
        answers = await asyncio.gather(*[register(fleet, token) for _ in range(4)])
        assert sorted(answer.status_code for answer in answers) == [201, 403, 403, 403]
    assert await fleet.value("SELECT count(*) FROM agents") == 20
    assert await fleet.value("SELECT max(uses) FROM enrolment_tokens") == 1


async def test_a_registration_brings_a_silent_agent_back(fleet: Fleet) -> None:
    instance = str(uuid4())
    agent = await fleet.register(instance_id=instance)
    await fleet.execute(
        "UPDATE agents SET status = 'stale', last_heartbeat_at = now() - interval '5 minutes'"
    )
    assert (await register(fleet, agent.token, instance_id=instance)).status_code == 200
    assert await fleet.value("SELECT status FROM agents") == "active"
    [recovered] = await fleet.events("agent.recovered")
    assert (recovered["data"]["previous_status"], recovered["data"]["down_seconds"]) == ("stale", 300)


async def test_labels_have_a_bound_whoever_gave_them(fleet: Fleet) -> None:
    instance = str(uuid4())
    agent = await fleet.register(instance_id=instance, labels={f"a{n}": "" for n in range(32)})
    more = {"instance_id": instance, "labels": {f"b{n}": "" for n in range(32)}}
    assert (await register(fleet, agent.token, **more)).status_code == 200
    more["labels"] = {"c": ""}
    answer = await register(fleet, agent.token, **more)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (400, "labels")


async def test_a_retired_instance_may_register_as_another_agent(fleet: Fleet) -> None:
    instance = str(uuid4())
    agent = await fleet.register(instance_id=instance)
    await fleet.client.delete(agent.path)
    assert (await register(fleet, agent.token, instance_id=instance)).status_code == 401
    again = await fleet.client.post(REGISTER, json=registration(instance_id=instance))
    assert again.status_code == 201
    assert again.json()["agent_id"] != agent.agent_id


async def test_enrolment_tokens_are_listed_and_revoked_and_their_text_is_told_once(fleet: Fleet) -> None:
    answer = await fleet.client.post(ENROLMENT, json={"label": "one", "max_uses": 2, "license_id": None})
    made, token = answer.json()["enrolment_token"], answer.json()["token"]
    assert (made["label"], made["max_uses"], made["uses"]) == ("one", 2, 0)
    listed = await fleet.client.get(ENROLMENT)
    assert listed.json() == {"enrolment_tokens": [made], "next_cursor": None}
    assert token not in listed.text
    revoked = await fleet.client.delete(f"{ENROLMENT}/{made['id']}")
    assert (revoked.status_code, revoked.json()) == (200, {"message": "enrolment token revoked"})
    assert (await register(fleet, token)).status_code == 401
    assert (await fleet.client.delete(f"{ENROLMENT}/{uuid4()}")).status_code == 404
    late = await enrolment(fleet)
    await fleet.execute("UPDATE enrolment_tokens SET expires_at = now()")
    assert (await register(fleet, late)).status_code == 401


async def test_an_enrolment_token_that_makes_no_sense_is_refused(fleet: Fleet) -> None:
    said = {"max_uses": 0, "ttl_seconds": 59, "license_id": str(uuid4()), "forever": True}
    answer = await fleet.client.post(ENROLMENT, json=said)
    assert answer.status_code == 400
    fields = [problem["field"] for problem in answer.json()["fields"]]
    assert fields == ["label", "max_uses", "ttl_seconds", "license_id", "forever"]


async def test_whoever_gets_a_token_is_in_the_audit_trail(fleet: Fleet) -> None:
    token = await enrolment(fleet)
    await register(fleet, token)
    trail = await fleet.rows("SELECT actor, action FROM audit_log ORDER BY id")
    assert [entry["action"] for entry in trail] == ["enrolment_token.create", "agent.register"]
    assert trail[0]["actor"] == "management-key"
    assert trail[1]["actor"].startswith("enrolment:")
