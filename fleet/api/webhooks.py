"""Webhook endpoints: where events are sent, and with which secret they are signed.

A secret is shown once, when it is made; afterwards only the worker that signs opens it.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from less_sync.fleet.api import deliveries
from less_sync.fleet.api.body import Fields, wrong
from less_sync.fleet.api.call import Answer, Call, refuse_body
from less_sync.fleet.api.paging import page, read_page
from less_sync.fleet.api.routing import Route
from less_sync.fleet.database import Row, row, value
from less_sync.fleet.errors import Refused, not_found
from less_sync.fleet.secrets import Unreadable
from less_sync.fleet.store import audit, events
from less_sync.fleet.store.alerts import resolve_alerts
from less_sync.fleet.store.webhooks import previous_secret_place, secret_place
from less_sync.fleet.webhooks.signature import new_secret, parse_secret, secret_text
from less_sync.fleet.webhooks.urls import URL_CHARS_MAX, BadUrl

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

WEBHOOKS_MAX: Final = 50
EVENTS_MAX: Final = 50
"""Entries of one webhook's list."""
OVERLAP_S: Final = 86_400
OVERLAP_S_MAX: Final = 604_800

_WEBHOOK: Final = "webhook"
_PATTERNS: Final = frozenset({"*", *events.TYPES, *(f"{type_.split('.')[0]}.*" for type_ in events.TYPES)})
"""What a webhook can ask for."""


def shown(kept: Row) -> dict[str, object]:
    """A webhook as the routes tell it; never its secret."""
    told = ("id", "url", "description", "events", "enabled", "disabled_reason")
    return {name: kept[name] for name in told} | {
        "failing_since": kept["first_failure_at"],
        "created_at": kept["created_at"],
        "updated_at": kept["updated_at"],
    }


async def create(plane: "Plane", call: Call) -> Answer:
    """201 with the webhook and its secret, which nobody is told again."""
    fields = call.fields()
    url = fields.text("url", at_most=URL_CHARS_MAX)
    wanted = fields.custom("events", _events, required=True)
    description = fields.text("description", at_most=500, at_least=0, default="", lines=True)
    enabled = fields.flag("enabled", default=True)
    secret = fields.custom("secret", _secret) or new_secret()
    await _look_at(plane, fields, url)
    fields.finish()
    webhook_id = uuid4()
    async with plane.database.transaction() as connection:
        # The lock makes the count true until the commit.
        await value(connection, "lock_webhooks")
        if await value(connection, "count_webhooks") >= WEBHOOKS_MAX:
            raise Refused(409, f"there are {WEBHOOKS_MAX} webhooks already")
        sealed = plane.box.seal(secret, secret_place(webhook_id))
        made = await row(connection, "add_webhook", webhook_id, url, description, wanted, sealed, enabled)
        assert made is not None  # an insert that raises nothing has a row
        await audit.record(connection, call, "webhook.create", _WEBHOOK, webhook_id, {"events": wanted})
    return Answer(201, {"webhook": shown(made), "secret": secret_text(secret)})


async def list_(plane: "Plane", call: Call) -> Answer:
    """A page of them, oldest first."""
    query = call.query()
    limit, after = read_page(query, tuple[datetime, UUID])
    query.finish()
    found = await plane.database.fetch("webhooks_page", limit + 1, *(after or (None, None)))
    return Answer(200, page("webhooks", found, limit, shown, lambda one: (one["created_at"], one["id"])))


async def get(plane: "Plane", call: Call) -> Answer:
    """One of them."""
    found = await plane.database.row("webhook", call.uuid("webhook_id", _WEBHOOK))
    if found is None:
        raise not_found(_WEBHOOK)
    return Answer(200, {"webhook": shown(found)})


async def change(plane: "Plane", call: Call) -> Answer:
    """Change what is named; to enable one is to forget its failures."""
    webhook_id = call.uuid("webhook_id", _WEBHOOK)
    fields = call.fields()
    named = [name for name in ("url", "events", "description", "enabled") if fields.has(name)]
    url = fields.text("url", at_most=URL_CHARS_MAX) if "url" in named else None
    wanted = fields.custom("events", _events, required=True) if "events" in named else None
    description = (
        fields.text("description", at_most=500, at_least=0, default="", lines=True)
        if "description" in named
        else None
    )
    enabled = fields.custom("enabled", _flag, required=True) if "enabled" in named else None
    if url is not None:
        await _look_at(plane, fields, url)
    if not named:
        fields.problem("body", "must name at least one of url, events, description, enabled")
    fields.finish()
    # The row's lock, taken by the first statement, puts changes one behind the other.
    async with plane.database.transaction() as connection:
        await _locked(connection, webhook_id)
        await value(connection, "change_webhook", webhook_id, url, wanted, description, enabled)
        if enabled:
            await resolve_alerts(
                connection, ["webhook.disabled"], _WEBHOOK, [str(webhook_id)], by=call.actor.name
            )
        await audit.record(connection, call, "webhook.change", _WEBHOOK, webhook_id, {"changed": named})
    plane.deliveries_due.set()
    return Answer(200, {"message": "webhook updated"})


