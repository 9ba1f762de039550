"""The command `fleet show-report`: what would leave this machine, byte for byte."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from less_sync.bins.commands.setting_options import settings_or_exit, takes_settings
from less_sync.bins.errors import CommandError, print_warning
from less_sync.bins.installed import server_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from less_sync.bins.settings.config import Settings


@takes_settings
def show_report(
    *,
    options: "Mapping[str, str]",
    dev: bool,
    registration: Annotated[
        bool, typer.Option("--registration", help="What is sent once instead, to register.")
    ] = False,
) -> None:
    """Print the body of a heartbeat to a fleet plane, as a server with these settings would send it.

    Nothing is sent, and no server is asked: figures that only a running one knows (connections, what is
    pushed and pulled) are those of one that has just started. Of a database that is not the server's own
    its catalogue is asked.
    """
    settings = settings_or_exit(options, dev=dev)
    with server_parts("less-sync fleet show-report"):
        from less_sync.bins.reporting.preview import registration_preview
    body = registration_preview(settings) if registration else _heartbeat(settings)
    sys.stdout.buffer.write(body + b"\n")
    sys.stdout.flush()


def _heartbeat(settings: "Settings") -> bytes:
    from less_sync.bins.commands.surveying import survey_on
    from less_sync.bins.postgres.operator import Database
    from less_sync.bins.reporting.preview import heartbeat_preview
    from less_sync.bins.settings.reporter import MINIMAL
    from less_sync.storage import PostgresSurveys

    url = settings.database.url
    if url is None or settings.reporter.report == MINIMAL:
        return heartbeat_preview(settings, None, database_ok=None)
    try:
        found = survey_on(Database(url), PostgresSurveys.catalogue, question_s=2)
    except CommandError as error:
        print_warning(str(error))
        return heartbeat_preview(settings, None, database_ok=False)
    return heartbeat_preview(settings, found, database_ok=True)
