"""Changes that take the rows of each other wait for each other in one order, and none is undone."""

import asyncio

import pytest

from tests.fleet.rig import Fleet

pytestmark = pytest.mark.anyio
WEBHOOK = {"url": "https://93.184.216.34/hook", "events": ["*"]}


async def test_a_webhook_goes_while_its_alert_is_resolved(fleet: Fleet) -> None:
    """One takes the webhook and its alerts, the other the alert and, for its event, the webhook."""
    for _ in range(30):
        made = await fleet.client.post("/management/v1/webhooks", json=WEBHOOK)
        webhook_id = made.json()["webhook"]["id"]
        alert_id = await fleet.value(
            "INSERT INTO alerts (id, kind, severity, subject_type, subject_id, title)"
            " VALUES (gen_random_uuid(), 'webhook.disabled', 'warning', 'webhook', $1, '')"
            " RETURNING id::text",
            webhook_id,
        )
        removed, resolved = await asyncio.gather(
            fleet.client.delete(f"/management/v1/webhooks/{webhook_id}"),
            fleet.client.post(f"/management/v1/alerts/{alert_id}/resolve"),
        )
        assert removed.status_code == 200
        assert resolved.status_code in (200, 409)
    assert await fleet.value("SELECT count(*) FROM webhooks") == 0
    assert await fleet.value("SELECT count(*) FROM alerts WHERE status <> 'resolved'") == 0
