"""The commands `restore` and `upgrade-data`. What they need is imported when they run."""

from pathlib import Path
from typing import Annotated

import typer

from less_sync.bins.commands.database_options import DataDirVariable, UrlVariable, environment_with
from less_sync.bins.installed import server_parts

Backup = Annotated[
    Path,
    typer.Argument(
        metavar="BACKUP", help="A backup, or a folder of backups: the newest.", show_default=False
    ),
]


def restore(
    backup: Backup,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace everything that the database and the store hold.")
    ] = False,
    keep_schema: Annotated[
        bool, typer.Option("--keep-schema", help="Stop at the backup's versions of the schema.")
    ] = False,
    database_url: UrlVariable = None,
    data_dir: DataDirVariable = None,
) -> None:
    """Restore a backup into an empty database and an empty store of files.

    Everything in the backup is checked before anything is touched. Interrupted or killed, the same command
    goes on; until it is done no server starts on the database. Stop the server first. The store of files is
    that of the variables FILE_..., as for the server.
    """
    with server_parts("less-sync restore"):
        from less_sync.bins.commands.restore_work import restore_from

    env = environment_with(DATABASE_URL=database_url, DATA_DIR=data_dir)
    restore_from(backup, env, force=force, keep_schema=keep_schema)


def upgrade_data(
    backup: Backup,
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Although the cluster was used after the backup, or is of this version already."
        ),
    ] = False,
    data_dir: DataDirVariable = None,
) -> None:
    """Move the embedded Postgres of a data directory to the major version of this release.

    BACKUP is one that the older release made of it after its server was stopped. The old cluster is renamed
    and kept, a new one is made and filled from the backup; contents of files stay where they are. Interrupted
    or killed, the same command goes on.
    """
    with server_parts("less-sync upgrade-data"):
        from less_sync.bins.commands.restore_work import upgrade_from

    upgrade_from(backup, environment_with(DATA_DIR=data_dir), force=force)
