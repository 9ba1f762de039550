"""Routes of webhook endpoints: exact shapes, what is refused, secrets, and what a change means."""

import asyncio
from typing import Any, Final

import httpx
import pytest

from less_sync.fleet.database import value
from less_sync.fleet.plane import Plane
from less_sync.fleet.store import events
from less_sync.fleet.store.events import Event
from less_sync.fleet.store.webhooks import previous_secret_place, secret_place
from less_sync.fleet.webhooks.sending import Sender
from less_sync.fleet.webhooks.signature import parse_secret, secret_text
from tests.fleet.receivers import Names
from tests.fleet.rig import Fleet

NOBODY: Final = "5cfdeaa8-3084-4d3d-a46d-be0e35e65c2c"

PLACE = "/management/v1/webhooks"
PUBLIC = ("93.184.215.14",)
SHOWN = [
    *("id", "url", "description", "events", "enabled", "disabled_reason", "failing_since"),
    *("created_at", "updated_at"),
]


@pytest.fixture(autouse=True)
def names(plane: Plane) -> Names:
    """Every name of these tests has a public address."""
    names = Names(PUBLIC)
    plane.sender = Sender(plane.version, timeout_s=5, resolver=names)
    return names


async def made(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """A webhook and its secret."""
    body = {"url": "https://example.com/hook", "events": ["agent.*"]} | changes
    answer = await client.post(PLACE, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def audited(fleet: Fleet) -> list[tuple[str, str]]:
    rows = await fleet.rows("SELECT action, subject_id FROM audit_log ORDER BY id")
    return [(row["action"], row["subject_id"]) for row in rows]


async def test_what_is_made_has_exactly_a_webhook_and_its_secret(fleet: Fleet) -> None:
    answer = await fleet.client.post(
        PLACE, json={"url": "https://example.com/a?b=c", "events": ["agent.stale", "alert.*", "webhook.test"]}
    )
    assert answer.status_code == 201
    body = answer.json()
    assert list(body) == ["webhook", "secret"]
    webhook = body["webhook"]
    assert list(webhook) == SHOWN
    assert webhook["created_at"] == webhook["updated_at"]
    assert webhook | {"id": "", "created_at": "", "updated_at": ""} == {
        "id": "",
        "url": "https://example.com/a?b=c",
        "description": "",
        "events": ["agent.stale", "alert.*", "webhook.test"],
        "enabled": True,
        "disabled_reason": None,
        "failing_since": None,
        "created_at": "",
        "updated_at": "",
    }
    secret = parse_secret(body["secret"])
    assert len(secret) == 32
    [kept] = await fleet.rows("SELECT id, secret FROM webhooks")
    assert secret not in kept["secret"]
    assert fleet.plane.box.open(kept["secret"], secret_place(kept["id"])) == secret
    assert await audited(fleet) == [("webhook.create", webhook["id"])]


async def test_a_secret_of_the_operators_own_is_kept_and_never_shown_again(fleet: Fleet) -> None:
    secret = secret_text(b"s" * 64)
    body = await made(fleet.client, secret=secret, enabled=False, description="pager\nof the night")
    assert body["secret"] == secret
    one = await fleet.client.get(f"{PLACE}/{body['webhook']['id']}")
    assert (one.status_code, one.json()) == (200, {"webhook": body["webhook"]})
    assert body["webhook"]["enabled"] is False
    listed = await fleet.client.get(PLACE)
    assert (listed.status_code, listed.json()) == (200, {"webhooks": [body["webhook"]], "next_cursor": None})


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"url": None}, "url", "required"),
        ({"url": 7}, "url", "expected a text"),
        ({"url": "http://example.com/"}, "url", "must begin with https://"),
        ({"url": "https://user:pw@example.com/"}, "url", "must not hold a user name or password"),
        ({"url": "https://example.com:22/"}, "url", "port must be 80, 443 or at least 1024"),
        ({"url": "https://127.0.0.1/"}, "url", "address is not allowed"),
        ({"events": None}, "events", "required"),
        ({"events": "agent.stale"}, "events", "expected a list of texts"),
        ({"events": []}, "events", "must have 1 to 50 entries"),
        ({"events": ["agent.stale"] * 51}, "events", "must have 1 to 50 entries"),
        ({"events": ["*", "agent.exploded"]}, "events[1]", 'unknown event type "agent.exploded"'),
        ({"events": ["agent*"]}, "events[0]", 'unknown event type "agent*"'),
        ({"events": ["agent.*", "agent.stale", "agent.*"]}, "events[2]", '"agent.*" is there twice'),
        ({"description": "x" * 501}, "description", "must have at most 500 characters"),
        ({"enabled": "yes"}, "enabled", "expected true or false"),
        ({"secret": "geheim"}, "secret", "must be whsec_ and the base64 of 24 to 64 bytes"),
        ({"colour": "red"}, "colour", "unknown field"),
    ],
)
async def test_what_is_wrong_is_refused(
    fleet: Fleet, names: Names, changes: dict[str, Any], field: str, message: str
) -> None:
    names.answers = [("127.0.0.1",)] if "127" in str(changes) else [PUBLIC]
    answer = await fleet.client.post(PLACE, json={"url": "https://example.com/", "events": ["*"], **changes})
    assert answer.status_code == 400
    body = answer.json()
    assert body["fields"] == [{"field": field, "message": message}]
    assert body["error"] == f"validation failed: {field}: {message}"
    assert await fleet.value("SELECT count(*) FROM webhooks") == 0


