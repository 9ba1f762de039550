"""Programs that a run starts: each leads a process group of its own, and none of a group outlives its end.

No shell, closed input, and an environment that is given whole. A group is stopped by its number: that is the
number of the program which leads it, and no other process can get it while one of the group is there.
"""

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GUARD: Final = Path(__file__).with_name("guard.py")
KILLED_WAIT_S: Final = 5.0
"""What a killed program may take to be gone: it may sit in a disk that does not answer."""
READ_BYTES: Final = 64 * 1024
LINE_CHARS_MAX: Final = 500


def group_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a whole group, if any of it is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


@dataclass(frozen=True, slots=True)
class Program:
    """One that runs, and what it writes."""

    process: asyncio.subprocess.Process
    output: asyncio.StreamReader
    """Its standard output."""
    errors: asyncio.StreamReader
    """Its standard error; the same unless that was to be apart."""
    pipes: tuple[asyncio.ReadTransport, ...]

    async def end(self) -> None:
        """Kill what is left of its group and let go of its output."""
        group_signal(self.process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(KILLED_WAIT_S):
                await self.process.wait()
        for pipe in self.pipes:
            pipe.close()


@asynccontextmanager
async def started(
    argv: Sequence[str], environment: Mapping[str, str], *, guarded: bool = False, errors_apart: bool = False
) -> AsyncIterator[Program]:
    """Start a program for the block; when that ends, however it does, what is left of its group is killed.

    Args:
        guarded: end it also when this process is killed.
        errors_apart: whether standard error is a pipe of its own instead of the one of standard output.

    Raises:
        OSError: it cannot be started.
    """
    words = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *argv] if guarded else [*argv]
    # Starting is not cancelled halfway: nobody would know of the program.
    starting = asyncio.ensure_future(_start(words, environment, errors_apart=errors_apart))
    try:
        program = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.shield(_end_once_started(starting))
        raise
    try:
        yield program
    finally:
        await asyncio.shield(program.end())


async def _end_once_started(starting: "asyncio.Future[Program]") -> None:
    with suppress(OSError):
        await (await starting).end()


async def _start(argv: Sequence[str], environment: Mapping[str, str], *, errors_apart: bool) -> Program:
    output, pipe, end = await _pipe()
    pipes, ends, errors = [pipe], [end], output
    try:
        if errors_apart:
            errors, pipe, end = await _pipe()
            pipes.append(pipe)
            ends.append(end)
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=ends[0],
            stderr=ends[-1],
            env=dict(environment),
            start_new_session=True,
        )
    except BaseException:
        for pipe in pipes:
            pipe.close()
        raise
    finally:
        for one in ends:
            os.close(one)
    return Program(process, output, errors, tuple(pipes))


async def _pipe() -> tuple[asyncio.StreamReader, asyncio.ReadTransport, int]:
    """A reader, what to close, and the descriptor to write to.

    Not asyncio's own pipe of a program: that one stays open as long as any child has it, and the loop waits.
    """
    read, write = os.pipe()
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    file = os.fdopen(read, "rb", buffering=0)  # which the transport closes
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader, transport, write


class Tail:
    """The last lines of a program's output, each cut to what can be shown."""

    def __init__(self, lines_max: int) -> None:
        self._lines: deque[str] = deque(maxlen=lines_max)
        self._rest = b""

    def add(self, data: bytes) -> None:
        """More of the output."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-4 * LINE_CHARS_MAX :]
        self._lines.extend(_shown(line) for line in lines)

    @property
    def lines(self) -> list[str]:
        """Those that there were last, an unfinished one too."""
        return [*self._lines, *([_shown(self._rest)] if self._rest else [])]


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace").rstrip()
    cleaned = "".join(char if char.isprintable() or char == "\t" else "?" for char in text[:LINE_CHARS_MAX])
    return cleaned + ("..." if len(text) > LINE_CHARS_MAX else "")
