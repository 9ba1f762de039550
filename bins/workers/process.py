"""A worker as its supervisor sees it: a process, and what it says."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Final, Self

import structlog

from less_sync.bins.errors import os_error_text
from less_sync.bins.workers.messages import (
    Begin,
    Channel,
    ChannelBroken,
    Failed,
    FromWorker,
    Migrated,
    Ready,
    Stop,
    ToWorker,
)

MODULE: Final = "less_sync.bins.workers.worker"
READY_S_MAX: Final = 60.0
"""From its first message, or from the end of its migrating, which takes as long as it takes."""
GOING_S_MAX: Final = 10.0
"""From the end of its channel to that of its process."""

_log = structlog.get_logger(__name__)


class WorkerFailed(Exception):
    """A worker ended, or was ended, before it was ready.

    `words` are its own, for the operator, with `causes`; where it left none, `told` is False.
    """

    def __init__(self, words: str, causes: Sequence[str] = (), *, told: bool) -> None:
        super().__init__(words)
        self.causes = tuple(causes)
        self.told = told


class WorkerProcess:
    """One process. `over` is set when the kernel has collected it."""

    def __init__(
        self, number: int, process: asyncio.subprocess.Process, channel: Channel[FromWorker]
    ) -> None:
        self.number: Final = number
        self.pid: Final = process.pid
        self.started_s: Final = time.monotonic()
        self.over: Final = asyncio.Event()
        self._process = process
        self._channel = channel
        self.begun = False
        """Whether it was sent its first message."""
        self._told = asyncio.Event()
        """Set with each message, and at the end."""
        self._migrated = False
        self._ready = False
        self._failed: Failed | None = None
        self._stopping = False
        self._hearing: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        number: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        files: Sequence[int],
        *,
        gone: Callable[[Self], None],
    ) -> Self:
        """Start a process that waits for its first message.

        Args:
            command: the descriptor of the channel is put behind it.
            environment: of that process.
            files: descriptors that it inherits, at the same numbers.
            gone: called at its end.

        Raises:
            WorkerFailed: the system gives no process.
        """
        try:
            ours, theirs = socket.socketpair()
            with theirs, ExitStack() as unless_started:
                unless_started.enter_context(ours)
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=environment,
                    pass_fds=(theirs.fileno(), *files),
                    start_new_session=True,  # a terminal's Ctrl-C is for the supervisor
                )
                unless_started.pop_all()
        except OSError as error:
            raise WorkerFailed(f"no process can be started: {os_error_text(error)}", told=False) from error
        worker = cls(number, process, await Channel.open(ours, FromWorker))
        worker._hearing = asyncio.create_task(worker._hear(gone))
        return worker

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it accepts connections, and was not told to stop."""
        return self._ready and not self._stopping and not self.over.is_set()

    @property
    def end(self) -> str:
        """How it ended: `status 1` or `SIGKILL`."""
        status = self._process.returncode
        if status is None or status >= 0:
            return f"status {status}"
        return signal.Signals(-status).name

    def begin(self, message: Begin) -> None:
        """Send the first message."""
        self.begun = True
        self.send(message)

    def send(self, message: ToWorker) -> None:
        """Tell it something, if it is still there."""
        self._channel.send(message)

    async def migrated(self) -> None:
        """Wait until it has brought the schema up to date.

        Raises:
            WorkerFailed: it ended before that.
        """
        while not self._migrated:
            await self._next()

    async def ready(self, within_s: float = READY_S_MAX) -> None:
        """Wait until it accepts connections; one that does not in time is killed.

        Raises:
            WorkerFailed: it does not.
        """
        try:
            async with asyncio.timeout(within_s):
                while not self._ready:
                    await self._next()
        except TimeoutError:
            self.kill()
            raise WorkerFailed(f"it was not ready within {within_s:g} s", told=False) from None

    def stop(self, *, replaced: bool) -> None:
        """Tell it to drain and end."""
        self._stopping = True
        self.send(Stop(replaced))

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _next(self) -> None:
        if self._failed is not None:
            raise WorkerFailed(self._failed.words, self._failed.causes, told=True)
        if self.over.is_set():
            raise WorkerFailed(f"it ended before it was ready ({self.end})", told=False)
        self._told.clear()
        await self._told.wait()

    async def _hear(self, gone: Callable[[Self], None]) -> None:
        """Take what it says until its channel ends, and then its end."""
        try:
            await self._listen()
            try:
                async with asyncio.timeout(GOING_S_MAX):
                    await self._process.wait()
            except TimeoutError:
                _log.error("a worker has hung up and does not end, and is killed", number=self.number)
                self.kill()
            await self._process.wait()
        finally:
            self._channel.close()
            self.over.set()
            self._told.set()
            gone(self)

    async def _listen(self) -> None:
        try:
            while message := await self._channel.receive():
                match message:
                    case Migrated():
                        self._migrated = True
                    case Ready():
                        self._ready = True
                    case Failed():
                        self._failed = message
                self._told.set()
        except ChannelBroken as error:
            _log.error("a worker is not understood, and is killed", number=self.number, reason=str(error))
            self.kill()


def worker_command() -> list[str]:
    """How this Python runs a worker, without looking for modules where nobody expects them."""
    # As this process does: in the directory that it was started in only if it was started from there.
    from_here = sys.path[:1] in ([""], [os.getcwd()])
    return [sys.executable, *([] if from_here else ["-P"]), "-m", MODULE]
