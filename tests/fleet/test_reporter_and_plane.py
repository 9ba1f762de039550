"""The reporter and the plane of this project, over a socket: each takes the other's words."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from less_sync.fleet.reporter.client import Plane
from less_sync.fleet.reporter.report import Report
from tests.fleet.reported import Running, running
from tests.fleet.rig import Fleet

pytestmark = pytest.mark.anyio


async def enrolment(fleet: Fleet, uses: int = 1) -> str:
    answer = await fleet.client.post(
        "/management/v1/enrolment-tokens", json={"label": "tests", "max_uses": uses, "ttl_seconds": 600}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def client(fleet: Fleet) -> Plane:
    return Plane(fleet.url, version="1.2.3")


async def agents(fleet: Fleet) -> list[dict[str, Any]]:
    answer = await fleet.client.get("/management/v1/agents")
    return list(answer.json()["agents"])


async def beat(fleet: Fleet, one: Running) -> None:
    fleet.next_interval()
    await one.clock.next_wait_s()


async def test_a_server_enrols_reports_obeys_and_is_retired(fleet: Fleet, tmp_path: Path) -> None:
    token = await enrolment(fleet)
    async with running(client(fleet), tmp_path, enrolment_token=token) as one:
        assert await one.clock.wait_s() == 0
        await beat(fleet, one)
        assert one.log.of("warning") == []
        (agent,) = await agents(fleet)
        assert (agent["name"], agent["kind"], agent["labels"]) == ("one", "sync", {"a": "b"})
        assert agent["report"]["connections"] == 3
        path = f"/management/v1/agents/{agent['agent_id']}"
        for state in ("draining", "serving"):
            changed = await fleet.client.patch(path, json={"desired_state": state})
            assert changed.status_code == 200, changed.text
            await beat(fleet, one)
        assert one.drains == ["drain", "resume"]
        rotated = await fleet.client.post(f"{path}/rotate-token")
        assert rotated.status_code < 300, rotated.text
        before = one.reporter.standing.beaten
        for _ in range(3):
            await beat(fleet, one)
        assert one.reporter.standing.beaten == before + 3
        assert one.log.of("info").count("the token for the fleet plane is a new one") == 1
        assert one.log.of("warning")[2:] == []
        retired = await fleet.client.delete(path)
        assert retired.status_code == 200, retired.text
        fleet.next_interval()
        one.clock.go()
        await one.ended()
        assert one.log.of("error") == ["the fleet plane has retired this server, which reports no more"]


async def test_every_report_that_can_be_made_is_taken(fleet: Fleet, tmp_path: Path) -> None:
    reports = [
        Report(),
        Report(disk_free_ratio=0.5).minimal(),
        msgspec.convert(
            {name: 7 for name, of in Report.__annotations__.items() if of in (int | None, float | None)}
            | {"database_id": "0123456789abcdef", "database_ok": True, "database_kind": "embedded"}
            | {"draining": True, "features": ["files", "s3"]},
            Report,
        ),
    ]

    async def snapshot() -> Report:
        return reports[0]

    token = await enrolment(fleet)
    async with running(client(fleet), tmp_path, enrolment_token=token, snapshot=snapshot) as one:
        await one.clock.wait_s()
        while reports:
            await beat(fleet, one)
            assert one.log.of("warning") == []
            reports.pop(0)
    (agent,) = await agents(fleet)
    assert agent["report"]["stopping"] is True
    assert (agent["report"]["push_p99_ms"], agent["report"]["features"]) == (7, ["files", "s3"])


async def test_a_spent_enrolment_token_and_one_that_was_never_given(fleet: Fleet, tmp_path: Path) -> None:
    token = await enrolment(fleet)
    (tmp_path / "other").mkdir()
    async with running(client(fleet), tmp_path, enrolment_token=token) as one:
        await one.clock.wait_s()
        await beat(fleet, one)
    for bad in (token, "lse_never"):
        async with running(client(fleet), tmp_path / "other", enrolment_token=bad) as one:
            assert await one.clock.wait_s() in (300, 900)
            assert len(one.log.of("warning")) == 1
    assert len(await agents(fleet)) == 1
