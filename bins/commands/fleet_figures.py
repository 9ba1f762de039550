"""The commands `fleet stats` and `fleet enrol`: the fleet in figures, and how a server joins it."""

import shlex
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from less_sync.bins.amounts import counted, shown_bytes
from less_sync.bins.commands.fleet_client import (
    EXIT_CODES,
    FleetClient,
    asks_plane,
    plane_url,
    tell,
)
from less_sync.bins.commands.fleet_shown import labels_of, minute, print_figures, told
from less_sync.bins.commands.token import parse_ttl

NAMED: Final = 6
"""Versions, regions and such that one line names."""


def add_figures(fleet: typer.Typer) -> None:
    """Add both to the group `fleet`."""
    fleet.command(epilog=EXIT_CODES)(asks_plane(stats))
    fleet.command(epilog=EXIT_CODES, short_help="Print the line by which a server begins to report.")(
        asks_plane(enrol)
    )


def stats(*, plane: FleetClient, json: bool) -> None:
    """Say how the whole fleet is."""
    answer = plane.ask("GET", "/management/v1/fleet/stats")
    if json:
        tell(True, answer, "")
    else:
        print_figures(answer, _figures)


def enrol(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What the plane calls the token in its lists.")
    ] = "enrolled by command",
    *,
    servers: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="How many servers may use it.")
    ] = 1,
    ttl: Annotated[str, typer.Option(metavar="TIME", help="How long: seconds, or 90m, 24h, 7d.")] = "1h",
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A label of the servers that use it; may be repeated."),
    ] = None,
    server_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="How those servers reach the plane, if not as this command does."),
    ] = None,
    plane: FleetClient,
    json: bool,
) -> None:
    """Print the line by which a server begins to report.

    It goes before, or into the environment of, `less-sync serve` or `less-sync volume` on the machine of the
    server. The token in it is told this once, and is of no use once the server has it.
    """
    from less_sync.sync.client import is_this_machine

    url = plane.url if server_url is None else plane_url(server_url, insecure=True)
    body = {
        "label": name,
        "max_uses": servers,
        "ttl_seconds": parse_ttl(ttl, option="--ttl"),
        "labels": labels_of(label or []),
    }
    answer = plane.ask("POST", "/management/v1/enrolment-tokens", body=body)
    token, until = told(answer, lambda one: (str(one["token"]), minute(one["enrolment_token"]["expires_at"])))
    variables = {"FLEET_URL": url, "FLEET_ENROLMENT_TOKEN": token}
    here = is_this_machine(urlsplit(url).hostname)
    if url.startswith("http:") and not here:
        variables["FLEET_ALLOW_HTTP"] = "true"
    tell(json, {**answer, "variables": variables}, _line(variables))
    if json:
        return
    print(f"good for {counted(servers, 'server')} until {until} UTC; it is not told again", file=sys.stderr)
    if here:
        print(
            "that address is of this machine alone: for servers elsewhere give --server-url", file=sys.stderr
        )


def _line(variables: Mapping[str, str]) -> str:
    return " ".join([*(f"{name}={shlex.quote(text)}" for name, text in variables.items()), "less-sync serve"])


def _figures(stats: Mapping[str, Any]) -> list[tuple[str, str]]:
    by_status, totals, alerts = stats["by_status"], stats["totals"], stats["alerts"]
    silent = ", ".join(f"{by_status[one]:,} {one}" for one in ("active", "stale", "inactive"))
    if stats["total"] == 0:
        silent = "`less-sync fleet enrol` lets a server report here"
    return [
        ("agents", f"{stats['total']:,}: {silent}; {by_status['retired']:,} retired"),
        *((title, _most(stats[f"by_{title}"])) for title in ("kind", "version", "os", "region")),
        ("connections", f"{totals['connections']:,}"),
        ("spaces", f"{totals['spaces']:,}"),
        ("records", f"{totals['records']:,}"),
        ("storage", shown_bytes(totals["storage_bytes"])),
        ("alerts", f"{alerts['open']:,} open, {alerts['critical']:,} of them critical"),
    ]


def _most(counts: Mapping[str, int]) -> str:
    """The most frequent first, the rest as a number."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    parts = [f"{number:,} {name}" for name, number in ordered[:NAMED]]
    if rest := sum(number for _, number in ordered[NAMED:]):
        parts.append(f"{rest:,} more")
    return ", ".join(parts) or "-"
