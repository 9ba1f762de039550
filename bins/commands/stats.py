"""The command `stats`. What it needs is imported when it runs."""

from typing import Annotated

import typer

from less_sync.bins.commands.database_options import (
    DatabaseUrl,
    DataDirectory,
    Timeout,
    data_directory_meant,
    database_meant,
)
from less_sync.bins.commands.folder import Json
from less_sync.bins.installed import server_parts


def stats(
    *,
    top: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="How many of the largest spaces are listed.")
    ] = 5,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Read every row, however many; else large tables are estimated from a sample."
        ),
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=86_400,
            metavar="SECONDS",
            help="Then say what was written, this often, until Ctrl-C.",
        ),
    ] = None,
    timeout: Timeout = 60,
    database_url: DatabaseUrl = None,
    data_dir: DataDirectory = None,
    json: Json = False,
) -> None:
    """Say how much the server holds, and who most of it.

    Reads the database alone and writes nothing; the server may run. `~` marks an estimate.
    """
    with server_parts("less-sync stats"):
        from less_sync.bins.commands import stats_work as work
    work.run(
        database_meant(database_url, data_dir),
        data_directory_meant(data_dir),
        top=top,
        exact=exact,
        watch_s=watch,
        timeout_s=timeout,
        json=json,
    )
