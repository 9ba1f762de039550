"""The worker that delivers: what receivers get, what each outcome leads to, and who may write a result."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import structlog
from standardwebhooks import Webhook

from less_sync.fleet.plane import Plane
from less_sync.fleet.store import deliveries, events
from less_sync.fleet.store.events import Event
from less_sync.fleet.webhooks.schedule import ATTEMPTS_MAX, RETRIES_S
from less_sync.fleet.webhooks.sending import Attempt, Outcome, Sender
from less_sync.fleet.workers.delivery import Deliveries, delivery
from less_sync.fleet.workers.runner import Worker, run
from tests.fleet.receivers import LOOPBACK, Received, Receiver, answering, in_turn, receiver, silent
from tests.fleet.rig import Fleet

PLACE = "/management/v1/webhooks"


@pytest.fixture(autouse=True)
def sender(plane: Plane) -> None:
    """Receivers of these tests are on this machine, and speak plainly."""
    plane.sender = Sender(plane.version, timeout_s=5, http=True, allowed=LOOPBACK)
    plane.chance = random.Random(7)


@dataclass(frozen=True, slots=True)
class Made:
    """An endpoint as its operator knows it."""

    id: str
    secret: str


async def endpoint(fleet: Fleet, one: Receiver | str, *wanted: str) -> Made:
    url = one if isinstance(one, str) else one.url
    answer = await fleet.client.post(PLACE, json={"url": url, "events": [*(wanted or ("*",))]})
    assert answer.status_code == 201, answer.text
    return Made(answer.json()["webhook"]["id"], answer.json()["secret"])


async def happen(fleet: Fleet, *types: str, **data: Any) -> None:
    """Events, each in a change of its own that commits."""
    for type_ in types:
        async with fleet.plane.database.transaction() as connection:
            await events.write(connection, [Event(type_, data)])


DUE = """
SELECT count(*) FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
WHERE w.enabled AND d.status = 'pending' AND d.next_attempt_at <= now()
  AND (w.throttled_until IS NULL OR w.throttled_until <= now())"""


async def looked(fleet: Fleet) -> None:
    """Claim and try until nothing is due."""
    worker = Deliveries(fleet.plane)
    for _ in range(100):
        await worker.look(fleet.plane)
        await worker.finish()
        if not await fleet.value(DUE):
            return
    raise AssertionError("there is no end of what is due")


async def kept(fleet: Fleet) -> dict[str, Any]:
    """The only delivery."""
    [row] = await fleet.rows(
        "SELECT *, extract(epoch FROM next_attempt_at - now())::float8 AS in_s FROM webhook_deliveries"
    )
    return row


async def alerts(fleet: Fleet) -> list[tuple[str, str]]:
    rows = await fleet.rows("SELECT kind, status FROM alerts ORDER BY kind")
    return [(row["kind"], row["status"]) for row in rows]


def verified(request: Received, secret: str) -> Any:
    """What the receivers' library makes of a request; raises when a signature is wrong."""
    return Webhook(secret).verify(request.body, dict(request.headers))


async def test_event_arrives_signed_with_its_names(fleet: Fleet) -> None:
    async with receiver(answering(200, body=b"thanks")) as one:
        made = await endpoint(fleet, one, "agent.*")
        await happen(fleet, "agent.stale", "alert.raised", name="Zürich")
        await looked(fleet)
    [request] = one.received
    row = await kept(fleet)
    content = verified(request, made.secret)
    assert list(content) == ["type", "timestamp", "data"]
    assert (content["type"], content["data"]) == ("agent.stale", {"name": "Zürich"})
    assert request.headers["webhook-id"] == row["event_id"]
    assert request.headers["x-webhook-event"] == "agent.stale"
    assert request.headers["x-webhook-delivery"] == str(row["id"])
    assert (row["status"], row["attempts"], row["last_status"]) == ("delivered", 1, 200)
    assert (row["last_response"], row["last_error"], row["lease_owner"]) == ("thanks", None, None)
    assert row["completed_at"] is not None
    [tried] = await fleet.rows("SELECT * FROM webhook_attempts")
    assert (tried["delivery_id"], tried["attempt"], tried["status"], tried["error"]) == (
        row["id"],
        1,
        200,
        None,
    )
    assert fleet.plane.metrics.webhook_attempts == {"delivered": 1}


