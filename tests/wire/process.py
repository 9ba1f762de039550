"""The real server as a process of its own: `less-sync serve`, started and stopped or killed by a test."""

import asyncio
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.wire.command import Command, kept_variables, start_command

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
OUTPUT_LINES_KEPT: Final = 200
LISTENING: Final = re.compile(r"listens on http://(?:127\.0|0\.0)\.0\.\d+:(\d+)\b")
"""The address really bound: the server prints it once it listens."""


class Program(NamedTuple):
    """The `less-sync` command of a checkout."""

    directory: Path
    python: str
    module: str


class ServerProcess:
    """`less-sync serve` on a free loopback port, with exactly the given variables for its settings.

    `fresh` starts a new interpreter for it; `program` is another checkout's command, in a new one too.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        arguments: Sequence[str] = (),
        *,
        fresh: bool = False,
        program: Program | None = None,
    ) -> None:
        self._arguments = ("serve", "--listen", "127.0.0.1:0", *arguments)
        self._settings = settings
        self._fresh = fresh
        self._program = program
        self.output: list[str] = []
        """The last lines it printed, on either stream."""

    async def __aenter__(self) -> Self:
        await self._start()
        self._port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())
        try:
            self.port = await asyncio.wait_for(self._port, START_TIMEOUT_S)
        except BaseException:
            await self.kill()
            raise
        return self

    async def _start(self) -> None:
        self._process: Command | asyncio.subprocess.Process
        if self._program is None:
            self._process = await start_command(
                "less-sync", self._arguments, env=self._settings, fresh=self._fresh
            )
            self._stdout = self._process.stdout
            return
        self._process = await asyncio.create_subprocess_exec(
            self._program.python,
            "-m",
            self._program.module,
            *self._arguments,
            cwd=self._program.directory,
            env={**kept_variables(), **self._settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._stdout = self._process.stdout

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                await self.kill()
                raise
        await self._reader

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait(self, timeout_s: float) -> int:
        """Return the exit status once the process has ended.

        Raises:
            TimeoutError: it did not end.
        """
        return await asyncio.wait_for(self._process.wait(), timeout_s)

    async def kill(self) -> None:
        """`kill -9`, and wait until the kernel has collected it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _read(self) -> None:
        while read := await self._stdout.readline():
            line = read.decode(errors="replace").rstrip()
            self.output = [*self.output[1 - OUTPUT_LINES_KEPT :], line]
            found = LISTENING.search(line)
            if found and not self._port.done() and found[1] != "0":
                self._port.set_result(int(found[1]))
        if not self._port.done():
            lines = "\n".join(self.output)
            self._port.set_exception(RuntimeError(f"the server ended before it listened:\n{lines}"))
