"""What would leave this machine, made without a server: for whoever wants to read it first."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import uuid4

from prometheus_client.metrics_core import Metric

from less_sync.bins.admin.holdings import Holdings, holdings_of
from less_sync.bins.errors import CommandError
from less_sync.bins.reporting.identity import identity, own_version
from less_sync.bins.reporting.server import ServerSnapshot
from less_sync.bins.reporting.start import read_small
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.reporter import MINIMAL
from less_sync.fleet.reporter.messages import heartbeat_body, registration_body
from less_sync.fleet.reporter.reporter import sent_at
from less_sync.fleet.reporter.state import STATE_FILE, StateError, read_kept
from less_sync.migrations import version
from less_sync.storage import Catalogue


def registration_preview(settings: Settings) -> bytes:
    """The body of a registration, with the id that is kept if one is.

    Raises:
        CommandError: what is kept cannot be read.
    """
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


def heartbeat_preview(settings: Settings, catalogue: Catalogue | None, *, database_ok: bool | None) -> bytes:
    """The body of the first heartbeat of a server that nobody has connected to.

    Args:
        catalogue: what the database says; None: it was not asked, or does not answer.
        database_ok: None: it was not asked.
    """
    url = settings.database.url or ""
    holdings = Holdings(ok=database_ok) if catalogue is None else holdings_of(catalogue)
    report = asyncio.run(ServerSnapshot(settings, _NotStarted(holdings), lambda: version(url)).report())
    return heartbeat_body(
        report.minimal() if settings.reporter.report == MINIMAL else report,
        sequence=1,
        boot_id=str(uuid4()),
        version=own_version(),
        uptime_s=0,
        sent_at=sent_at(datetime.now(UTC)),
    )


class _NotStarted:
    """A server without anybody in it. Implements `Reported`."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    async def families(self) -> Iterable[Metric]:
        return ()

    async def holdings(self) -> Holdings:
        return self._holdings

    async def draining(self) -> bool:
        return False

    async def drain(self) -> None:
        """There is nobody."""

    async def resume(self) -> None:
        """There is nobody."""