async def test_no_event_without_its_change(fleet: Fleet) -> None:
    await endpoint(fleet, "http://127.0.0.1:5000/")
    with suppress(ZeroDivisionError):
        async with fleet.plane.database.transaction() as connection:
            await events.write(connection, [Event("agent.stale", {})])
            assert await connection.fetchval("SELECT count(*) FROM webhook_deliveries") == 1
            raise ZeroDivisionError
    assert await fleet.value("SELECT count(*) FROM webhook_events") == 0
    assert await fleet.value("SELECT count(*) FROM webhook_deliveries") == 0


async def test_each_endpoint_and_attempt_gets_the_same_bytes_and_id(fleet: Fleet) -> None:
    async with (
        receiver(in_turn(answering(500), answering(404), answering(200))) as first,
        receiver() as second,
    ):
        made = [await endpoint(fleet, one) for one in (first, second)]
        await happen(fleet, "agent.stale", text="\u2028 <&> ü")
        for _ in range(3):
            await looked(fleet)
            await fleet.execute(
                "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'"
            )
    requests = [*first.received, *second.received]
    assert len(requests) == 4
    assert len({request.body for request in requests}) == 1
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    for request, secret in zip(requests, [made[0].secret] * 3 + [made[1].secret], strict=True):
        verified(request, secret)
    assert len({request.headers["x-webhook-delivery"] for request in requests}) == 2


async def test_both_secrets_sign_until_the_overlap_ends(fleet: Fleet) -> None:
    async with receiver() as one:
        made = await endpoint(fleet, one)
        answer = await fleet.client.post(f"{PLACE}/{made.id}/rotate-secret")
        await happen(fleet, "agent.stale")
        await looked(fleet)
        await fleet.execute("UPDATE webhooks SET previous_secret_until = now()")
        await happen(fleet, "agent.stale")
        await looked(fleet)
    during, after = one.received
    for secret in (made.secret, answer.json()["secret"]):
        verified(during, secret)
    verified(after, answer.json()["secret"])
    assert " " not in after.headers["webhook-signature"]


async def test_schedule_until_the_dead_letter_and_back(fleet: Fleet) -> None:
    async with receiver(answering(500, body=b"no")) as one:
        made = await endpoint(fleet, one, "agent.stale")
        await happen(fleet, "agent.stale")
        for usual_s in RETRIES_S:
            await looked(fleet)
            row = await kept(fleet)
            assert row["status"] == "pending"
            assert usual_s * 0.9 - 5 <= row["in_s"] <= usual_s * 1.1
            await fleet.execute("UPDATE webhook_deliveries SET next_attempt_at = now()")
        assert await alerts(fleet) == []
        await looked(fleet)
        row = await kept(fleet)
        assert (row["status"], row["attempts"], row["last_error"]) == ("dead", ATTEMPTS_MAX, "answered 500")
        assert await alerts(fleet) == [("webhook.dead_letter", "open")]
        assert len(one.received) == ATTEMPTS_MAX

        one.behaviour = answering(200)
        answer = await fleet.client.post(f"{PLACE}/deliveries/{row['id']}/redeliver")
        assert (answer.status_code, answer.json()) == (202, {"message": "delivery scheduled"})
        assert await alerts(fleet) == [("webhook.dead_letter", "resolved")]
        await looked(fleet)
    row = await kept(fleet)
    assert (row["status"], row["attempts"]) == ("delivered", 1)
    assert len({request.headers["webhook-id"] for request in one.received}) == 1
    shown = (await fleet.client.get(f"{PLACE}/deliveries/{row['id']}")).json()["delivery"]
    assert [tried["attempt"] for tried in shown["history"]] == [*range(1, 11), 1]
    assert made.id == shown["webhook_id"]


