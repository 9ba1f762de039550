"""The group `fleet`: the plane that watches servers. What the commands need is imported when they run."""

from typing import Annotated, Final

import typer

from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.bins.commands.fleet_agents import add_agents
from less_sync.bins.commands.fleet_alerts import add_alerts
from less_sync.bins.commands.fleet_deliveries import add_deliveries
from less_sync.bins.commands.fleet_enrolments import add_enrolments
from less_sync.bins.commands.fleet_figures import add_figures
from less_sync.bins.commands.fleet_operators import add_operators
from less_sync.bins.commands.fleet_report import show_report
from less_sync.bins.commands.fleet_rewrap import OPTIONS as REWRAP_OPTIONS
from less_sync.bins.commands.fleet_rewrap import rewrap
from less_sync.bins.commands.fleet_serve import OPTIONS, serve
from less_sync.bins.commands.fleet_webhooks import add_webhooks
from less_sync.bins.commands.migrate import Asked, Command, DatabaseUrl, DryRun, Folder, Name, Yes, perform
from less_sync.bins.commands.output import Watch
from less_sync.bins.commands.setting_options import takes_settings

COMMANDS: Final = tuple(command for command in Command if command is not Command.REPAIR_CURSORS)

MIGRATE_HELP: Final = """\b
Bring the schema of the fleet plane up to date, or take a step back.
\b
Without a COMMAND it does `up`, at once.
\b
  up              apply all pending migrations
  down            revert the highest applied migration
  status          list all migrations and whether they are applied
  version         print the highest applied version
  create NAME     write a new, empty up and down script into a checkout, or --dir
\b
The database is --database-url, else DATABASE_URL, else the plane's private Postgres in fleet/ of
DATA_DIR (./data) if a plane has made one there and is not running. The schema is FLEET_SCHEMA
(less_sync_fleet), which is created; other schemas of the database are not touched.
"""


def add_fleet(app: typer.Typer) -> None:
    """Add the group to the umbrella command."""
    fleet = typer.Typer(
        name="fleet",
        help="Watch many servers from one place.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    fleet.callback()(_unwatched)
    fleet.command(epilog=exit_codes(0, 1, 2))(takes_settings(serve, OPTIONS))
    fleet.command(
        epilog=exit_codes(0, 1, 2, 130),
        help=MIGRATE_HELP,
        short_help="Bring the fleet plane's schema up to date, or back.",
    )(migrate)
    fleet.command(
        epilog=exit_codes(0, 1, 2, 130), short_help="Give the secrets in the database another key."
    )(takes_settings(rewrap, REWRAP_OPTIONS))
    fleet.command(epilog=exit_codes(0, 1, 2), short_help="Print what a server would tell of itself.")(
        show_report
    )
    add_figures(fleet)
    add_enrolments(fleet)
    add_agents(fleet)
    add_alerts(fleet)
    add_deliveries(add_webhooks(fleet))
    add_operators(fleet)
    app.add_typer(fleet)


def _unwatched(context: typer.Context) -> None:
    if context.invoked_subcommand == "serve":
        context.ensure_object(Watch).matters = False


def migrate(
    word: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND",
            autocompletion=lambda: list(COMMANDS),
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
) -> None:
    """Read the line; `MIGRATE_HELP` says what each word does."""
    asked = Asked(word, argument, database_url, folder, yes, dry_run)
    perform(asked, fleet=True, known=COMMANDS)
