"""The measuring processes: one JSON command a line in, one JSON answer a line out."""

import asyncio
import inspect
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Protocol, Self

OPEN_FILES: Final = 16_384
LINE_BYTES_MAX: Final = 64 * 1024 * 1024


class Commands(Protocol):
    """What a child can be asked to do; a command may be a coroutine function."""

    def commands(self) -> Mapping[str, Callable[..., Any]]: ...


def raise_open_files() -> None:
    """Let this process and its children hold thousands of sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def answer_commands(make: Callable[..., Commands]) -> None:
    """Serve standard input until it ends. The first line holds the arguments of `make`."""
    commands = make(**json.loads(await asyncio.to_thread(sys.stdin.readline))).commands()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        handler = commands[command.pop("command")]
        cpu, wall = time.process_time(), time.perf_counter()
        answer = handler(**command)
        if inspect.isawaitable(answer):
            answer = await answer
        answer |= {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Child:
    """One measuring process, seen from the process that orders the run."""

    def __init__(self, module: str, **arguments: Any) -> None:
        self._module = module
        self._arguments = arguments

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        await self._write(self._arguments)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def __call__(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have one command done and return its answer, with the CPU and the time it took.

        Raises:
            ChildFailed: the process ended; what went wrong is on standard error.
        """
        await self._write({"command": command} | arguments)
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"{self._module} failed at {command!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _write(self, value: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        await self._process.stdin.drain()


class ChildFailed(Exception):
    """A measuring process gave up."""
