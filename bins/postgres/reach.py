"""Reaching a database at the start; and when it does not let us in, saying where it is, not who asked."""

import asyncio
from typing import Final

import asyncpg
import structlog

from less_sync import migrations
from less_sync.bins.errors import CommandError
from less_sync.migrations import SYNC, DatabaseUnreachable, Line
from less_sync.storage import place_of

CONNECT_TIMEOUT_S: Final = 15.0
CONNECT_PAUSE_S: Final = 1.0

_STARTING_UP: Final = frozenset({"57P03", "53300"})
"""cannot_connect_now and too_many_connections: passing states of a database that is there."""

_NO_SUCH_DATABASE: Final = "3D000"
"""Its text names the database already, in words that operators of the existing server know."""
_log = structlog.get_logger(__name__)


def told_with_place(error: DatabaseUnreachable, url: str) -> str:
    """The error's text, with host, port and database behind it where connecting is what failed."""
    cause = error.__cause__
    if isinstance(cause, OSError) or (
        isinstance(cause, asyncpg.PostgresError) and cause.sqlstate != _NO_SUCH_DATABASE
    ):
        return f"{error}: {place_of(url)}"
    return str(error)


async def migrate_when_reachable(
    url: str,
    *,
    line: Line = SYNC,
    timeout_s: float = CONNECT_TIMEOUT_S,
    pause_s: float = CONNECT_PAUSE_S,
) -> None:
    """Connect and migrate, trying again for `timeout_s` while the database is not there yet.

    Safe with other servers that start at the same time: migrations run under an advisory lock.

    Raises:
        CommandError: the database stayed away, refused us, or could not be migrated.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        try:
            await migrations.migrate_up(url, line=line, on_applied=_log_applied)
        except DatabaseUnreachable as error:
            reason = told_with_place(error, url)
            if not _may_pass(error.__cause__):
                raise CommandError(reason) from error
            if loop.time() + pause_s > deadline_s:
                message = "database error: pool timed out while waiting for an open connection"
                raise CommandError(message, [reason.removeprefix("database error: ")]) from error
            _log.warning("the database cannot be reached yet", reason=reason)
            await asyncio.sleep(pause_s)
        except migrations.MigrationError as error:
            raise CommandError(str(error)) from error
        else:
            return


def _may_pass(cause: BaseException | None) -> bool:
    """True for faults that waiting may cure: nobody listens, no answer, the database is starting up."""
    if isinstance(cause, asyncpg.PostgresError):
        return cause.sqlstate in _STARTING_UP
    return isinstance(cause, OSError)


def _log_applied(done: migrations.Applied) -> None:
    _log.info("migration applied", version=done.version)
