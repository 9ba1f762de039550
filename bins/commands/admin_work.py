"""What `admin spaces` does once its line is read: needs the libraries of the server."""

import json as json_lines
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

import typer

from less_sync.bins.amounts import columns, shown_bytes
from less_sync.bins.commands.admin import Sort
from less_sync.bins.commands.surveying import survey_on
from less_sync.bins.postgres.operator import Database
from less_sync.storage import IdRange, Order, PostgresSurveys, SpaceFigures

ORDERS: Final = {one: Order(one.value) for one in Sort}
_PREFIX: Final = re.compile(r"[0-9a-f]{0,32}", re.ASCII)
_HEAD: Final = (
    "ID",
    "KIND",
    "HOME",
    "CURSOR",
    "RECORDS",
    "TOMBSTONES",
    "FILES",
    "BYTES",
    "MEMBERS",
    "CREATED",
)


def ids_like(prefix: str) -> IdRange:
    """The ids that begin with these digits, hyphens wherever they are."""
    digits = prefix.lower().replace("-", "")
    if not _PREFIX.fullmatch(digits):
        raise typer.BadParameter("expected the first hex digits of an id", param_hint="--like")
    return IdRange(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f")))


def list_spaces(
    database: Database,
    ids: IdRange,
    *,
    order: Order,
    limit: int,
    offset: int,
    exact: bool,
    timeout_s: float,
    json: bool,
) -> None:
    """Print a page of spaces.

    Raises:
        CommandError: the database cannot be used, or a question took too long.
    """

    async def work(surveys: PostgresSurveys) -> tuple[Sequence[SpaceFigures], bool]:
        return await surveys.page(order, ids=ids, limit=limit, offset=offset, exact=exact)

    found, certain = survey_on(database, work, question_s=timeout_s)
    for line in map(json_lines.dumps, map(fields, found)) if json else columns([_HEAD, *map(_row, found)]):
        print(line)
    if not certain:
        print("the order is that of a sample; --exact reads every row", file=sys.stderr)
    if len(found) == limit and not json:
        print(f"perhaps more: --offset {offset + limit}", file=sys.stderr)


def fields(one: SpaceFigures) -> dict[str, Any]:
    """A space for programs."""
    return {
        "event": "space",
        **asdict(one),
        "space": str(one.space),
        "created_at": one.created_at.isoformat(),
        "bytes": one.bytes,
    }


def _row(one: SpaceFigures) -> tuple[str, ...]:
    return (
        str(one.space),
        "shared" if one.shared else "personal",
        one.home or "here",
        str(one.cursor),
        f"{one.records:,}",
        f"{one.tombstones:,}",
        f"{one.files:,}",
        shown_bytes(one.bytes),
        f"{one.members:,}",
        f"{one.created_at:%Y-%m-%d %H:%M}",
    )
