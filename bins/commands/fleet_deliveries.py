"""The commands `fleet webhook deliveries`, `delivery` and `redeliver`: what became of events."""

import json as json_texts
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from less_sync.bins.commands.fleet_client import EXIT_CODES, FleetClient, asks_plane, tell
from less_sync.bins.commands.fleet_shown import (
    LISTED,
    Limit,
    ago,
    an_id,
    list_rows,
    minute,
    print_figures,
    told,
)
from less_sync.bins.commands.fleet_webhooks import PATH as WEBHOOKS
from less_sync.bins.commands.fleet_webhooks import found_webhook

_PATH: Final = f"{WEBHOOKS}/deliveries"
_HEAD: Final = ("EVENT", "STATUS", "ATTEMPTS", "LAST", "NEXT", "CREATED", "ID")

DeliveryId = Annotated[str, typer.Argument(metavar="ID", help="Of the delivery.", show_default=False)]


class Status(StrEnum):
    """What can become of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


def add_deliveries(webhook: typer.Typer) -> None:
    """Add the commands to the group `fleet webhook`."""
    for name, command in (("deliveries", deliveries), ("delivery", delivery), ("redeliver", redeliver)):
        webhook.command(name, epilog=EXIT_CODES)(asks_plane(command))


def deliveries(
    webhook: Annotated[
        str | None, typer.Argument(metavar="WEBHOOK", help="Only of this one, by its URL or id.")
    ] = None,
    *,
    status: Annotated[Status | None, typer.Option(help="Only these.")] = None,
    event: Annotated[str | None, typer.Option(metavar="TYPE", help="Only of this type.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only made since; as 2026-01-31T12:00:00Z.")
    ] = None,
    limit: Limit = LISTED,
    plane: FleetClient,
    json: bool,
) -> None:
    """List what was sent, or is to be, newest first."""
    path = _PATH if webhook is None else f"{WEBHOOKS}/{found_webhook(plane, webhook)['id']}/deliveries"
    filters = {"status": status, "event_type": event, "since": since}
    query = {name: text for name, text in filters.items() if text is not None}
    none = "no delivery that fits" if query else "nothing was sent yet"
    list_rows(json, plane.rows(path, "deliveries", query, at_most=limit), _HEAD, _cells, none=none)


def delivery(delivery: DeliveryId, *, plane: FleetClient, json: bool) -> None:
    """Show one delivery: what was sent, and what came back.

    Of answers the plane keeps the beginning of the last one.
    """
    answer = plane.ask("GET", f"{_PATH}/{_id(delivery)}")
    if json:
        tell(True, told(answer, lambda one: dict(one["delivery"])), "")
    else:
        print_figures(answer, _told)


def redeliver(delivery: DeliveryId, *, plane: FleetClient, json: bool) -> None:
    """Send an event again, whatever became of it.

    The event keeps its id, by which a receiver knows that it has seen it.
    """
    which = _id(delivery)
    answer = plane.ask("POST", f"{_PATH}/{which}/redeliver")
    tell(json, {**answer, "id": which}, f"sent again: {which}")


def _id(text: str) -> str:
    return an_id(text, "a delivery", "less-sync fleet webhook deliveries")


def _cells(delivery: Mapping[str, Any]) -> tuple[str, ...]:
    last = delivery["last_error"] or delivery["last_status"] or "-"
    due = minute(delivery["next_attempt_at"]) if delivery["status"] == "pending" else "-"
    return (
        *(delivery["event_type"], delivery["status"], str(delivery["attempts"]), str(last), due),
        *(f"{ago(delivery['created_at'])} ago", delivery["id"]),
    )


def _told(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each line of one delivery."""
    one = answer["delivery"]
    ended = one["status"] != "pending"
    return [
        ("id", one["id"]),
        ("webhook", one["webhook_id"]),
        ("event", f"{one['event_type']}, {one['event_id']}"),
        ("status", one["status"]),
        ("created", f"{minute(one['created_at'])} UTC"),
        ("ended" if ended else "next", f"{minute(one['completed_at' if ended else 'next_attempt_at'])} UTC"),
        *(("attempt", _attempt(attempt)) for attempt in one["history"]),
        ("payload", json_texts.dumps(one["payload"], ensure_ascii=False, separators=(",", ":"))),
        ("response", one["response"] or "-"),
    ]


def _attempt(attempt: Mapping[str, Any]) -> str:
    came = attempt["error"] or attempt["status"]
    return f"{attempt['attempt']}  {minute(attempt['at'])} UTC  {came}, {attempt['duration_ms']:,} ms"
