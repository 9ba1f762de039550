"""The commands `fleet webhook`: where a plane sends events, what became of them, and a receiver to try it."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from less_sync.bins.commands.fleet_client import (
    EXIT_CODES,
    USAGE,
    FleetClient,
    FleetProblem,
    asks_plane,
    tell,
)
from less_sync.bins.commands.fleet_shown import (
    LISTED,
    Limit,
    Yes,
    ago,
    an_id,
    confirm,
    group,
    is_id,
    list_rows,
    minute,
    told,
)
from less_sync.bins.errors import os_error_text
from less_sync.client.folder.paths import shown

PORT: Final = 5390
"""Where `listen` listens unless it is told another one."""
SECRET_BYTES_MAX: Final = 256
SECRET_VARIABLE: Final = "LESS_SYNC_WEBHOOK_SECRET"
_PATH: Final = "/management/v1/webhooks"
_HEAD: Final = ("URL", "STATE", "EVENTS", "SINCE", "DESCRIPTION", "ID")
_DELIVERIES_HEAD: Final = ("EVENT", "STATUS", "ATTEMPTS", "LAST", "NEXT", "CREATED", "ID")

Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its URL or id.", show_default=False)]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        help=f"Holds the secret; else {SECRET_VARIABLE}, out of sight of `ps`.",
    ),
]


class Status(StrEnum):
    """What can become of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


def add_webhooks(fleet: typer.Typer) -> None:
    """Add the commands to the group `fleet`."""
    webhook = group(fleet, "webhook", "Send the fleet's events somewhere.")
    for name, command in (
        ("add", add),
        ("list", list_webhooks),
        ("remove", remove),
        ("test", test),
        ("deliveries", deliveries),
        ("redeliver", redeliver),
    ):
        webhook.command(name, epilog=EXIT_CODES)(asks_plane(command))
    webhook.command("listen", epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.")(listen)


def add(
    target: Annotated[str, typer.Argument(metavar="URL", help="Where events go.", show_default=False)],
    *,
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="agent.stale, alert.*, or *, which it is else; may be repeated."),
    ] = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    secret_file: SecretFile = None,
    plane: FleetClient,
    json: bool,
) -> None:
    """Have the plane send events to a URL.

    Prints the secret that they are signed with, which is told this once; without one of your own the plane
    makes it.
    """
    body: dict[str, object] = {"url": target, "events": event or ["*"], "description": description}
    if (secret := _secret(secret_file)) is not None:
        body["secret"] = secret
    answer = plane.ask("POST", _PATH, body=body)
    made, kept = told(answer, lambda one: (one["webhook"]["id"], one["secret"]))
    lines = [f"id:      {made}", f"secret:  {kept}"]
    tell_lines(json, answer, lines)
    if not json:
        print(f"try it:  less-sync fleet webhook test {made}", file=sys.stderr)


def list_webhooks(*, limit: Limit = LISTED, plane: FleetClient, json: bool) -> None:
    """List where the plane sends events."""
    none = "no webhooks: `less-sync fleet webhook add URL` has events sent somewhere"
    list_rows(json, plane.rows(_PATH, "webhooks", at_most=limit), _HEAD, _cells, none=none)


def remove(webhook: Webhook, *, yes: Yes = False, plane: FleetClient, json: bool) -> None:
    """Send a webhook nothing any more.

    Asks first. What is not delivered yet is dropped.
    """
    one = _found(plane, webhook)
    confirm(f"Remove {shown(one['url'])}, with its deliveries?", yes=yes)
    answer = plane.ask("DELETE", f"{_PATH}/{one['id']}")
    tell(json, {**answer, "id": one["id"]}, f"removed {one['url']}")


def test(webhook: Webhook, *, plane: FleetClient, json: bool) -> None:
    """Send a webhook an event of type webhook.test."""
    one = _found(plane, webhook)
    answer = plane.ask("POST", f"{_PATH}/{one['id']}/test")
    tell(json, answer, f"on its way to {one['url']}: delivery {told(answer, lambda row: row['delivery_id'])}")
    if not json:
        print(f"what became of it:  less-sync fleet webhook deliveries {one['id']}", file=sys.stderr)


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
    path = f"{_PATH}/deliveries" if webhook is None else f"{_PATH}/{_found(plane, webhook)['id']}/deliveries"
    filters = {"status": status, "event_type": event, "since": since}
    query = {name: text for name, text in filters.items() if text is not None}
    none = "no delivery that fits" if query else "nothing was sent yet"
    list_rows(
        json, plane.rows(path, "deliveries", query, at_most=limit), _DELIVERIES_HEAD, _delivery, none=none
    )


