"""The command `fleet rewrap`: the secrets in the database get another key."""

import sys
from collections.abc import Mapping
from typing import Final

import typer

from less_sync.bins.commands.fleet_serve import OPTIONS as SERVE_OPTIONS
from less_sync.bins.errors import print_error
from less_sync.bins.installed import server_parts

OPTIONS: Final = tuple(
    one for one in SERVE_OPTIONS if one.variable in {"DATABASE_URL", "DATA_DIR", "ENV_FILE"}
)


def rewrap(*, options: Mapping[str, str]) -> None:
    """Seal the stored secrets with FLEET_SECRET_KEY, also those that only FLEET_SECRET_KEY_PREVIOUS opens.

    Planes may run meanwhile, if they have both keys. When it ends with 0, the previous key is needed no more.
    """
    with server_parts("less-sync fleet rewrap"):
        from less_sync.bins.commands.fleet_rewrap_work import rewrap_all
        from less_sync.bins.settings.config import ConfigError
        from less_sync.bins.settings.fleet import read_sealed_settings
    try:
        settings = read_sealed_settings(options)
    except ConfigError as error:
        for problem in error.problems:
            print_error(problem)
        sys.exit(1)
    done = rewrap_all(settings)
    for place in done.unreadable:
        print_error(f"{place} opens with neither key")
    typer.echo(
        f"{done.rewrapped} secrets rewrapped, {done.kept} had the key, {len(done.unreadable)} unreadable"
    )
    if done.unreadable:
        sys.exit(1)
