"""A server of several workers as it is started by operators, and its processes."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]  # ships no types

from tests.wire.process import ServerProcess

TIMEOUT_S: Final = 60.0
MODULE: Final = "less_sync.bins.workers.worker"


@asynccontextmanager
async def node(
    data_dir: Path, *arguments: str, workers: int = 2, fresh: bool = False, **settings: str
) -> AsyncIterator[ServerProcess]:
    """`less-sync serve --workers`, with a Postgres of its own unless `DATABASE_URL` is among the settings."""
    variables = {"DATA_DIR": str(data_dir), **settings}
    options = ("--workers", str(workers), "--dev", *arguments)
    async with ServerProcess(variables, options, fresh=fresh) as running:
        yield running


def workers_of(running: ServerProcess) -> list[psutil.Process]:
    """The worker processes that live, in no order."""
    with suppress(psutil.NoSuchProcess):
        return [one for one in psutil.Process(running.pid).children() if _is_worker(one)]
    return []


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return MODULE in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    return False


def connections(worker: psutil.Process, port: int) -> int:
    """How many clients it has."""
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
        for one in worker.net_connections("tcp")
    )


def all_of(running: ServerProcess) -> list[psutil.Process]:
    """Every process that belongs to it, itself included."""
    supervisor = psutil.Process(running.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; one that nobody has collected yet has."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def said(running: ServerProcess, *texts: str) -> list[str]:
    """The lines in which all of these texts stand."""
    return [line for line in running.output if all(text in line for text in texts)]


async def until(condition: Callable[[], object]) -> None:
    """Wait for another process's doing.

    Raises:
        TimeoutError: it does not do it.
    """
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(0.02)


async def until_gone(processes: list[psutil.Process]) -> None:
    """Wait until none of them lives."""
    try:
        await until(lambda: not any(map(lives, processes)))
    except TimeoutError:
        left = [(one.pid, one.cmdline()) for one in processes if lives(one)]
        raise AssertionError(f"left behind: {left}") from None


def environment_of(process: psutil.Process) -> str:
    """What `ps e` shows of it."""
    return Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace")


def is_root() -> bool:
    """Whether the tests run as root."""
    return os.geteuid() == 0
