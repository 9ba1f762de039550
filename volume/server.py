"""One volume server from its start to its stop, both in the order that masters and clients rely upon.

    start   metrics, masters asked, volumes loaded, heartbeat, gRPC, public HTTP, admin HTTP
    stop    farewell to the master, volumes synced, a pause, HTTP, gRPC, volumes closed

An answer by HTTP therefore means that gRPC answers too. Until a master has answered nothing is listened on.
"""

import asyncio
import math
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Final, Protocol

from less_sync.volume.counters import Counters
from less_sync.volume.engine.disk_space import LOOK_EVERY_S
from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.store import Store
from less_sync.volume.grpc.server import GrpcServer
from less_sync.volume.http.client import OutgoingHttp
from less_sync.volume.http.server import HttpServer
from less_sync.volume.logs import Logger
from less_sync.volume.master.channels import Channels
from less_sync.volume.master.heartbeat import Heartbeat
from less_sync.volume.master.lookup import Lookup
from less_sync.volume.master.masters import Configuration, Masters
from less_sync.volume.metrics import State, render
from less_sync.volume.metrics_listener import MetricsListener, push
from less_sync.volume.options import Options
from less_sync.volume.security.security import Security
from less_sync.volume.security.tls import (
    grpc_channel_credentials,
    http_server_context,
    outgoing_http_context,
)
from less_sync.volume.services import Services
from less_sync.volume.signals import STOP_SIGNALS
from less_sync.volume.version import NUMBER, server_version

_log = Logger(__name__)
ANY_ADDRESS: Final = ("", "0.0.0.0", "::")
FAREWELL_S_MAX: Final = 3.0


