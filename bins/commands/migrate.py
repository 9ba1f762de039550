"""The `migrate` command, also `less-sync migrate`: bring a database up or down, and say where it stands.

Outputs and exit codes: docs/migrations.md.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from less_sync.bins.commands.output import watched_output
from less_sync.bins.commands.version import VersionOption
from less_sync.bins.errors import CommandError, print_error
from less_sync.bins.installed import server_parts


class Command(StrEnum):
    """What `migrate` can be asked to do."""

    UP = "up"
    DOWN = "down"
    STATUS = "status"
    VERSION = "version"
    CREATE = "create"
    REPAIR_CURSORS = "repair-cursors"


HELP: Final = """\b
Bring the database's schema up to date, or take a step back.
\b
Without a COMMAND it does `up`, at once.
\b
  up              apply all pending migrations
  down            revert the highest applied migration
  status          list all migrations and whether they are applied
  version         print the highest applied version
  create NAME     write a new, empty up and down script into a checkout, or --dir
  repair-cursors  give rows from before migration 10 a cursor, so that clients see them
\b
The database is --database-url, else DATABASE_URL, else the private Postgres in DATA_DIR (./data)
if a server has made one there.
"""

app: Final = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(help=HELP)
def migrate(
    word: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND",
            autocompletion=lambda: list(Command),
            show_default=False,
            help="One of the above; up if there is none.",
        ),
    ] = "up",
    argument: Annotated[str | None, typer.Argument(metavar="ARG", help="NAME, for create alone.")] = None,
    *,
    database_url: Annotated[str | None, typer.Option(metavar="URL", help="PostgreSQL URL.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Where create writes the scripts.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Go on although reverting loses data.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make all checks, say what would be done, change nothing.")
    ] = False,
    _version: VersionOption = False,
) -> None:
    """Read the line; `HELP` says what each word does."""
    command = _checked_command(word, argument, folder, dry_run=dry_run)
    try:
        with server_parts("migrate"):
            from less_sync.bins.commands.migrate_work import create, work_on_database
        if argument is not None:
            create(argument, folder)
        else:
            work_on_database(command, database_url, yes=yes, dry_run=dry_run)
    except CommandError as error:
        print_error(str(error), error.causes)
        raise typer.Exit(1) from error


def _checked_command(word: str, argument: str | None, folder: Path | None, *, dry_run: bool) -> Command:
    if word not in set(Command):
        raise typer.BadParameter(f"unknown command {word!r}")
    command = Command(word)
    if command is Command.CREATE:
        if argument is None:
            raise typer.BadParameter("create needs a NAME")
        if dry_run:
            raise typer.BadParameter("--dry-run is not for create")
    elif argument is not None:
        raise typer.BadParameter(f"{command} takes no argument")
    elif folder is not None:
        raise typer.BadParameter("--dir is for create alone")
    return command


def main() -> None:
    """Run the console command. Exit status: 0 done, 1 failure, 2 usage error."""
    with watched_output():
        app()
