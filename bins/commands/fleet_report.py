"""The command `fleet show-report`: what would leave this machine, byte for byte."""

import asyncio
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from less_sync.bins.commands.setting_options import settings_or_exit, takes_settings
from less_sync.bins.errors import CommandError, print_warning
from less_sync.bins.installed import server_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client.metrics_core import Metric

    from less_sync.bins.admin.holdings import Holdings
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
        body = _registration(settings) if registration else _heartbeat(settings)
    sys.stdout.buffer.write(body + b"\n")
    sys.stdout.flush()


def _registration(settings: "Settings") -> bytes:
    from less_sync.bins.reporting.identity import identity
    from less_sync.bins.reporting.start import read_small
    from less_sync.fleet.reporter.messages import registration_body
    from less_sync.fleet.reporter.state import STATE_FILE, StateError, read_kept

    path = settings.data_dir / STATE_FILE
    try:
        instance_id = read_kept(path, read_small(path)).instance_id
    except FileNotFoundError:
        instance_id = str(uuid4())
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    except StateError as error:
        raise CommandError(str(error)) from error
    return registration_body(identity("sync", settings.reporter), instance_id)


def _heartbeat(settings: "Settings") -> bytes:
    from less_sync.bins.reporting.identity import own_version
    from less_sync.bins.reporting.server import ServerSnapshot
    from less_sync.bins.settings.reporter import MINIMAL
    from less_sync.fleet.reporter.messages import heartbeat_body
    from less_sync.fleet.reporter.reporter import sent_at
    from less_sync.migrations import version

    url = settings.database.url or ""
    snapshot = ServerSnapshot(settings, _NotStarted(_holdings(settings)), lambda: version(url))
    report = asyncio.run(snapshot.report())
    return heartbeat_body(
        report.minimal() if settings.reporter.report == MINIMAL else report,
        sequence=1,
        boot_id=str(uuid4()),
        version=own_version(),
        uptime_s=0,
        sent_at=sent_at(datetime.now(UTC)),
    )


def _holdings(settings: "Settings") -> "Holdings":
    """What the database holds; of the server's own nothing is known unless the server runs."""
    from less_sync.bins.admin.holdings import QUESTION_S, Holdings, holdings_of
    from less_sync.bins.commands.surveying import survey_on
    from less_sync.bins.postgres.operator import Database
    from less_sync.bins.settings.reporter import MINIMAL

    if settings.database.url is None or settings.reporter.report == MINIMAL:
        return Holdings(ok=None)
    try:
        return survey_on(Database(settings.database.url), holdings_of, question_s=QUESTION_S)
    except CommandError as error:
        print_warning(str(error))
        return Holdings(ok=False)


class _NotStarted:
    """A server that nobody has connected to. As `Reported`."""

    def __init__(self, holdings: "Holdings") -> None:
        self._holdings = holdings

    async def families(self) -> "Iterable[Metric]":
        return ()

    async def holdings(self) -> "Holdings":
        return self._holdings

    async def draining(self) -> bool:
        return False

    async def drain(self) -> None:
        """There is nobody."""

    async def resume(self) -> None:
        """There is nobody."""
