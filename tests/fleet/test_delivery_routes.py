"""Routes of deliveries: lists, filters and pages, one with its attempts, and what is not there."""

from typing import Final

import pytest

from less_sync.fleet.store import events
from less_sync.fleet.store.events import Event
from tests.fleet.rig import Fleet

NOBODY: Final = "5cfdeaa8-3084-4d3d-a46d-be0e35e65c2c"

PLACE = "/management/v1/webhooks"
SHOWN = [
    *("id", "webhook_id", "event_id", "event_type", "status", "attempts", "next_attempt_at", "last_status"),
    *("last_error", "last_duration_ms", "created_at", "completed_at"),
]


@pytest.fixture
async def webhooks(fleet: Fleet) -> list[str]:
    """Two endpoints with ten deliveries each, of five changes a minute apart, the first the oldest."""
    made = []
    for name in "ab":
        body = {"url": f"https://93.184.215.14/{name}", "events": ["agent.*"]}
        made.append((await fleet.client.post(PLACE, json=body)).json()["webhook"]["id"])
    for minutes in range(5, 0, -1):
        async with fleet.plane.database.transaction() as connection:
            await events.write(
                connection, [Event("agent.stale", {"at": minutes}), Event("agent.inactive", {})]
            )
        await fleet.execute(
            "UPDATE webhook_deliveries SET created_at = now() - make_interval(mins => $1)"
            " WHERE created_at > now() - interval '30 s'",
            minutes,
        )
    return made


async def test_all_and_those_of_one_newest_first(fleet: Fleet, webhooks: list[str]) -> None:
    answer = await fleet.client.get(f"{PLACE}/deliveries")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["deliveries", "next_cursor"]
    found = body["deliveries"]
    assert len(found) == 20
    assert [list(one) for one in found] == [SHOWN] * 20
    assert [one["created_at"] for one in found] == sorted((one["created_at"] for one in found), reverse=True)
    of_one = (await fleet.client.get(f"{PLACE}/{webhooks[0]}/deliveries")).json()["deliveries"]
    assert of_one == [one for one in found if one["webhook_id"] == webhooks[0]]
    assert len(of_one) == 10


async def test_filters(fleet: Fleet, webhooks: list[str]) -> None:
    await fleet.execute(
        "UPDATE webhook_deliveries SET status = 'dead'"
        " WHERE webhook_id = $1 AND created_at < now() - interval '4 min'",
        webhooks[1],
    )
    since = await fleet.value("SELECT to_char(now() - interval '150 s', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    for params, count in (
        ({"status": "dead"}, 4),
        ({"status": "pending"}, 16),
        ({"event_type": "agent.inactive"}, 10),
        ({"event_type": "agent.inactive", "status": "dead"}, 2),
        ({"since": since}, 8),
        ({"since": "2100-01-01T00:00:00Z"}, 0),
    ):
        found = (await fleet.client.get(f"{PLACE}/deliveries", params=params)).json()["deliveries"]
        assert len(found) == count, params
        of_one = (await fleet.client.get(f"{PLACE}/{webhooks[1]}/deliveries", params=params)).json()
        assert of_one["deliveries"] == [one for one in found if one["webhook_id"] == webhooks[1]]


@pytest.mark.parametrize("place", ["deliveries", "{}/deliveries"])
async def test_pages_are_complete_though_rows_come_meanwhile(
    fleet: Fleet, webhooks: list[str], place: str
) -> None:
    path = f"{PLACE}/{place.format(webhooks[0])}"
    whole = [one["id"] for one in (await fleet.client.get(path)).json()["deliveries"]]
    seen: list[str] = []
    params = {"limit": "3"}
    for _ in range(len(whole) // 3 + 1):
        body = (await fleet.client.get(path, params=params)).json()
        seen += [one["id"] for one in body["deliveries"]]
        params["cursor"] = body["next_cursor"]
        async with fleet.plane.database.transaction() as connection:
            await events.write(connection, [Event("agent.stale", {})])
    assert seen == whole
    assert body["next_cursor"] is None


@pytest.mark.parametrize(
    "params",
    [
        *({"status": "sending"}, {"event_type": "agent.exploded"}, {"since": "yesterday"}, {"limit": "0"}),
        *({"limit": "201"}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "W10"}, {"colour": "red"}),
    ],
)
async def test_query_that_is_wrong(fleet: Fleet, params: dict[str, str]) -> None:
    answer = await fleet.client.get(f"{PLACE}/deliveries", params=params)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["fields"]] == list(params)


async def test_one_with_what_was_sent_and_its_attempts(fleet: Fleet, webhooks: list[str]) -> None:
    delivery = (await fleet.client.get(f"{PLACE}/{webhooks[0]}/deliveries")).json()["deliveries"][-1]
    await fleet.execute("UPDATE webhook_deliveries SET last_response = 'no'")
    for attempt, status in ((1, None), (2, 500)):
        await fleet.execute(
            "INSERT INTO webhook_attempts (delivery_id, attempt, status, error, duration_ms)"
            " VALUES ($1, $2, $3, 'e', 7)",
            delivery["id"],
            attempt,
            status,
        )
    answer = await fleet.client.get(f"{PLACE}/deliveries/{delivery['id']}")
    assert answer.status_code == 200
    shown = answer.json()["delivery"]
    assert list(shown) == [*SHOWN, "payload", "response", "history"]
    assert {name: shown[name] for name in SHOWN} == delivery
    assert list(shown["payload"]) == ["type", "timestamp", "data"]
    assert shown["payload"]["type"] == delivery["event_type"]
    assert shown["response"] == "no"
    assert [{**one, "at": ""} for one in shown["history"]] == [
        {"attempt": 1, "at": "", "status": None, "error": "e", "duration_ms": 7},
        {"attempt": 2, "at": "", "status": 500, "error": "e", "duration_ms": 7},
    ]


@pytest.mark.parametrize("delivery_id", [NOBODY, "x"])
async def test_delivery_that_is_not_there(fleet: Fleet, delivery_id: str) -> None:
    for method, path in (("GET", delivery_id), ("POST", f"{delivery_id}/redeliver")):
        answer = await fleet.client.request(method, f"{PLACE}/deliveries/{path}")
        assert (answer.status_code, answer.json()["error"]) == (404, "delivery not found")


async def test_redelivery_is_in_the_trail_and_wakes_the_worker(fleet: Fleet, webhooks: list[str]) -> None:
    delivery = (await fleet.client.get(f"{PLACE}/{webhooks[0]}/deliveries")).json()["deliveries"][0]
    fleet.plane.deliveries_due.clear()
    answer = await fleet.client.post(f"{PLACE}/deliveries/{delivery['id']}/redeliver")
    assert (answer.status_code, answer.json()) == (202, {"message": "delivery scheduled"})
    assert fleet.plane.deliveries_due.is_set()
    [row] = await fleet.rows("SELECT subject_id FROM audit_log WHERE action = 'delivery.redeliver'")
    assert row["subject_id"] == delivery["id"]
