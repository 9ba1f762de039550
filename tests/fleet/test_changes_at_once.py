"""Changes that take the rows of each other wait for each other in one order, and none is undone."""

import asyncio

import pytest

from tests.fleet.people import cheap_passwords, employ, log_in
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


async def test_no_session_of_an_old_password_or_role_outlives_its_change(fleet: Fleet) -> None:
    """Whichever comes first: the sign-in is refused, or its session ends with the others."""
    cheap_passwords(fleet)
    seen = set()
    for number in range(24):
        who = await employ(fleet, f"operator-{number}", "viewer")
        change = {"password": "another battery staple"} if number % 2 else {"disabled": True}
        signed_in, changed = await asyncio.gather(
            log_in(fleet, f"operator-{number}"), fleet.client.patch(f"/platform/v1/users/{who}", json=change)
        )
        fleet.plane.sign_ins.forgive("127.0.0.1")
        assert changed.status_code == 200
        seen.add(signed_in.status_code)
        assert await fleet.value("SELECT count(*) FROM operator_sessions") == 0
    assert seen <= {200, 401, 429}
