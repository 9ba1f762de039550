"""The group `admin`: what operators do to spaces. What the commands need is imported when they run."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from less_sync.bins.commands.database_options import DatabaseUrl, DataDirectory, Timeout, database_meant
from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.bins.commands.folder import Json
from less_sync.bins.commands.setting_options import settings_or_exit, takes_settings
from less_sync.bins.installed import server_parts


class Sort(StrEnum):
    """By what spaces are listed, the most first."""

    BYTES = "bytes"
    RECORDS = "records"
    CURSOR = "cursor"
    CREATED = "created"


def add_admin(app: typer.Typer) -> None:
    """Add the group to the umbrella command."""
    admin = typer.Typer(
        name="admin",
        help="For operators: list spaces, and delete one.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    admin.command("spaces", epilog=exit_codes(0, 1, 2, 130))(spaces)
    admin.command("purge", epilog=exit_codes(0, 1, 2, 130))(purge)
    app.add_typer(admin)


def spaces(
    *,
    like: Annotated[
        str, typer.Option(metavar="PREFIX", help="Only spaces whose id begins with these hex digits.")
    ] = "",
    sort: Annotated[Sort, typer.Option(help="What comes first: the most, or the youngest.")] = Sort.BYTES,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many are listed.")] = 20,
    offset: Annotated[
        int, typer.Option(min=0, max=1_000_000_000, metavar="N", help="How many are left out before those.")
    ] = 0,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Read every row to put them in order; else a sample of large tables."),
    ] = False,
    timeout: Timeout = 60,
    database_url: DatabaseUrl = None,
    data_dir: DataDirectory = None,
    json: Json = False,
) -> None:
    """List spaces: kind, home, cursor, and what each holds.

    Reads the database alone and writes nothing; the server may run. The spaces shown are counted, whatever
    put them in order.
    """
    with server_parts("less-sync admin spaces"):
        from less_sync.bins.commands import admin_work as work
    work.list_spaces(
        database_meant(database_url, data_dir),
        work.ids_like(like),
        order=work.ORDERS[sort],
        limit=limit,
        offset=offset,
        exact=exact,
        timeout_s=timeout,
        json=json,
    )


@takes_settings
def purge(
    space: Annotated[str, typer.Argument(metavar="ID", help="Which space.", show_default=False)],
    *,
    options: Mapping[str, str],
    dev: bool,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a space for good: rows and contents of files.

    Takes the settings of the server, which may run. Shows the space, and asks to type its id. What could not
    be removed is named; the same command again removes the rest. What a running server's clients see of it:
    docs/operations.md, section 15.3.
    """
    with server_parts("less-sync admin purge"):
        from less_sync.bins.commands import purge_work as work
    which = work.parse_space(space)
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here: give --yes", param_hint="--yes")
    settings = settings_or_exit(options, dev=dev)
    found = work.look(settings, which)
    work.tell(found)
    if not yes:
        work.confirm(which)
    work.purge(settings, found)
