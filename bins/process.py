"""What every process of a server does beside its work: open files, waiting for what comes first, its end."""

import asyncio
import resource
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog
import uvloop

from less_sync.bins.errors import CommandError
from less_sync.bins.hangups import hold_hangups
from less_sync.bins.heap import forget_modules
from less_sync.bins.logs import configure_logging, log_loop_fault
from less_sync.bins.settings.config import LogSettings
from less_sync.bins.signals import Signals
from less_sync.bins.supervisor import Ended, Supervisor

OPEN_FILES_MAX: Final = 1 << 20
POSTGRES_CONNECTIONS: Final = 100
"""What a Postgres takes unless it is told otherwise."""
CONNECTIONS_BESIDE: Final = 20
"""For commands that look at the same database, migrations, and what Postgres keeps for its own user."""

_log = structlog.get_logger(__name__)

T = TypeVar("T")


def raise_open_files_limit() -> None:
    """Every connection is an open file, and many systems start a process with a limit of 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(OPEN_FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_process(log: LogSettings, serve: Callable[[Signals], Coroutine[object, object, None]]) -> None:
    """Run a server in a loop of its own, until it ends by itself or because a signal asked for it.

    Raises: what `serve` raises.
    """
    forget_modules()
    configure_logging(level=log.level, form=log.form)
    raise_open_files_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_signal(serve))


async def _serve_until_signal(serve: Callable[[Signals], Coroutine[object, object, None]]) -> None:
    asyncio.get_running_loop().set_exception_handler(log_loop_fault)
    signals = Signals()
    try:
        await serve(signals)
    finally:
        hold_hangups()  # the loop takes its handlers away when it is closed


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def unless(work: Coroutine[object, object, T], *events: asyncio.Event) -> T | None:
    """The result of `work`, or None when an event was set first; then it is cancelled and awaited."""
    working, interrupted = asyncio.create_task(work), asyncio.create_task(first_of(*events))
    try:
        await asyncio.wait({working, interrupted}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        interrupted.cancel()
        working.cancel()
        await asyncio.wait({working})
    return None if working.cancelled() else working.result()


def failure_of(ended: Ended) -> CommandError:
    """What an operator reads who did not see the log."""
    from less_sync.bins.postgres.files import EmbeddedPostgresError

    fault = ended.fault
    if isinstance(fault, CommandError):
        return CommandError(str(fault), fault.causes)
    if isinstance(fault, EmbeddedPostgresError):
        return CommandError(str(fault))
    return CommandError(f"the {ended.task} ended unexpectedly, so the server was stopped; the log says where")


def connections_of(connections: int) -> dict[str, str]:
    """What an embedded Postgres is told: it serves nobody else, so it takes what its server may want."""
    return {"max_connections": str(max(POSTGRES_CONNECTIONS, connections + CONNECTIONS_BESIDE))}


async def own_database(data_dir: Path, connections: int, stack: AsyncExitStack, vital: Supervisor) -> str:
    """Start the Postgres of a data directory, keep it running, and say where it answers.

    Args:
        connections: what its server may want of it.

    Raises:
        CommandError: it does not start.
    """
    from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
    from less_sync.bins.postgres.keeper import OwnPostgres

    start = partial(EmbeddedPostgres, settings=connections_of(connections))
    try:
        postgres = await stack.enter_async_context(OwnPostgres(data_dir, start=start))
    except EmbeddedPostgresError as error:
        raise CommandError(str(error)) from error
    stack.push_async_callback(vital.stop, vital.start("keeper of the embedded Postgres", postgres.keep()))
    _log.info("embedded database started", data_dir=str(data_dir))
    return postgres.url
