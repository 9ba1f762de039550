"""Alerts: one live one however often it is raised, reading them, and what people say of them."""

import asyncio
from typing import Any

import pytest

from less_sync.fleet.store.alerts import COLUMNS, Alert, raise_alerts, resolve_alerts
from tests.fleet.rig import Fleet

pytestmark = pytest.mark.anyio
ALERTS = "/management/v1/alerts"


async def raised(
    fleet: Fleet, kind: str = "agent.disk", subject: str = "a", severity: Any = "warning"
) -> None:
    async with fleet.plane.database.transaction() as connection:
        await raise_alerts(connection, [Alert(kind, severity, "agent", subject, f"{kind} of {subject}")])


async def only(fleet: Fleet) -> dict[str, Any]:
    [alert] = (await fleet.client.get(ALERTS)).json()["alerts"]
    assert list(alert) == list(COLUMNS)
    return dict(alert)


async def test_an_alert_is_one_row_however_often_it_is_raised(fleet: Fleet) -> None:
    await asyncio.gather(*[raised(fleet) for _ in range(20)])
    alert = await only(fleet)
    assert (alert["occurrences"], alert["status"]) == (20, "open")
    assert len(await fleet.events("alert.raised")) == 1
    await raised(fleet, severity="critical")
    assert (await only(fleet))["severity"] == "critical"
    async with fleet.plane.database.transaction() as connection:
        await resolve_alerts(connection, ["agent.disk"], "agent", ["a"])
    await raised(fleet)
    assert (await only(fleet))["occurrences"] == 1
    assert await fleet.value("SELECT count(*) FROM alerts") == 2