def redeliver(
    delivery: Annotated[str, typer.Argument(metavar="ID", help="Of the delivery.", show_default=False)],
    *,
    plane: FleetClient,
    json: bool,
) -> None:
    """Send an event again, whatever became of it.

    The event keeps its id, by which a receiver knows that it has seen it.
    """
    which = an_id(delivery, "a delivery", "less-sync fleet webhook deliveries")
    answer = plane.ask("POST", f"{_PATH}/deliveries/{which}/redeliver")
    tell(json, {**answer, "id": which}, f"sent again: {which}")


def listen(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="PORT", help="On 127.0.0.1; 0 for a free one.")
    ] = PORT,
    secret_file: SecretFile = None,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so many good ones; else at Ctrl-C.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line instead of text.")] = False,
) -> None:
    """Receive webhooks on this machine, and verify them.

    Prints what arrives. Without a secret one is made, and told. The plane refuses addresses of its own
    machine, unless WEBHOOK_ALLOW_HTTP=true and WEBHOOK_ALLOW_CIDRS=127.0.0.0/8 are set.
    """
    from less_sync.bins.commands import fleet_listen as work
    from less_sync.bins.errors import print_error

    try:
        secret = _secret(secret_file)
        work.run(port, secret, count=count, as_json=json)
    except FleetProblem as problem:
        print_error(shown(str(problem)))
        raise typer.Exit(problem.exit_code) from None


def tell_lines(as_json: bool, row: Mapping[str, object], lines: list[str]) -> None:
    """Print a row: as one line of JSON, or as some lines."""
    if as_json:
        tell(True, row, "")
    else:
        print("\n".join(shown(line) for line in lines))


def _secret(file: Path | None) -> str | None:
    if file is None:
        from less_sync.bins.settings.config import environment

        return environment().get(SECRET_VARIABLE, "").strip() or None
    try:
        with file.open("rb") as opened:
            return opened.read(SECRET_BYTES_MAX).decode("latin-1").strip()
    except (OSError, ValueError) as error:
        reason = os_error_text(error) if isinstance(error, OSError) else str(error)
        raise FleetProblem(f"cannot read the secret file {file}: {reason}", USAGE) from None


def _found(plane: FleetClient, webhook: str) -> dict[str, Any]:
    """The webhook of an id or a URL."""
    if is_id(webhook):
        return told(plane.ask("GET", f"{_PATH}/{webhook.lower()}"), lambda one: _webhook(one["webhook"]))
    there = [one for one in plane.rows(_PATH, "webhooks") if told(one, _webhook)["url"] == webhook]
    if len(there) == 1:
        return there[0]
    if there:
        which = ", ".join(one["id"] for one in there)
        raise FleetProblem(f"{len(there)} webhooks go to {webhook}; say which by its id: {which}")
    raise FleetProblem(f"there is no webhook {webhook}; `less-sync fleet webhook list` lists them")


def _webhook(webhook: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(webhook["url"], str) or not is_id(webhook["id"]):
        raise ValueError("a webhook without a URL or id")
    return dict(webhook)


def _cells(webhook: Mapping[str, Any]) -> tuple[str, ...]:
    failing = webhook["failing_since"]
    state = "on" if failing is None else f"failing for {ago(failing)}"
    if not webhook["enabled"]:
        state = f"off: {webhook['disabled_reason'] or 'by hand'}"
    return (
        *(webhook["url"], state, " ".join(webhook["events"]), minute(webhook["created_at"])),
        *(webhook["description"].partition("\n")[0] or "-", webhook["id"]),
    )


def _delivery(delivery: Mapping[str, Any]) -> tuple[str, ...]:
    last = delivery["last_error"] or delivery["last_status"] or "-"
    due = minute(delivery["next_attempt_at"]) if delivery["status"] == "pending" else "-"
    return (
        *(delivery["event_type"], delivery["status"], str(delivery["attempts"]), str(last), due),
        *(f"{ago(delivery['created_at'])} ago", delivery["id"]),
    )
