"""What commands that ask a fleet plane have in common: tables, ages, ids, and asking before harm is done."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import typer

from less_sync.bins.amounts import columns, shown_age
from less_sync.bins.commands.fleet_client import EXIT_CODES, USAGE, FleetProblem, asks_plane, tell
from less_sync.client.folder.paths import shown

T = TypeVar("T")
Row = Mapping[str, Any]
"""A part of an answer."""

LISTED: Final = 200
"""Rows that a list shows unless it is told another number."""

Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, metavar="N", help="At most so many.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def group(
    parent: typer.Typer, name: str, help_text: str, *, own: Callable[..., None] | None = None
) -> typer.Typer:
    """A group of commands below `parent`.

    Args:
        own: what the group does without a word behind it; it asks a plane.
    """
    made = typer.Typer(
        name=name,
        help=help_text,
        no_args_is_help=own is None,
        invoke_without_command=own is not None,
        epilog=EXIT_CODES if own is not None else None,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    if own is not None:
        made.callback()(asks_plane(own))
    parent.add_typer(made)
    return made


def list_rows(
    as_json: bool,
    rows: Iterable[Row],
    head: Sequence[str],
    cells: Callable[[Row], Sequence[str]],
    *,
    none: str,
) -> None:
    """Print rows: each as one line of JSON as it comes, or all as a table.

    Args:
        cells: a row to its cells, as many as `head` has.
        none: said in place of an empty table.

    Raises:
        FleetProblem: a row has not what a plane tells.
    """
    if as_json:
        for row in rows:
            tell(True, row, "")
        return
    table = [tuple(head), *(told(row, lambda one: tuple(map(shown, cells(one)))) for row in rows)]
    print("\n".join(columns(table)) if len(table) > 1 else none)


def print_figures(answer: Row, figures: Callable[[Row], Iterable[tuple[str, str]]]) -> None:
    """Print names and what they are, a line each.

    Raises:
        FleetProblem: the answer has not what a plane tells.
    """
    lines = told(answer, lambda one: [(name, shown(text)) for name, text in figures(one)])
    print("\n".join(columns(lines)))


def told(row: Row, read: Callable[[Row], T]) -> T:
    """What `read` makes of a part of an answer.

    Raises:
        FleetProblem: it has not what a plane tells.
    """
    try:
        return read(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FleetProblem(f"the answer is not that of a plane: {error!r}") from None


def ago(text: str | None, now: datetime | None = None) -> str:
    """How long ago a time of an answer was: `12 s`, `5 min`, `2.0 h`; `-` for none."""
    if text is None:
        return "-"
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(text)).total_seconds()
    return f"{max(0, round(seconds))} s" if seconds < 60 else shown_age(seconds)


def minute(text: str | None) -> str:
    """A time of an answer to the minute, in UTC: `2026-01-31 12:00`; `-` for none."""
    return "-" if text is None else f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M}"


def an_id(text: str, what: str, where: str) -> str:
    """An id that somebody typed, fit for a path.

    Args:
        what: it is of, `an alert` say.
        where: the command that lists them.

    Raises:
        FleetProblem: it is none.
    """
    try:
        return str(UUID(text))
    except ValueError:
        raise FleetProblem(f"{text!r} is not the id of {what}; `{where}` lists them", USAGE) from None


def is_id(text: str) -> bool:
    """Whether a text is a whole id."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def labels_of(given: Sequence[str]) -> dict[str, str]:
    """Labels that somebody typed, each `KEY=VALUE`.

    Raises:
        FleetProblem: one is not, or a key is there twice.
    """
    labels: dict[str, str] = {}
    for one in given:
        key, sign, text = one.partition("=")
        if not key or not sign:
            raise FleetProblem(f"--label {one}: expected KEY=VALUE", USAGE)
        if key in labels:
            raise FleetProblem(f"--label: {key} is there twice", USAGE)
        labels[key] = text
    return labels


def confirm(question: str, *, yes: bool) -> None:
    """Ask whoever sits at the terminal.

    Raises:
        FleetProblem: nobody can be asked, or the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise FleetProblem("nobody can be asked here: give --yes", USAGE)
    # Not by the prompt of the command library, which takes Ctrl-C for an answer.
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise FleetProblem("nothing was changed")