class Vital(Protocol):
    """Runs tasks without which a server is none; `bins` has the one that ends the server when one ends."""

    @property
    def ended(self) -> asyncio.Event:
        """Set once a task has ended unexpectedly."""

    def start(self, name: str, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        """Run one."""

    async def stop(self, task: "asyncio.Task[None]") -> None:
        """Cancel one, which is expected then, and wait for it."""

    def expect_ends(self) -> None:
        """The server stops: tasks may return."""


async def _nothing() -> None:
    """Nobody has to be told."""


class VolumeServer:
    """Wires the parts, starts and stops them. `run` is its whole life."""

    def __init__(self, options: Options, environment: Mapping[str, str], vital: Vital) -> None:
        security = Security(options, environment)
        settings = security.settings
        channels = Channels(grpc_channel_credentials(settings))
        masters = Masters(options.masters, channels, options.ip, options.port)
        self._options: Final = options
        self._vital: Final = vital
        self._admin_tls: Final = http_server_context(settings)
        self.services: Final = Services(
            options=options,
            store=Store(options),
            security=security,
            masters=masters,
            lookup=Lookup(masters, channels),
            channels=channels,
            counters=Counters(),
            outgoing=OutgoingHttp(
                tls=outgoing_http_context(settings),
                source="" if options.bind in ANY_ADDRESS else options.bind,
            ),
        )
        self._heartbeat: Final = Heartbeat(
            options, masters, channels, self.services.store, self.services.counters
        )
        self._http: Final = HttpServer(self.services)
        self._grpc: Final = GrpcServer(self.services)
        self._metrics: Final = MetricsListener(self._metrics_page)
        self._started_s: Final = time.time()
        self._is_reporting = False
        self._caring: list[asyncio.Task[None]] = []
        self._farewell_said: Final = asyncio.Event()
        self._stop_wanted: Final = asyncio.Event()
        self._reload_wanted: Final = asyncio.Event()

    async def run(
        self,
        listening_for_signals: Callable[[], None] = lambda: None,
        ready: Callable[[], None] = lambda: None,
        stopping: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """Serve until a signal, or until something vital ends.

        Args:
            listening_for_signals: called once the handlers of signals are there.
            ready: called once everything listens.
            stopping: awaited before anything is stopped; raises nothing, and takes a bounded time.

        Raises:
            OSError: an address cannot be had.
        """
        _obey_signals(self._stop_wanted, self._reload_wanted)
        listening_for_signals()
        starting = asyncio.create_task(self._start())
        try:
            await _first(starting, self._stop_wanted, self._vital.ended)
            if starting.done():
                starting.result()
                ready()
                await _first(self._stop_wanted, self._vital.ended)
        finally:
            self._vital.expect_ends()
            await stopping()
            await _ended(starting)
            await self._stop()

    async def _start(self) -> None:
        options, services = self._options, self.services
        if options.metrics_port:
            port = await self._metrics.start(options.metrics_ip or options.bind, options.metrics_port)
            _log.info("metrics are served", port=port)
        configuration = await services.masters.configuration()
        await services.store.load()
        self._is_reporting = True
        self._vital.start("heartbeat", self._report())
        self._caring = [
            self._vital.start("care for volumes", self._care()),
            self._vital.start("reload", self._reload_when_wanted()),
        ]
        self._start_pushing(configuration)
        await self._grpc.start()
        await self._http.start(self._admin_tls)
        _log.info(
            "serving",
            http=f"{options.bind}:{options.port}",
            grpc_port=options.grpc_port,
            public_port=options.public_port,
            volumes=sum(1 for _ in services.store.volumes()),
            took_ms=round((time.time() - self._started_s) * 1000),
        )

    def _start_pushing(self, configuration: Configuration) -> None:
        if configuration.metrics_address and configuration.metrics_interval_s > 0:
            work = push(
                self._metrics_page,
                configuration.metrics_address,
                configuration.metrics_interval_s,
                self._options.own_address,
            )
            self._vital.start("metrics push", work)

    async def _stop(self) -> None:
        """Stop whatever runs. A server that has left its master before stops without farewell and pause."""
        services = self.services
        _log.info("stopping")
        if self._is_reporting and services.masters.heartbeating:
            services.masters.leave()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._farewell_said.wait(), FAREWELL_S_MAX)
            services.store.stopping = True
            await services.store.sync()
            if self._stop_wanted.is_set():  # else it is a failure that is ended here
                await asyncio.sleep(self._options.pre_stop_s)
        services.store.stopping = True
        await self._http.stop()
        await self._grpc.stop()
        for task in self._caring:  # what they began with volumes is over before these are closed
            await self._vital.stop(task)
        await services.store.close()
        await self._metrics.stop()
        await services.outgoing.close()
        await services.channels.close()
        _log.info("stopped")

    async def _report(self) -> None:
        """Report to the masters. A server that was told to leave them serves on, so this goes on as well."""
        try:
            await self._heartbeat.run()
        finally:
            self._farewell_said.set()
        await asyncio.Event().wait()

    async def _reload_when_wanted(self) -> None:
        """New volumes in the directories, then security. One look at a time; a wish meanwhile is one more."""
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            try:
                await self.services.store.reload()
            except (OSError, VolumeError) as error:
                _log.error("volumes cannot be loaded again", fault=error)
            self.services.security.reload()
            _log.info("reloaded")

    async def _care(self) -> None:
        """What is due again and again: a look at the disks, and syncs if they are wanted."""
        options, store, loop = self._options, self.services.store, asyncio.get_running_loop()
        look = loop.time() + LOOK_EVERY_S
        sync = loop.time() + options.sync_interval_s if options.sync_interval_s else math.inf
        while True:
            await asyncio.sleep(max(0.0, min(look, sync) - loop.time()))
            if loop.time() >= look:
                await store.look_at_disks()
                look = loop.time() + LOOK_EVERY_S
            if loop.time() >= sync:
                await store.sync()
                sync = loop.time() + options.sync_interval_s

    def _metrics_page(self) -> str:
        services, options = self.services, self._options
        state = State(
            volumes=services.store.reports(),
            disks=services.store.disk_reports(),
            directories=[str(one.path) for one in options.directories],
            upload_bytes=self._http.limits.uploads.bytes,
            download_bytes=self._http.limits.downloads.bytes,
            upload_bytes_max=options.upload_bytes_max,
            download_bytes_max=options.download_bytes_max,
            started_s=self._started_s,
            version=NUMBER,
            size_limit=server_version(options.offset_bytes).partition(" ")[0],
        )
        return render(services.counters, state)


def _obey_signals(stop: asyncio.Event, reload: asyncio.Event) -> None:
    """From now on signals set the events. A second signal to stop changes nothing.

    The loop gives them back only when it is closed: one that comes at the very end would kill the process
    otherwise, which would look like a failure.
    """
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)


async def _first(*waited: "asyncio.Event | asyncio.Task[None]") -> None:
    """Wait until an event is set or a task is done."""
    waiting = [asyncio.create_task(one.wait()) for one in waited if isinstance(one, asyncio.Event)]
    try:
        tasks = [one for one in waited if isinstance(one, asyncio.Task)]
        await asyncio.wait([*waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task unless it is done, and wait; how it ended is asked of the task."""
    task.cancel()
    await asyncio.wait({task})
