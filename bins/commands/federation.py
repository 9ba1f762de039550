"""The commands `federation-keygen` and `space-home`. What they need is imported when they run."""

import json as json_lines
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.bins.commands.folder import Json
from less_sync.bins.installed import server_parts

if TYPE_CHECKING:
    from uuid import UUID

_UNTOUCHED: Final = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""The rest of the line is read elsewhere, `--help` included."""


def add_federation_commands(app: typer.Typer) -> None:
    """Add both to the umbrella command."""
    app.command(add_help_option=False, context_settings=_UNTOUCHED)(federation_keygen)
    app.command(epilog=exit_codes(0, 1, 2))(space_home)


def federation_keygen(context: typer.Context) -> None:
    """Make and manage this server's own keys."""
    from less_sync.bins.commands.federation_keygen import run
    from less_sync.bins.settings.config import environment

    run(context.args, environment())


def space_home(
    *,
    space: Annotated[str | None, typer.Option(metavar="ID", help="Which space.")] = None,
    home: Annotated[
        str | None,
        typer.Option(metavar="SERVER", help="Its home: a domain, or a ws, wss, http, https URL."),
    ] = None,
    root_key: Annotated[
        str | None, typer.Option(metavar="HEX", help="With --home: the root key of the space, 66 hex digits.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Its home is this server.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the spaces whose home is elsewhere.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --home: although the space holds something here.")
    ] = False,
    database_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The server's database; default DATABASE_URL.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Instead: the server's own Postgres there, running or not."),
    ] = None,
    json: Json = False,
) -> None:
    """Say which server is the home of a space.

    With --space alone the home is shown. A server whose users are to take part in a space of another server
    needs to know where it lives: --space, --root-key and --home make the space known here, or change where it
    lives. What a space holds here is out of everybody's reach as long as its home is elsewhere.
    """
    with server_parts("less-sync space-home"):
        from less_sync.bins.commands import space_home_work as work
    _check(space, home, root_key, local=local, listing=listing, force=force)
    place = _place(database_url, data_dir)
    if space is None:
        for one, where in work.remote(*place):
            _tell(json, f"{one}\t{where}", space=str(one), home=where)
        return
    which = _space(space)
    if home is not None and root_key is not None:
        kept, key = work.parse_home(home), work.parse_root_key(root_key)
        made = work.set_remote(*place, which, key, kept, whatever_it_holds=force)
        note = "made known here, home is" if made else "home is"
        _tell(json, f"{which}: {note} {kept}", space=str(which), home=kept)
        return
    if local:
        work.set_local(*place, which)
    lives = work.home_of(*place, which)
    _tell(json, f"{which}: home is {lives or 'this server'}", space=str(which), home=lives)


def _check(
    space: str | None, home: str | None, root_key: str | None, *, local: bool, listing: bool, force: bool
) -> None:
    """Which options go together."""
    if sum((home is not None, local, listing)) > 1:
        raise typer.BadParameter("give one of --home, --local and --list")
    if (root_key is None) is not (home is None):
        raise typer.BadParameter("--home and --root-key go together")
    if listing is (space is not None):
        raise typer.BadParameter("give --space, or --list without it")
    if force and home is None:
        raise typer.BadParameter("--force is for --home alone")


def _place(database_url: str | None, data_dir: Path | None) -> tuple[str | None, Path | None]:
    """The database: what the line says, else the environment."""
    from less_sync.bins.errors import CommandError
    from less_sync.bins.settings.config import environment

    if database_url is not None and data_dir is not None:
        raise typer.BadParameter("give one of --database-url and --data-dir")
    if data_dir is not None:
        return None, data_dir
    url = environment().get("DATABASE_URL") if database_url is None else database_url
    if url is None:
        raise CommandError("no database: set --database-url, DATABASE_URL or --data-dir")
    return url, None


def _space(text: str) -> "UUID":
    from less_sync.auth import parse_uuid

    space = parse_uuid(text)
    if space is None:
        raise typer.BadParameter("not the id of a space", param_hint="--space")
    return space


def _tell(as_json: bool, text: str, **fields: Any) -> None:
    print(json_lines.dumps({"event": "home", **fields}) if as_json else text)
