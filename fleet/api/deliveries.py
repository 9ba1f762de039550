"""Deliveries of events to webhooks: what became of each, and sending one again."""

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from less_sync.fleet.api.call import Answer, Call, refuse_body
from less_sync.fleet.api.paging import page, read_page
from less_sync.fleet.api.routing import Route
from less_sync.fleet.database import Row, row, value
from less_sync.fleet.errors import not_found
from less_sync.fleet.store import audit
from less_sync.fleet.store.alerts import resolve_alerts
from less_sync.fleet.store.events import TYPES

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

ATTEMPTS_SHOWN_MAX: Final = 100
STATUSES: Final = ("pending", "delivered", "dead")
_DELIVERY: Final = "delivery"
_TOLD: Final = (
    "id",
    "webhook_id",
    "event_id",
    "event_type",
    "status",
    "attempts",
    "next_attempt_at",
    "last_status",
    "last_error",
    "last_duration_ms",
    "created_at",
    "completed_at",
)


def shown(kept: Row) -> dict[str, object]:
    """A delivery as lists tell it."""
    return {name: kept[name] for name in _TOLD}


async def of_webhook(plane: "Plane", call: Call) -> Answer:
    """A page of one webhook's deliveries, newest first."""
    webhook_id = call.uuid("webhook_id", "webhook")
    if await plane.database.row("webhook", webhook_id) is None:
        raise not_found("webhook")
    return await _page(plane, call, "deliveries_page", webhook_id)


async def list_(plane: "Plane", call: Call) -> Answer:
    """A page of all deliveries, newest first."""
    return await _page(plane, call, "all_deliveries_page")


async def get(plane: "Plane", call: Call) -> Answer:
    """One delivery with what was sent, the beginning of the last answer, and its attempts."""
    delivery_id = call.uuid("delivery_id", _DELIVERY)
    found = await plane.database.row("delivery", delivery_id)
    if found is None:
        raise not_found(_DELIVERY)
    attempts = await plane.database.fetch("attempts_of_delivery", delivery_id, ATTEMPTS_SHOWN_MAX)
    told = shown(found) | {
        "payload": msgspec.Raw(found["payload"]),
        "response": found["last_response"],
        "history": [dict(one) for one in attempts],
    }
    return Answer(200, {"delivery": told})


async def redeliver(plane: "Plane", call: Call) -> Answer:
    """Begin a delivery anew, whatever became of it. The event keeps its id, by which receivers know it."""
    delivery_id = call.uuid("delivery_id", _DELIVERY)
    refuse_body(call)
    async with plane.database.transaction() as connection:
        webhook_id = await value(connection, "webhook_of_delivery", delivery_id)
        # The webhook's row first, as the worker does: what it gives up meanwhile is seen, or raises anew.
        webhook = None if webhook_id is None else await row(connection, "lock_webhook", webhook_id)
        if webhook is None or await value(connection, "redeliver", delivery_id) is None:
            raise not_found(_DELIVERY)
        if not await value(connection, "has_dead_deliveries", webhook_id):
            await resolve_alerts(
                connection, ["webhook.dead_letter"], "webhook", [str(webhook_id)], by=call.actor.name
            )
        await audit.record(connection, call, "delivery.redeliver", _DELIVERY, delivery_id)
    plane.deliveries_due.set()
    return Answer(202, {"message": "delivery scheduled"})


async def _page(plane: "Plane", call: Call, name: str, *of: UUID) -> Answer:
    query = call.query()
    limit, after = read_page(query, tuple[datetime, UUID])
    status = query.optional_choice("status", STATUSES)
    event_type = query.optional_choice("event_type", TYPES)
    since = query.optional_time("since")
    query.finish()
    before = after or (None, None)
    found = await plane.database.fetch(name, limit + 1, *before, status, event_type, since, *of)
    return Answer(200, page("deliveries", found, limit, shown, lambda one: (one["created_at"], one["id"])))


_ONE: Final = "/management/v1/webhooks/deliveries/{delivery_id}"
ROUTES: Final = (
    Route("GET", "/management/v1/webhooks/{webhook_id}/deliveries", of_webhook),
    Route("GET", "/management/v1/webhooks/deliveries", list_),
    Route("GET", _ONE, get),
    Route("POST", f"{_ONE}/redeliver", redeliver),
)
