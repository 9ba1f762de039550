"""The commands `fleet webhook`: where a plane sends events, with which secret, and a receiver to try it."""

import sys
from collections.abc import Mapping
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
    confirm,
    group,
    is_id,
    list_rows,
    minute,
    told,
)
from less_sync.bins.commands.token import parse_ttl
from less_sync.bins.errors import os_error_text
from less_sync.client.folder.paths import shown

PORT: Final = 5390
"""Where `listen` listens unless it is told another one."""
SECRET_BYTES_MAX: Final = 256
SECRET_VARIABLE: Final = "LESS_SYNC_WEBHOOK_SECRET"
PATH: Final = "/management/v1/webhooks"
_HEAD: Final = ("URL", "STATE", "EVENTS", "SINCE", "DESCRIPTION", "ID")

Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its URL or id.", show_default=False)]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        help=f"Holds the secret; else {SECRET_VARIABLE}, out of sight of `ps`.",
    ),
]


def add_webhooks(fleet: typer.Typer) -> typer.Typer:
    """Add the commands to the group `fleet`; tells their group."""
    webhook = group(fleet, "webhook", "Send the fleet's events somewhere.")
    for name, command in (
        ("add", add),
        ("list", list_webhooks),
        ("enable", enable),
        ("disable", disable),
        ("rotate", rotate),
        ("remove", remove),
        ("test", test),
    ):
        webhook.command(name, epilog=EXIT_CODES)(asks_plane(command))
    webhook.command("listen", epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.")(listen)
    return webhook


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
    answer = plane.ask("POST", PATH, body=body)
    made, kept = told(answer, lambda one: (one["webhook"]["id"], one["secret"]))
    lines = [f"id:      {made}", f"secret:  {kept}"]
    tell_lines(json, answer, lines)
    if not json:
        print(f"try it:  less-sync fleet webhook test {made}", file=sys.stderr)


def list_webhooks(*, limit: Limit = LISTED, plane: FleetClient, json: bool) -> None:
    """List where the plane sends events."""
    none = "no webhooks: `less-sync fleet webhook add URL` has events sent somewhere"
    list_rows(json, plane.rows(PATH, "webhooks", at_most=limit), _HEAD, _cells, none=none)


def enable(webhook: Webhook, *, plane: FleetClient, json: bool) -> None:
    """Have a webhook get events again, and forget that it failed.

    What waited is sent first; what happened while it was off is not.
    """
    _switch(plane, webhook, on=True, as_json=json)


def disable(webhook: Webhook, *, plane: FleetClient, json: bool) -> None:
    """Keep events from a webhook until it is enabled."""
    _switch(plane, webhook, on=False, as_json=json)


def rotate(
    webhook: Webhook,
    *,
    overlap: Annotated[
        str, typer.Option(metavar="TIME", help="How long the old one signs too: 0, seconds, or 90m, 24h, 7d.")
    ] = "24h",
    plane: FleetClient,
    json: bool,
) -> None:
    """Give a webhook another secret, which is told this once.

    Until the overlap ends, 7 days at most, events are signed with both, so that a receiver can take the new
    one at any time. Of a secret that others have seen, `--overlap 0` ends the use at once.
    """
    overlap_s = 0 if overlap.strip() == "0" else parse_ttl(overlap, option="--overlap")
    one = found_webhook(plane, webhook)
    answer = plane.ask("POST", f"{PATH}/{one['id']}/rotate-secret", body={"overlap_seconds": overlap_s})
    secret = told(answer, lambda row: str(row["secret"]))
    tell(json, {**answer, "id": one["id"]}, f"secret:  {secret}")
    if not json:
        old = f"signs on too (--overlap {overlap})" if overlap_s else "signs no more"
        print(f"it is not told again; the one before it {old}", file=sys.stderr)


def remove(webhook: Webhook, *, yes: Yes = False, plane: FleetClient, json: bool) -> None:
    """Send a webhook nothing any more.

    Asks first. What is not delivered yet is dropped.
    """
    one = found_webhook(plane, webhook)
    confirm(f"Remove {shown(one['url'])}, with its deliveries?", yes=yes)
    answer = plane.ask("DELETE", f"{PATH}/{one['id']}")
    tell(json, {**answer, "id": one["id"]}, f"removed {one['url']}")


def test(webhook: Webhook, *, plane: FleetClient, json: bool) -> None:
    """Send a webhook an event of type webhook.test."""
    one = found_webhook(plane, webhook)
    answer = plane.ask("POST", f"{PATH}/{one['id']}/test")
    tell(json, answer, f"on its way to {one['url']}: delivery {told(answer, lambda row: row['delivery_id'])}")
    if not json:
        print(f"what became of it:  less-sync fleet webhook deliveries {one['id']}", file=sys.stderr)


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


def found_webhook(plane: FleetClient, webhook: str) -> dict[str, Any]:
    """The webhook of an id or a URL.

    Raises:
        FleetProblem: there is none, or the URL does not tell which is meant.
    """
    if is_id(webhook):
        return told(plane.ask("GET", f"{PATH}/{webhook.lower()}"), lambda one: _webhook(one["webhook"]))
    there = [one for one in plane.rows(PATH, "webhooks") if told(one, _webhook)["url"] == webhook]
    if len(there) == 1:
        return there[0]
    if there:
        which = ", ".join(one["id"] for one in there)
        raise FleetProblem(f"{len(there)} webhooks go to {webhook}; say which by its id: {which}")
    raise FleetProblem(f"there is no webhook {webhook}; `less-sync fleet webhook list` lists them")


def tell_lines(as_json: bool, row: Mapping[str, object], lines: list[str]) -> None:
    """Print a row: as one line of JSON, or as some lines."""
    if as_json:
        tell(True, row, "")
    else:
        print("\n".join(shown(line) for line in lines))


def _switch(plane: FleetClient, webhook: str, *, on: bool, as_json: bool) -> None:
    one = found_webhook(plane, webhook)
    answer = plane.ask("PATCH", f"{PATH}/{one['id']}", body={"enabled": on})
    done = "enabled" if on else "disabled"
    tell(as_json, {**answer, "id": one["id"]}, f"{done} {one['url']}")


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
