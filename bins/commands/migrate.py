"""The `migrate` command, also `less-sync migrate`: bring a database up or down, and say where it stands.

Outputs and exit codes: docs/migrations.md.
"""

from collections.abc import Collection
from dataclasses import dataclass
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

Name = Annotated[str | None, typer.Argument(metavar="ARG", help="NAME, for create alone.")]
DatabaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="PostgreSQL URL.")]
Folder = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="Where create writes the scripts.")]
Yes = Annotated[bool, typer.Option("--yes", help="Go on although reverting loses data.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Make all checks, say what would be done, change nothing.")
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a line says, of either line of migrations."""

    word: str
    name: str | None
    database_url: str | None
    folder: Path | None
    yes: bool
    dry_run: bool


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
    argument: Name = None,
    *,
    database_url: DatabaseUrl = None,
    folder: Folder = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    _version: VersionOption = False,
) -> None:
    """Read the line; `HELP` says what each word does."""
    perform(Asked(word, argument, database_url, folder, yes, dry_run), fleet=False)


def perform(asked: Asked, *, fleet: bool, known: Collection[Command] = frozenset(Command)) -> None:
    """Do what is asked on the sync server's line of migrations, or on the fleet plane's.

    Args:
        known: what may be asked for.
    """
    command = _checked_command(asked, known)
    try:
        with server_parts("less-sync fleet migrate" if fleet else "migrate"):
            from less_sync.bins.commands.migrate_work import work
        work(command, asked, fleet=fleet)
    except CommandError as error:
        print_error(str(error), error.causes)
        raise typer.Exit(1) from error


def _checked_command(asked: Asked, known: Collection[Command]) -> Command:
    if asked.word not in known:
        raise typer.BadParameter(f"unknown command {asked.word!r}")
    command = Command(asked.word)
    if command is Command.CREATE:
        if asked.name is None:
            raise typer.BadParameter("create needs a NAME")
        if asked.dry_run:
            raise typer.BadParameter("--dry-run is not for create")
    elif asked.name is not None:
        raise typer.BadParameter(f"{command} takes no argument")
    elif asked.folder is not None:
        raise typer.BadParameter("--dir is for create alone")
    return command


def main() -> None:
    """Run the console command. Exit status: 0 done, 1 failure, 2 usage error."""
    with watched_output():
        app()