async def test_acknowledging_is_idempotent_and_the_first_who_did_stays(fleet: Fleet) -> None:
    await raised(fleet)
    alert = await only(fleet)
    path = f"{ALERTS}/{alert['id']}/acknowledge"
    answers = [
        await fleet.client.put(path, json={"note": "looking\ninto it"}),
        await fleet.client.put(path, json={"note": "me too"}),
        await fleet.client.put(path),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert list(answer.json()) == ["message", "alert"]
        assert answer.json()["message"] == "alert acknowledged"
        told = answer.json()["alert"]
        assert (told["status"], told["note"]) == ("acknowledged", "looking\ninto it")
        assert told["acknowledged_by"] == "management-key"
    assert [event["type"] for event in await fleet.events()] == ["alert.raised", "alert.acknowledged"]
    assert await fleet.value("SELECT count(*) FROM audit_log") == 1
    # It is live: raising it again counts, and it stays acknowledged.
    await raised(fleet)
    assert ((await only(fleet))["occurrences"], (await only(fleet))["status"]) == (2, "acknowledged")


async def test_a_resolved_alert_is_over(fleet: Fleet) -> None:
    await raised(fleet)
    alert = await only(fleet)
    answer = await fleet.client.post(f"{ALERTS}/{alert['id']}/resolve")
    assert (answer.status_code, answer.json()["message"]) == (200, "alert resolved")
    assert answer.json()["alert"]["resolved_by"] == "management-key"
    for again in (
        await fleet.client.post(f"{ALERTS}/{alert['id']}/resolve"),
        await fleet.client.put(f"{ALERTS}/{alert['id']}/acknowledge"),
    ):
        assert (again.status_code, again.json()["error"]) == (409, "alert is already resolved")
    assert (await fleet.client.get(ALERTS)).json() == {"alerts": [], "next_cursor": None}


async def test_two_who_resolve_an_alert_at_once_tell_it_once(fleet: Fleet) -> None:
    await raised(fleet)
    alert = await only(fleet)
    answers = await asyncio.gather(*[fleet.client.post(f"{ALERTS}/{alert['id']}/resolve") for _ in range(5)])
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert len(await fleet.events("alert.resolved")) == 1


@pytest.mark.parametrize("alert_id", ["2f0c8a3e-6d0b-4c3e-9a55-0d8f0e6a7b1c", "x"])
async def test_an_alert_that_there_is_not_is_404(fleet: Fleet, alert_id: str) -> None:
    for answer in (
        await fleet.client.put(f"{ALERTS}/{alert_id}/acknowledge"),
        await fleet.client.post(f"{ALERTS}/{alert_id}/resolve"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (404, "alert not found")


async def test_bodies_that_make_no_sense_are_refused(fleet: Fleet) -> None:
    await raised(fleet)
    path = f"{ALERTS}/{(await only(fleet))['id']}"
    bad: tuple[dict[str, Any], ...] = ({"note": "x" * 1001}, {"note": 7}, {"remark": "x"})
    for body in bad:
        assert (await fleet.client.put(f"{path}/acknowledge", json=body)).status_code == 400
    assert (await fleet.client.post(f"{path}/resolve", json={"note": "x"})).status_code == 400


async def test_alerts_are_found_by_what_they_are_newest_first(fleet: Fleet) -> None:
    await raised(fleet, "agent.disk", "a")
    await raised(fleet, "agent.disk", "b", "critical")
    await raised(fleet, "agent.backup", "a")
    await fleet.execute("UPDATE alerts SET raised_at = '2026-01-01' WHERE kind = 'agent.backup'")
    await fleet.execute("UPDATE alerts SET status = 'resolved', resolved_at = now() WHERE subject_id = 'b'")

    async def found(**query: Any) -> list[str]:
        answer = await fleet.client.get(ALERTS, params=query)
        assert answer.status_code == 200
        return [alert["title"] for alert in answer.json()["alerts"]]

    disk, other, backup = "agent.disk of a", "agent.disk of b", "agent.backup of a"
    assert await found() == [disk, backup]
    assert await found(status="all") == [other, disk, backup]
    assert await found(status="resolved") == [other]
    assert await found(status="acknowledged") == []
    assert await found(status="all", severity="critical") == [other]
    assert await found(kind="agent.backup") == [backup]
    assert await found(subject_type="agent", subject_id="a") == [disk, backup]
    assert await found(subject_type="cluster") == []
    assert await found(since="2026-01-02T00:00:00Z") == [disk]
    bad = await fleet.client.get(
        ALERTS,
        params={"status": "x", "severity": "x", "subject_type": "x", "since": "x", "limit": "201", "x": "x"},
    )
    fields = [problem["field"] for problem in bad.json()["fields"]]
    assert fields == ["status", "severity", "subject_type", "since", "limit", "x"]


async def test_pages_of_alerts_are_complete_while_some_are_raised(fleet: Fleet) -> None:
    for number in range(7):
        await raised(fleet, subject=str(number))
    await fleet.execute("UPDATE alerts SET raised_at = '2026-01-01'")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        content = (await fleet.client.get(ALERTS, params={"limit": 2, **cursor})).json()
        seen += [alert["subject_id"] for alert in content["alerts"]]
        cursor = {"cursor": content["next_cursor"]}
        await raised(fleet, subject=f"new-{len(seen)}")
    assert content["next_cursor"] is None
    assert sorted(seen) == [str(number) for number in range(7)]


async def test_the_summary_counts(fleet: Fleet) -> None:
    empty = (await fleet.client.get(f"{ALERTS}/summary")).json()
    assert empty == {
        "open": 0,
        "acknowledged": 0,
        "resolved_24h": 0,
        "by_severity": {"info": 0, "warning": 0, "critical": 0},
        "by_kind": {},
        "oldest_open_at": None,
    }
    await raised(fleet, "agent.disk", "a")
    await raised(fleet, "agent.disk", "b", "critical")
    await raised(fleet, "agent.backup", "a")
    await raised(fleet, "agent.backup", "b")
    await fleet.execute("UPDATE alerts SET raised_at = '2026-01-01' WHERE kind = 'agent.disk'")
    disk = (await fleet.client.get(ALERTS, params={"severity": "critical"})).json()["alerts"][0]
    await fleet.client.put(f"{ALERTS}/{disk['id']}/acknowledge")
    backup = (await fleet.client.get(ALERTS, params={"kind": "agent.backup"})).json()["alerts"][0]
    await fleet.client.post(f"{ALERTS}/{backup['id']}/resolve")
    summary = (await fleet.client.get(f"{ALERTS}/summary")).json()
    assert list(summary) == list(empty)
    assert summary == {
        "open": 2,
        "acknowledged": 1,
        "resolved_24h": 1,
        "by_severity": {"info": 0, "warning": 2, "critical": 1},
        "by_kind": {"agent.disk": 2, "agent.backup": 1},
        "oldest_open_at": "2026-01-01T00:00:00Z",
    }


async def test_an_event_and_its_change_commit_or_vanish_together(fleet: Fleet) -> None:
    async def fail() -> None:
        async with fleet.plane.database.transaction() as connection:
            await raise_alerts(connection, [Alert("agent.disk", "warning", "agent", "a", "")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await fleet.value("SELECT count(*) FROM alerts") == 0
    assert await fleet.events() == []