async def test_name_with_one_private_address_is_refused_at_creation_and_change(
    fleet: Fleet, names: Names
) -> None:
    webhook = (await made(fleet.client))["webhook"]
    names.answers = [(*PUBLIC, "10.0.0.1")]
    problem = "validation failed: url: address is not allowed"
    answer = await fleet.client.post(PLACE, json={"url": "https://example.org/", "events": ["*"]})
    assert (answer.status_code, answer.json()["error"]) == (400, problem)
    answer = await fleet.client.patch(f"{PLACE}/{webhook['id']}", json={"url": "https://example.org/"})
    assert (answer.status_code, answer.json()["error"]) == (400, problem)
    names.answers = []
    await made(fleet.client, url="https://example.net/")


async def test_change(fleet: Fleet) -> None:
    webhook = (await made(fleet.client))["webhook"]
    place = f"{PLACE}/{webhook['id']}"
    answer = await fleet.client.patch(place, json={"events": ["*"], "description": "all"})
    assert (answer.status_code, answer.json()) == (200, {"message": "webhook updated"})
    changed = (await fleet.client.get(place)).json()["webhook"]
    assert changed == webhook | {
        "events": ["*"],
        "description": "all",
        "updated_at": changed["updated_at"],
    }
    for body, problem in (
        ({}, "body: must name at least one of url, events, description, enabled"),
        ({"url": None}, "url: required"),
        ({"enabled": None}, "enabled: required"),
        ({"secret": "x"}, "body: must name at least one of url, events, description, enabled"),
        ({"events": ["x.*"]}, 'events[0]: unknown event type "x.*"'),
    ):
        answer = await fleet.client.patch(place, json=body)
        assert (answer.status_code, answer.json()["error"]) == (400, f"validation failed: {problem}")
    assert [action for action, _ in await audited(fleet)] == ["webhook.create", "webhook.change"]


async def test_enabling_forgets_failures_and_resolves_the_alert(fleet: Fleet) -> None:
    webhook = (await made(fleet.client))["webhook"]
    await fleet.execute(
        "UPDATE webhooks SET enabled = FALSE, disabled_reason = 'failing for 5 days',"
        " first_failure_at = now() - interval '5 days', throttled_until = now() + interval '1 hour'"
    )
    await fleet.execute(
        "INSERT INTO alerts (id, kind, severity, subject_type, subject_id, title)"
        " VALUES (gen_random_uuid(), 'webhook.disabled', 'warning', 'webhook', $1, 't')",
        webhook["id"],
    )
    answer = await fleet.client.patch(f"{PLACE}/{webhook['id']}", json={"enabled": True})
    assert answer.status_code == 200
    [kept] = await fleet.rows("SELECT * FROM webhooks")
    assert kept["enabled"]
    assert [kept[name] for name in ("disabled_reason", "first_failure_at", "throttled_until")] == [None] * 3
    assert await fleet.value("SELECT status || resolved_by FROM alerts") == "resolvedmanagement-key"
    assert fleet.plane.deliveries_due.is_set()


async def test_removal_takes_what_was_still_to_be_delivered(fleet: Fleet) -> None:
    webhook = (await made(fleet.client, events=["*"]))["webhook"]
    async with fleet.plane.database.transaction() as connection:
        await events.write(connection, [Event("agent.stale", {})] * 3)
    assert await fleet.value("SELECT count(*) FROM webhook_deliveries") == 3
    answer = await fleet.client.delete(f"{PLACE}/{webhook['id']}")
    assert (answer.status_code, answer.json()) == (200, {"message": "webhook deleted"})
    assert await fleet.value("SELECT count(*) FROM webhook_deliveries") == 0
    assert (await fleet.client.get(f"{PLACE}/{webhook['id']}")).status_code == 404