async def test_alert_of_dead_letters_stays_while_one_is_left(fleet: Fleet) -> None:
    async with receiver(answering(500)) as one:
        await endpoint(fleet, one, "agent.stale")
        await happen(fleet, "agent.stale", "agent.stale")
        await fleet.execute("UPDATE webhook_deliveries SET attempts = 9")
        await looked(fleet)
    dead = await fleet.rows("SELECT id FROM webhook_deliveries WHERE status = 'dead'")
    assert len(dead) == 2
    assert await fleet.value("SELECT occurrences FROM alerts") == 2
    for row, expected in zip(dead, ("open", "resolved"), strict=True):
        await fleet.client.post(f"{PLACE}/deliveries/{row['id']}/redeliver")
        assert await alerts(fleet) == [("webhook.dead_letter", expected)]


async def test_endpoint_that_is_gone_is_disabled_at_once(fleet: Fleet) -> None:
    async with receiver(answering(410)) as one:
        made = await endpoint(fleet, one, "agent.*")
        await happen(fleet, "agent.stale")
        await looked(fleet)
        await happen(fleet, "agent.stale")
    row = await kept(fleet)
    assert (row["status"], row["attempts"]) == ("dead", 1)
    webhook = (await fleet.client.get(f"{PLACE}/{made.id}")).json()["webhook"]
    assert (webhook["enabled"], webhook["disabled_reason"]) == (False, "endpoint answered 410")
    assert await alerts(fleet) == [("webhook.dead_letter", "open"), ("webhook.disabled", "open")]


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (answering(429, "Retry-After: 100"), 100),
        (answering(502), 60),
        (answering(503, "Retry-After: 86500"), 86_400),
        (answering(504, "Retry-After: 0"), 1),
    ],
)
async def test_endpoint_that_asks_for_patience_gets_it_for_all_its_deliveries(
    fleet: Fleet, answer: Any, wait_s: int
) -> None:
    async with receiver(answer) as one:
        await endpoint(fleet, one)
        await happen(fleet, "agent.stale")
        await looked(fleet)
        row = await kept(fleet)
        assert row["in_s"] >= max(wait_s, 4.5) - 5
        left_s = await fleet.value("SELECT extract(epoch FROM throttled_until - now())::float8 FROM webhooks")
        assert wait_s - 5 <= left_s <= wait_s
        await fleet.execute("UPDATE webhooks SET throttled_until = now() + interval '1 minute'")
        await happen(fleet, "agent.stale")
        await looked(fleet)
        assert len(one.received) == 1
        await fleet.execute("UPDATE webhooks SET throttled_until = now()")
        await looked(fleet)
        assert len(one.received) == 2


async def test_endpoint_that_failed_for_five_days_is_disabled_and_keeps_its_deliveries(fleet: Fleet) -> None:
    async with receiver(answering(500)) as one:
        made = await endpoint(fleet, one, "agent.stale")
        await happen(fleet, "agent.stale")
        await looked(fleet)
        webhook = (await fleet.client.get(f"{PLACE}/{made.id}")).json()["webhook"]
        assert webhook["failing_since"] is not None
        for age, enabled in (("4 days 23:59:00", True), ("5 days 1 s", False)):
            await fleet.execute("UPDATE webhooks SET first_failure_at = now() - $1::text::interval", age)
            await fleet.execute("UPDATE webhook_deliveries SET next_attempt_at = now()")
            await looked(fleet)
            webhook = (await fleet.client.get(f"{PLACE}/{made.id}")).json()["webhook"]
            assert webhook["enabled"] is enabled
        assert webhook["disabled_reason"] == "failing for 5 days"
        assert await alerts(fleet) == [("webhook.disabled", "open")]
        await fleet.execute("UPDATE webhook_deliveries SET next_attempt_at = now()")
        await looked(fleet)
        assert len(one.received) == 3
        assert (await kept(fleet))["status"] == "pending"

        one.behaviour = answering(200)
        await fleet.client.patch(f"{PLACE}/{made.id}", json={"enabled": True})
        await looked(fleet)
    assert (await kept(fleet))["status"] == "delivered"
    assert await alerts(fleet) == [("webhook.disabled", "resolved")]


