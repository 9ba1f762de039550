"""What one of several processes that serve does, from its first message to its end (`worker` begins it).

Started by the supervisor, which says the rest over the socket with that descriptor. When that one is closed
the supervisor is gone, and the worker drains and ends.
"""

import asyncio
import os
import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import uvloop

from less_sync.bins.errors import CommandError
from less_sync.bins.logs import configure_logging, log_loop_fault
from less_sync.bins.postgres.reach import migrate_when_reachable
from less_sync.bins.process import raise_open_files_limit
from less_sync.bins.server import Handed, serve
from less_sync.bins.settings.config import ConfigError, Settings
from less_sync.bins.settings.live import with_live
from less_sync.bins.signals import Signals
from less_sync.bins.workers.messages import (
    Begin,
    Channel,
    ChannelBroken,
    Failed,
    Migrated,
    Ready,
    Reload,
    Stop,
    ToWorker,
)

ADMIN_BACKLOG: Final = 16
TOLD_S_MAX: Final = 5.0
"""How long the last words of a worker may take to leave."""

_log = structlog.get_logger(__name__)


class Worker:
    """One worker, from its first message to its end."""

    def __init__(self, channel: Channel[ToWorker]) -> None:
        self._channel = channel
        self._signals = Signals()
        self._replaced = False
        self.abandoned = False
        """Whether the supervisor is gone."""

    async def run(self) -> None:
        """Serve until a signal or the supervisor ends it.

        Raises:
            CommandError: the start failed, or something vital ended.
        """
        begin = await self._channel.receive()
        if not isinstance(begin, Begin):
            return  # told to stop, or left alone, before it began
        settings = _settings(begin)
        configure_logging(level=settings.log.level, form=settings.log.form, bound={"worker": begin.number})
        handed = Handed(
            number=begin.number,
            database=partial(self._database, begin),
            share=settings.database.share(settings.cluster.workers),
            listeners=[socket.socket(fileno=number) for number in begin.listeners],
            people=Path(begin.people),
            admin=None if begin.admin is None else _listen_at(begin.admin),
            profiler=[socket.socket(fileno=number) for number in begin.profiler],
            bus=begin.bus,
            replaced=lambda: self._replaced,
        )
        hearing = asyncio.create_task(self._hear())
        try:
            await serve(
                settings,
                lambda _address: self._channel.send(Ready()),
                self._signals.stop,
                reload=self._signals.reload,
                handed=handed,
            )
        finally:
            hearing.cancel()
            await asyncio.wait({hearing})
            if self.abandoned:  # nobody else is left to do so
                shutil.rmtree(begin.people, ignore_errors=True)

    async def _database(self, begin: Begin) -> str:
        if begin.migrate:
            await migrate_when_reachable(begin.database)
            self._channel.send(Migrated())
        return begin.database

    async def _hear(self) -> None:
        """Do as the supervisor says; without it there is nothing to go on for."""
        try:
            while message := await self._channel.receive():
                if isinstance(message, Reload):
                    self._signals.reload.set()
                elif isinstance(message, Stop):
                    self._replaced = message.replaced
                    self._signals.stop.set()
            self.abandoned = True
            _log.error("the supervisor of this worker is gone")
        except ChannelBroken as error:
            _log.error("the supervisor of this worker is not understood", reason=str(error))
        finally:
            self._signals.stop.set()


def _settings(begin: Begin) -> Settings:
    """What the supervisor works with: the files among its sources are not read again.

    Raises:
        CommandError: they are not usable, as after an upgrade of what is installed.
    """
    try:
        settings = Settings.from_given(begin.sources.given())
        if begin.live is not None:
            settings = with_live(settings, Settings.from_given(begin.live.given()))
    except ConfigError as error:
        raise CommandError(error.problems[0], error.problems[1:]) from error
    return settings


def _listen_at(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(ADMIN_BACKLOG)
    return listener


async def _work(end: socket.socket) -> int:
    asyncio.get_running_loop().set_exception_handler(log_loop_fault)
    channel: Channel[ToWorker] = await Channel.open(end, ToWorker)
    worker = Worker(channel)
    try:
        await worker.run()
    except CommandError as error:
        channel.send(Failed(str(error), error.causes))
        async with asyncio.timeout(TOLD_S_MAX):
            await channel.sent()
        return 1
    finally:
        channel.close()
    return 1 if worker.abandoned else 0


def work(channel: int) -> int:
    """Serve as told over the socket with this descriptor.

    Returns:
        The exit status: 0 stopped in order, 1 failed or abandoned.
    """
    end = socket.socket(fileno=channel)
    os.set_inheritable(end.fileno(), False)
    raise_open_files_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work(end))
