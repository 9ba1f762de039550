"""Alerts: reading them, and what people say of them (docs/fleet.md 5)."""

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from less_sync.fleet.api.call import Answer, Call, refuse_body
from less_sync.fleet.api.paging import page, read_page
from less_sync.fleet.api.routing import Route
from less_sync.fleet.database import Row, row
from less_sync.fleet.errors import Refused, not_found
from less_sync.fleet.store import audit
from less_sync.fleet.store.alerts import shown
from less_sync.fleet.store.events import Event, write

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection
    from less_sync.fleet.plane import Plane

NOTE_CHARACTERS_MAX: Final = 1000
SEVERITIES: Final = ("info", "warning", "critical")
SUBJECTS: Final = ("agent", "license", "server", "webhook", "release", "cluster")
_LIVE: Final = ("open", "acknowledged")
_STATUSES: Final = {
    **{status: [status] for status in (*_LIVE, "resolved")},
    "all": [*_LIVE, "resolved"],
}


async def list_alerts(plane: "Plane", call: Call) -> Answer:
    """Newest first; those that are not resolved, unless others are asked for."""
    query = call.query()
    status = query.optional_choice("status", tuple(_STATUSES))
    filters = (
        list(_LIVE) if status is None else _STATUSES[status],
        query.optional_choice("severity", SEVERITIES),
        query.optional_text("kind", at_most=64),
        query.optional_choice("subject_type", SUBJECTS),
        query.optional_text("subject_id", at_most=128),
        query.optional_time("since"),
    )
    limit, after = read_page(query, tuple[datetime, UUID])
    query.finish()
    found = await plane.database.fetch("alerts_page", *filters, *(after or (None, None)), limit + 1)
    return Answer(200, page("alerts", found, limit, shown, lambda row: (row["raised_at"], row["id"])))


async def summary(plane: "Plane", call: Call) -> Answer:
    """How many there are, by severity and kind."""
    call.query().finish()
    found = await plane.database.row("alerts_summary")
    assert found is not None  # it counts
    return Answer(
        200,
        {
            "open": found["open"],
            "acknowledged": found["acknowledged"],
            "resolved_24h": found["resolved_24h"],
            "by_severity": {severity: found[severity] for severity in SEVERITIES},
            "by_kind": found["by_kind"] or {},
            "oldest_open_at": found["oldest_open_at"],
        },
    )


async def acknowledge(plane: "Plane", call: Call) -> Answer:
    """Somebody has taken notice; the first who did stays."""
    alert_id = call.uuid("alert_id", "alert")
    fields = call.fields(optional=True)
    note = fields.optional_text("note", at_least=0, at_most=NOTE_CHARACTERS_MAX, lines=True)
    fields.finish()
    async with plane.database.transaction() as connection:
        alert = await row(connection, "acknowledge_alert", alert_id, call.actor.name, note)
        if alert is None:
            alert = await _known(connection, alert_id)
            if alert["status"] == "resolved":
                raise Refused(409, "alert is already resolved")
        else:
            await write(connection, [Event("alert.acknowledged", {"alert": shown(alert)})])
            await audit.record(
                connection, call, "alert.acknowledge", "alert", alert_id, {"kind": alert["kind"]}
            )
    plane.deliveries_due.set()
    return Answer(200, {"message": "alert acknowledged", "alert": shown(alert)})


async def resolve(plane: "Plane", call: Call) -> Answer:
    """Somebody says that it is over; a condition that still holds raises another at its next check."""
    refuse_body(call)
    alert_id = call.uuid("alert_id", "alert")
    async with plane.database.transaction() as connection:
        alert = await row(connection, "resolve_alert", alert_id, call.actor.name)
        if alert is None:
            await _known(connection, alert_id)
            raise Refused(409, "alert is already resolved")
        await write(connection, [Event("alert.resolved", {"alert": shown(alert)})])
        await audit.record(connection, call, "alert.resolve", "alert", alert_id, {"kind": alert["kind"]})
    plane.deliveries_due.set()
    return Answer(200, {"message": "alert resolved", "alert": shown(alert)})


async def _known(connection: "Connection", alert_id: UUID) -> Row:
    alert = await row(connection, "alert", alert_id)
    if alert is None:
        raise not_found("alert")
    return alert


ROUTES: Final = (
    Route("GET", "/management/v1/alerts", list_alerts),
    Route("GET", "/management/v1/alerts/summary", summary),
    Route("PUT", "/management/v1/alerts/{alert_id}/acknowledge", acknowledge),
    Route("POST", "/management/v1/alerts/{alert_id}/resolve", resolve),
)