async def test_a_success_ends_the_time_of_failures(fleet: Fleet) -> None:
    async with receiver(in_turn(answering(500), answering(200))) as one:
        await endpoint(fleet, one)
        await happen(fleet, "agent.stale")
        await looked(fleet)
        assert await fleet.value("SELECT first_failure_at FROM webhooks") is not None
        await happen(fleet, "agent.stale")
        await looked(fleet)
    assert len(one.received) == 2
    assert await fleet.value("SELECT first_failure_at FROM webhooks") is None


async def test_result_of_a_lease_that_ended_is_ignored(fleet: Fleet) -> None:
    """An instance that was asleep for longer than its lease; meanwhile another one has the delivery."""
    await endpoint(fleet, "http://127.0.0.1:5000/")
    await happen(fleet, "agent.stale")
    database = fleet.plane.database
    [late] = await deliveries.claim(database, str(uuid4()), 20, [])
    assert await deliveries.claim(database, str(uuid4()), 20, []) == []
    await fleet.execute("UPDATE webhook_deliveries SET lease_until = now()")
    [newer] = await deliveries.claim(database, str(uuid4()), 20, [])
    assert (newer.id, newer.attempts, newer.payload) == (late.id, 2, late.payload)
    good = Attempt(Outcome.DELIVERED, 200, None, "", 5)
    bad = Attempt(Outcome.GONE, 410, "answered 410", "", 5)
    assert not await deliveries.succeeded(database, late, good)
    assert not await deliveries.failed(database, late, bad, None)
    assert (await kept(fleet))["status"] == "pending"
    assert await fleet.value("SELECT enabled FROM webhooks")
    assert await deliveries.succeeded(database, newer, good)
    assert not await deliveries.failed(database, newer, bad, None), "a result is written once"
    assert (await kept(fleet))["status"] == "delivered"
    assert await fleet.value("SELECT count(*) FROM webhook_attempts") == 1


async def test_good_result_does_not_wait_for_who_has_the_row_of_its_webhook(fleet: Fleet) -> None:
    """Others take that row first and the delivery's next: who had both in the other order would meet them."""
    await endpoint(fleet, "http://127.0.0.1:5000/")
    await happen(fleet, "agent.stale")
    await fleet.execute("UPDATE webhooks SET first_failure_at = now()")
    [one] = await deliveries.claim(fleet.plane.database, str(uuid4()), 20, [])
    async with fleet.plane.database.transaction() as connection:
        await connection.execute("SELECT FROM webhooks FOR NO KEY UPDATE")
        good = Attempt(Outcome.DELIVERED, 200, None, "", 5)
        writing = asyncio.create_task(deliveries.succeeded(fleet.plane.database, one, good))
        async with asyncio.timeout(5):
            while (await kept(fleet))["status"] != "delivered":  # noqa: ASYNC110  # of a row
                await asyncio.sleep(0.01)
        assert not writing.done(), "the failures are forgotten behind it"
    assert await writing
    assert await fleet.value("SELECT first_failure_at FROM webhooks") is None


async def test_redelivery_takes_the_lease_from_whoever_has_it(fleet: Fleet) -> None:
    await endpoint(fleet, "http://127.0.0.1:5000/")
    await happen(fleet, "agent.stale")
    [late] = await deliveries.claim(fleet.plane.database, str(uuid4()), 20, [])
    await fleet.client.post(f"{PLACE}/deliveries/{late.id}/redeliver")
    assert not await deliveries.succeeded(
        fleet.plane.database, late, Attempt(Outcome.DELIVERED, 200, None, "", 5)
    )
    row = await kept(fleet)
    assert (row["status"], row["attempts"], row["lease_owner"]) == ("pending", 0, None)


