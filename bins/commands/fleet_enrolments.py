"""The commands `fleet enrolments`: with which enrolment tokens servers may still join, and an end to one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from less_sync.bins.commands.fleet_client import EXIT_CODES, FleetClient, asks_plane, tell
from less_sync.bins.commands.fleet_shown import LISTED, Limit, an_id, group, list_rows, minute

PATH: Final = "/management/v1/enrolment-tokens"
_HEAD: Final = ("NAME", "STATE", "SERVERS", "UNTIL", "LABELS", "BY", "ID")


def add_enrolments(fleet: typer.Typer) -> None:
    """Add the commands to the group `fleet`."""
    enrolments = group(fleet, "enrolments", "List the tokens by which servers join.", own=list_enrolments)
    enrolments.command("revoke", epilog=EXIT_CODES)(asks_plane(revoke))


def list_enrolments(context: typer.Context, *, limit: Limit = LISTED, plane: FleetClient, json: bool) -> None:
    """List the tokens by which servers join, oldest first.

    Those that expired or were revoked are there for a week more. `less-sync fleet enrol` told the token
    itself; nobody is told it again.
    """
    none = "no tokens: `less-sync fleet enrol` makes one"
    list_rows(json, plane.rows(PATH, "enrolment_tokens", at_most=limit), _HEAD, _cells, none=none)


def revoke(
    token: Annotated[
        str, typer.Argument(metavar="ID", help="Of the token, not the token itself.", show_default=False)
    ],
    *,
    plane: FleetClient,
    json: bool,
) -> None:
    """Let no more servers join by a token; those that joined stay."""
    which = an_id(token, "an enrolment token", "less-sync fleet enrolments")
    answer = plane.ask("DELETE", f"{PATH}/{which}")
    tell(json, {**answer, "id": which}, f"revoked: {which}")


def _cells(token: Mapping[str, Any]) -> tuple[str, ...]:
    labels = ",".join(f"{key}={text}" for key, text in token["labels"].items())
    return (
        *(token["label"], _state(token), f"{token['uses']:,} of {token['max_uses']:,}"),
        *(minute(token["expires_at"]), labels or "-", token["created_by"], token["id"]),
    )


def _state(token: Mapping[str, Any]) -> str:
    """Whether a server may join by a token, or why not; the clock is that of this machine."""
    if token["revoked_at"] is not None:
        return "revoked"
    if datetime.fromisoformat(token["expires_at"]) <= datetime.now(UTC):
        return "expired"
    return "used up" if token["uses"] >= token["max_uses"] else "good"
