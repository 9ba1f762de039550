"""The command `backup`. What it needs is imported when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from less_sync.bins.commands.database_options import DataDirVariable, UrlVariable, environment_with
from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.bins.installed import server_parts
from less_sync.client.folder.errors import INTERRUPTED, ExitCode


def add_backup(app: typer.Typer) -> None:
    """Add it to the umbrella command."""
    app.command(epilog=exit_codes(0, 1, 2, ExitCode.SKIPPED, INTERRUPTED))(backup)


Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR",
        help="Where to: new, empty, or an unfinished backup. Default: the newest unfinished one in "
        "DATA_DIR/backups, else a new one there.",
        show_default=False,
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Take unchanged contents over from this backup, instead of the newest beside DIR.",
        show_default=False,
    ),
]


def backup(
    folder: Folder = None,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the backup in DIR, or the newest, file by file.")
    ] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="List the backups in DIR, or those in DATA_DIR/backups.")
    ] = False,
    base: Base = None,
    full: Annotated[bool, typer.Option("--full", help="Copy all contents anew.")] = False,
    without_contents: Annotated[
        bool, typer.Option("--without-contents", help="Back up the database alone.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not read back what was written, nor what is taken over.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Afterwards remove finished backups beside this one but the newest N.",
            show_default=False,
        ),
    ] = None,
    database_url: UrlVariable = None,
    data_dir: DataDirVariable = None,
) -> None:
    """Back up the database and the contents of files.

    Servers may run and write meanwhile.
    The store of files is that of the variables FILE_..., as for the server. Interrupted or killed, the same
    command goes on. The last line of the output is the digest of the manifest. A backup holds private keys
    and wrapped keys: keep it as safe as the database.
    """
    with server_parts("less-sync backup"):
        from less_sync.bins.commands import backup_work as work

    _check(verify=verify, listing=listing, making=bool(base or full or without_contents or no_verify or keep))
    if base is not None and full:
        raise typer.BadParameter("give one of --base and --full")
    env = environment_with(DATABASE_URL=database_url, DATA_DIR=data_dir)
    if listing:
        work.tell_list(folder, env)
        return
    if verify:
        work.check(folder, env)
        return
    asked = work.Asked(
        folder,
        base=base,
        full=full,
        contents=not without_contents,
        verify=not no_verify,
        keep=keep,
    )
    if not work.make(asked, env):
        raise typer.Exit(ExitCode.SKIPPED)


def _check(*, verify: bool, listing: bool, making: bool) -> None:
    """Which options go together."""
    if verify and listing:
        raise typer.BadParameter("give one of --verify and --list")
    if making and (verify or listing):
        raise typer.BadParameter("--verify and --list make no backup")
