"""All commands of `less-sync`: what operators need, and those that sync and share a folder.

Modules that a command alone needs are imported inside it, so that `less-sync token` answers at once.
"""

from typing import Final

import typer

from less_sync.bins.commands.admin import add_admin
from less_sync.bins.commands.backup import add_backup
from less_sync.bins.commands.config import config
from less_sync.bins.commands.doctor import doctor
from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.bins.commands.federation import add_federation_commands
from less_sync.bins.commands.fleet import add_fleet
from less_sync.bins.commands.folder import add_commands
from less_sync.bins.commands.migrate import HELP, migrate
from less_sync.bins.commands.output import Watch
from less_sync.bins.commands.restore import restore, upgrade_data
from less_sync.bins.commands.sections import Sections
from less_sync.bins.commands.serve import serve
from less_sync.bins.commands.setting_options import takes_settings
from less_sync.bins.commands.space import add_space_commands
from less_sync.bins.commands.stats import stats
from less_sync.bins.commands.token import add_token
from less_sync.bins.commands.trash import add_trash
from less_sync.bins.commands.validate import add_validate
from less_sync.bins.commands.version import VersionOption
from less_sync.bins.commands.volume import AsTheyAre, volume
from less_sync.client.folder.errors import INTERRUPTED

app: Final = typer.Typer(
    name="less-sync",
    cls=Sections,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def less_sync(context: typer.Context, _version: VersionOption = False) -> None:
    """Local-first, end-to-end-encrypted sync: the server, and folders kept in sync through it."""
    if context.invoked_subcommand in ("serve", "volume"):
        context.ensure_object(Watch).matters = False


app.command(epilog=exit_codes(0, 1, 2))(takes_settings(serve))
app.command(epilog=exit_codes(0, 1, 2, INTERRUPTED))(config)
app.command(
    epilog=exit_codes(0, 1, 2, INTERRUPTED),
    help=HELP,
    short_help="Bring the database's schema up to date, or back.",
)(migrate)
add_backup(app)
app.command(
    epilog=exit_codes(0, 1, 2, INTERRUPTED), short_help="Restore a backup into an empty database and store."
)(restore)
app.command(
    epilog=exit_codes(0, 1, 2, INTERRUPTED),
    short_help="Move the embedded Postgres to this release's version.",
)(upgrade_data)
add_token(app)
app.command(epilog=exit_codes(0, 1, 2, INTERRUPTED))(doctor)
app.command(epilog=exit_codes(0, 1, 2, INTERRUPTED))(stats)
add_validate(app)
add_admin(app)
add_fleet(app)
app.command(
    epilog=exit_codes(0, 1, 2), cls=AsTheyAre, short_help="Start a volume server, or look at one's directory."
)(volume)
add_federation_commands(app)
add_commands(app)
add_trash(app)
add_space_commands(app)
