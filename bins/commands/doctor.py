"""The command `doctor`. What it needs is imported when it runs."""

from collections.abc import Mapping

import typer

from less_sync.bins.commands.folder import Json
from less_sync.bins.commands.setting_options import takes_settings
from less_sync.bins.installed import server_parts


@takes_settings
def doctor(*, options: Mapping[str, str], dev: bool, json: Json = False) -> None:
    """Look at all that a server needs, and say what to do.

    Takes what `serve` takes, beside a running server or before a start. Nothing is changed, but for a probe
    that is written into the file storage and removed. The server's own Postgres is started for the time it
    takes, unless its server runs. Status 1: something failed; warnings alone are 0.
    """
    with server_parts("less-sync doctor"):
        from less_sync.bins.commands import doctor_work as work
    found = work.find(options, dev=dev)
    for line in work.json_lines(found) if json else work.table(found):
        print(line)
    if work.any_failed(found):
        raise typer.Exit(1)