async def test_claim_is_fair_between_endpoints(fleet: Fleet) -> None:
    made = [await endpoint(fleet, f"http://127.0.0.1:{5_000 + index}/") for index in range(3)]
    await happen(fleet, *["agent.stale"] * 8)
    database = fleet.plane.database

    async def share(at_most: int, *under_way: Any) -> list[int]:
        claimed = await deliveries.claim(database, str(uuid4()), at_most, under_way)
        return [sum(str(one.webhook_id) == each.id for one in claimed) for each in made]

    ids = [row["id"] for row in await fleet.rows("SELECT id FROM webhooks ORDER BY created_at")]
    await fleet.execute("UPDATE webhooks SET first_failure_at = now() WHERE id = $1", ids[2])
    assert await share(20, ids[0], ids[0], ids[0]) == [1, 4, 1]
    assert await share(20, *[ids[1]] * 4, ids[2]) == [4, 0, 0]
    assert sum(await share(2)) == 2
    assert (await share(20))[2] == 1


async def test_one_hanging_receiver_does_not_delay_others(fleet: Fleet) -> None:
    async with working(fleet), receiver(silent) as hanging, receiver() as well:
        await endpoint(fleet, hanging)
        await endpoint(fleet, well)
        await happen(fleet, *["agent.stale"] * 30)
        fleet.plane.deliveries_due.set()
        await well.came(30, within_s=5)  # the time of one attempt, all of which the silent one takes
        assert 1 <= len(hanging.received) <= 4


async def test_worker_is_woken_by_what_becomes_due(fleet: Fleet) -> None:
    fleet.use(webhooks=fleet.plane.settings.webhooks.__class__(interval_s=3_600))
    fleet.plane.sender = Sender("1", timeout_s=5, http=True, allowed=LOOPBACK)
    async with receiver() as one, working(fleet):
        made = await endpoint(fleet, one)
        await asyncio.sleep(0.05)
        assert (await fleet.client.post(f"{PLACE}/{made.id}/test")).status_code == 202
        await one.came(1)
    assert json.loads(one.received[0].body)["type"] == "webhook.test"


async def test_what_is_under_way_at_the_end_is_finished(fleet: Fleet) -> None:
    go_on = asyncio.Event()

    async def slow(_request: Received, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with receiver(slow) as one:
        await endpoint(fleet, one)
        await happen(fleet, "agent.stale")
        async with working(fleet) as stop:
            await one.came(1)
            stop.set()
            await happen(fleet, "agent.stale")
            go_on.set()
    rows = await fleet.rows("SELECT status, attempts FROM webhook_deliveries ORDER BY created_at")
    assert [(row["status"], row["attempts"]) for row in rows] == [("delivered", 1), ("pending", 0)]


async def test_secret_that_opens_with_no_key_fails_the_attempt_and_raises_an_alert(fleet: Fleet) -> None:
    async with receiver() as one:
        await endpoint(fleet, one, "agent.stale")
        await fleet.execute("UPDATE webhooks SET secret = '\\x01'")
        await happen(fleet, "agent.stale")
        await looked(fleet)
        assert one.received == []
    assert (await kept(fleet))["last_error"] == "secret unreadable"
    assert await alerts(fleet) == [("cluster.secret_unreadable", "open")]


async def test_no_secret_is_in_log_list_error_or_event(fleet: Fleet) -> None:
    with structlog.testing.capture_logs() as lines:
        async with receiver(answering(500)) as one:
            made = await endpoint(fleet, f"{one.url}/token-in-the-path")
            await happen(fleet, "agent.stale")
            await fleet.execute("UPDATE webhook_deliveries SET attempts = 9")
            await looked(fleet)
    assert len(lines) >= 2
    told = [str(lines), str(await fleet.rows("SELECT * FROM alerts"))]
    told += [str(row["payload"]) for row in await fleet.rows("SELECT payload FROM webhook_events")]
    for text in told:
        assert made.secret not in text
        assert "token-in-the-path" not in text


@asynccontextmanager
async def working(fleet: Fleet) -> AsyncIterator[asyncio.Event]:
    """The worker as an instance runs it; what it is stopped by."""
    stop = asyncio.Event()
    worker: Worker = delivery(fleet.plane)
    task = asyncio.create_task(run(fleet.plane, worker, stop))
    try:
        yield stop
    finally:
        stop.set()
        await task