async def remove(plane: "Plane", call: Call) -> Answer:
    """Remove one; what was still to be delivered goes with it."""
    webhook_id = call.uuid("webhook_id", _WEBHOOK)
    refuse_body(call)
    # One removal at a time: each writes events, which take the rows of other webhooks.
    async with plane.database.transaction() as connection:
        await value(connection, "lock_webhooks")
        await _locked(connection, webhook_id)
        # Before the row goes: whoever resolves one of these meanwhile writes an event, which takes the row of
        # the webhook behind that of the alert, and finds it free until then.
        await resolve_alerts(connection, None, _WEBHOOK, [str(webhook_id)], by=call.actor.name)
        await value(connection, "remove_webhook", webhook_id)
        await audit.record(connection, call, "webhook.remove", _WEBHOOK, webhook_id)
    plane.deliveries_due.set()
    return Answer(200, {"message": "webhook deleted"})


async def rotate_secret(plane: "Plane", call: Call) -> Answer:
    """A new secret; the one before it signs beside it until the overlap ends."""
    webhook_id = call.uuid("webhook_id", _WEBHOOK)
    fields = call.fields(optional=True)
    overlap_s = fields.integer("overlap_seconds", 0, OVERLAP_S_MAX, default=OVERLAP_S)
    fields.finish()
    secret = new_secret()
    async with plane.database.transaction() as connection:
        kept = await _locked(connection, webhook_id)
        previous = None
        if overlap_s:
            with suppress(Unreadable):  # nothing can be signed with it any more: a new one is the way out
                opened = plane.box.open(kept["secret"], secret_place(webhook_id))
                previous = plane.box.seal(opened, previous_secret_place(webhook_id))
        sealed = plane.box.seal(secret, secret_place(webhook_id))
        await value(connection, "change_webhook_secret", webhook_id, sealed, previous, overlap_s)
        await audit.record(connection, call, "webhook.rotate-secret", _WEBHOOK, webhook_id)
    return Answer(200, {"secret": secret_text(secret)})


async def test(plane: "Plane", call: Call) -> Answer:
    """Send an event that says that it is a test, whatever the webhook asked for."""
    webhook_id = call.uuid("webhook_id", _WEBHOOK)
    refuse_body(call)
    async with plane.database.transaction() as connection:
        await _locked(connection, webhook_id)
        delivery_id = await events.write_test(
            connection, webhook_id, f"a test asked for by {call.actor.name}"
        )
        await audit.record(connection, call, "webhook.test", _WEBHOOK, webhook_id)
    plane.deliveries_due.set()
    return Answer(202, {"delivery_id": delivery_id})


async def _locked(connection: Any, webhook_id: UUID) -> Row:
    found = await row(connection, "lock_webhook", webhook_id)
    if found is None:
        raise not_found(_WEBHOOK)
    return found


async def _look_at(plane: "Plane", fields: Fields, url: str) -> None:
    """Add the problem of a URL, beside those that are known; the name is looked up only if there is none."""
    if fields.problems:
        return
    try:
        await plane.sender.check(url)
    except BadUrl as bad:
        fields.problem("url", str(bad))


def _events(given: object) -> Sequence[str]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise wrong("expected a list of texts")
    if not 1 <= len(given) <= EVENTS_MAX:
        raise wrong(f"must have 1 to {EVENTS_MAX} entries")
    for index, one in enumerate(given):
        if one not in _PATTERNS:
            raise wrong(f'unknown event type "{one[:100]}"', f"[{index}]")
        if one in given[:index]:
            raise wrong(f'"{one}" is there twice', f"[{index}]")
    return given


def _secret(given: object) -> bytes:
    try:
        return parse_secret(given if isinstance(given, str) else "")
    except ValueError as error:
        raise wrong(str(error)) from None


def _flag(given: object) -> bool:
    if not isinstance(given, bool):
        raise wrong("expected true or false")
    return given


_ONE: Final = "/management/v1/webhooks/{webhook_id}"
ROUTES: Final = (
    Route("GET", "/management/v1/webhooks", list_),
    Route("POST", "/management/v1/webhooks", create),
    Route("GET", _ONE, get),
    Route("PATCH", _ONE, change),
    Route("DELETE", _ONE, remove),
    Route("POST", f"{_ONE}/rotate-secret", rotate_secret),
    Route("POST", f"{_ONE}/test", test),
    *deliveries.ROUTES,
)
