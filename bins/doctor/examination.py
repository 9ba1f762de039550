"""All checks of one server: what waits for what, and where the database is."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from less_sync.bins.doctor.bus import look_at_bus
from less_sync.bins.doctor.database import REST, Where, look_at_database
from less_sync.bins.doctor.files import look_at_files
from less_sync.bins.doctor.findings import Finding, failed, looked, not_applicable, ok, warning
from less_sync.bins.doctor.host import (
    holder_of,
    look_at_backup,
    look_at_data_directory,
    look_at_open_files,
    look_at_ports,
)
from less_sync.bins.doctor.issuers import look_at_issuers
from less_sync.bins.doctor.peers import Own, look_at_peers
from less_sync.bins.doctor.replicas import look_at_replicas
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.private import private_postgres, running_postgres
from less_sync.bins.process import connections_of
from less_sync.bins.settings.config import Settings
from less_sync.storage import Inspection, StorageError

DATABASE_S: Final = 90.0
"""For all checks of the database, each of which has its own bound as well."""
MANY_S: Final = 60.0
"""For all issuers or all servers: each has a bound of its own, and some take turns."""


class NoDatabase(Exception):
    """There is none to look at; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding


async def examine(settings: Settings, *, now: Callable[[], float] = time.time) -> Sequence[Finding]:
    """Look at everything a server with these settings needs. Nothing is changed but a probe in the store.

    Args:
        now: seconds since 1970.
    """
    # Before anything is started here, which would hold the directory itself.
    holder = holder_of(settings.data_dir)
    own = Own()
    checks = (
        looked("database", lambda: _database(settings, own, now), bound_s=DATABASE_S),
        looked(
            "issuers",
            lambda: look_at_issuers(settings.issuers.plain, now, ruled=settings.issuers.ruled),
            bound_s=MANY_S,
        ),
        looked("file storage", lambda: look_at_files(settings.files)),
        looked("peers", lambda: look_at_peers(settings.federation, own, now), bound_s=DATABASE_S + MANY_S),
        looked("bus", lambda: look_at_bus(settings.cluster.bus), bound_s=MANY_S),
        looked("replicas", lambda: look_at_replicas(settings.cluster)),
        looked("ports", lambda: look_at_ports(settings)),
        looked("open files", lambda: look_at_open_files(holder)),
        looked("data directory", lambda: look_at_data_directory(settings, holder)),
        looked("backup", lambda: look_at_backup(settings.data_dir, now())),
    )
    found = await asyncio.gather(*checks)
    return [_settings(settings), *(finding for findings in found for finding in findings)]


def _settings(settings: Settings) -> Finding:
    warnings = settings.warnings()
    if warnings:
        return warning("settings", "; ".join(warnings), "see docs/settings.md")
    return ok("settings", "valid" + ("; dev mode" if settings.dev else ""))


def refused(problems: Sequence[str]) -> Sequence[Finding]:
    """What is to be said where the settings are wrong: nothing else can be looked at."""
    first = [failed("settings", problem.splitlines()[0], "see docs/settings.md") for problem in problems]
    return [*first, not_applicable("all else", "needs valid settings")]


async def _database(settings: Settings, own: Own, now: Callable[[], float]) -> Sequence[Finding]:
    async def use(inspection: Inspection) -> None:
        with suppress(StorageError):  # what is wrong with the database is said by its own checks
            await own.read(inspection, settings.federation)
        own.asked.set()

    try:
        async with AsyncExitStack() as stack:
            where = await stack.enter_async_context(_where(settings))
            return await look_at_database(where, now, use)
    except NoDatabase as error:
        return [error.finding, *(not_applicable(name, "the database is not reached") for name in REST)]
    finally:
        own.asked.set()


@asynccontextmanager
async def _where(settings: Settings) -> AsyncIterator[Where]:
    """The database of the settings; the private one is started for this unless its server runs.

    Raises:
        NoDatabase: the private one was never made, or does not start.
    """
    if settings.database.url is not None:
        yield Where(settings.database.url, settings.database)
        return
    if not EmbeddedPostgres.exists(settings.data_dir):
        text = f"none yet: the first `less-sync serve` makes one in {settings.data_dir}"
        raise NoDatabase(not_applicable("database", text))
    running = running_postgres(settings.data_dir) is not None
    note = "" if running else "; started for this look, as no server runs"
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(
                private_postgres(settings.data_dir, connections_of(settings.database.connections))
            )
        except EmbeddedPostgresError as error:
            todo = "see docs/data-directory.md"
            raise NoDatabase(failed("database", str(error), todo)) from error
        yield Where(url, settings.database, note)