@pytest.mark.parametrize(
    "webhook_id",
    [NOBODY, "x", NOBODY.upper(), "deliveries2"],
)
async def test_webhook_that_is_not_there(fleet: Fleet, webhook_id: str) -> None:
    place = f"{PLACE}/{webhook_id}"
    for method, path, body in (
        ("GET", place, None),
        ("PATCH", place, {"enabled": True}),
        ("DELETE", place, None),
        ("POST", f"{place}/rotate-secret", None),
        ("POST", f"{place}/test", None),
        ("GET", f"{place}/deliveries", None),
    ):
        answer = await fleet.client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["error"]) == (404, "webhook not found"), path


async def test_rotation_with_and_without_an_overlap(fleet: Fleet) -> None:
    body = await made(fleet.client)
    place = f"{PLACE}/{body['webhook']['id']}/rotate-secret"
    first = await fleet.client.post(place)
    assert first.status_code == 200
    assert list(first.json()) == ["secret"]
    assert first.json()["secret"] != body["secret"]

    async def kept() -> tuple[str, str | None, float | None]:
        [row] = await fleet.rows(
            "SELECT *, extract(epoch FROM previous_secret_until - now())::float8 AS left_s FROM webhooks"
        )
        box, previous = fleet.plane.box, row["previous_secret"]
        return (
            secret_text(box.open(row["secret"], secret_place(row["id"]))),
            None if previous is None else secret_text(box.open(previous, previous_secret_place(row["id"]))),
            row["left_s"],
        )

    secret, previous, left_s = await kept()
    assert (secret, previous) == (first.json()["secret"], body["secret"])
    assert left_s is not None
    assert 86_000 < left_s <= 86_400
    second = await fleet.client.post(place, json={"overlap_seconds": 0})
    assert await kept() == (second.json()["secret"], None, None)
    for wrong in (-1, 604_801, "1", 1.5):
        answer = await fleet.client.post(place, json={"overlap_seconds": wrong})
        assert answer.status_code == 400


async def test_rotation_is_the_way_out_of_an_unreadable_secret(fleet: Fleet) -> None:
    webhook = (await made(fleet.client))["webhook"]
    await fleet.execute("UPDATE webhooks SET secret = '\\x01'")
    answer = await fleet.client.post(f"{PLACE}/{webhook['id']}/rotate-secret")
    assert answer.status_code == 200
    [kept] = await fleet.rows("SELECT id, secret, previous_secret FROM webhooks")
    assert kept["previous_secret"] is None
    opened = fleet.plane.box.open(kept["secret"], secret_place(kept["id"]))
    assert secret_text(opened) == answer.json()["secret"]


WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


async def test_no_more_than_fifty(fleet: Fleet) -> None:
    for index in range(49):
        await made(fleet.client, url=f"https://example.com/{index}")
    last = {"url": "https://example.com/", "events": ["*"]}
    async with fleet.plane.database.transaction() as connection:
        await value(connection, "lock_webhooks")
        posting = asyncio.create_task(fleet.client.post(PLACE, json=last))
        async with asyncio.timeout(5):
            while not await fleet.value(WAITING):  # noqa: ASYNC110  # of the database
                await asyncio.sleep(0.01)
        assert await value(connection, "count_webhooks") == 49
    answers = [await posting, await fleet.client.post(PLACE, json=last)]
    assert [answer.status_code for answer in answers] == [201, 409]
    assert answers[1].json()["error"] == "there are 50 webhooks already"
    seen: list[str] = []
    params = {"limit": "20"}
    for pages_left in (2, 1, 0):
        found = (await fleet.client.get(PLACE, params=params)).json()
        seen += [one["url"] for one in found["webhooks"]]
        assert (found["next_cursor"] is None) is (pages_left == 0)
        params["cursor"] = found["next_cursor"]
    assert seen == [*(f"https://example.com/{index}" for index in range(49)), "https://example.com/"]


async def test_test_event_goes_to_the_one_that_was_asked(fleet: Fleet) -> None:
    await made(fleet.client, events=["*"])
    webhook = (await made(fleet.client, events=["agent.stale"]))["webhook"]
    answer = await fleet.client.post(f"{PLACE}/{webhook['id']}/test")
    assert answer.status_code == 202
    [kept] = await fleet.rows("SELECT id, webhook_id FROM webhook_deliveries")
    assert answer.json() == {"delivery_id": str(kept["id"])}
    assert str(kept["webhook_id"]) == webhook["id"]
    assert fleet.plane.deliveries_due.is_set()


async def test_who_may(fleet: Fleet) -> None:
    """The table of rights is walked elsewhere; these routes are in it."""
    for method, path in (("GET", PLACE), ("POST", PLACE), ("GET", f"{PLACE}/deliveries")):
        answer = await fleet.anonymous.request(method, path)
        assert (answer.status_code, answer.json()["error"]) == (401, "missing authorization")
