"""Starts `less-sync` and `migrate` as processes of their own, without the half second of imports.

One fork server (see `fork_server`) per test process, started with the first command. `fresh` starts a new
interpreter instead, as a shell does: for tests of the start itself.
"""

import asyncio
import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.wire.fork_server import COMMANDS, REQUEST_BYTES_MAX, SERVER

ROOT: Final = Path(__file__).parents[2]
INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
"""What a command keeps of the variables here; everything else would be a setting."""


class _Reading(asyncio.StreamReaderProtocol):
    """Feeds a reader and closes the pipe at its end, which nobody else does for a pipe under uvloop."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


async def _reader(file: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(file, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: _Reading(reader), pipe)
    return reader


class Command:
    """A running command. Whoever starts one reads its output to the end, as `communicate` does."""

    def __init__(
        self,
        pid: int,
        out: asyncio.StreamReader,
        err: asyncio.StreamReader | None,
        report: asyncio.StreamReader,
    ) -> None:
        self.pid = pid
        self.stdout = out
        self.stderr = err
        self.returncode: int | None = None
        self._ended = asyncio.create_task(self._watch(report))

    async def _watch(self, report: asyncio.StreamReader) -> int:
        line = await report.readline()
        if not line:
            raise RuntimeError("the fork server ended before its child")
        self.returncode = int(line)
        await report.read()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Return the exit status once the process has ended; a signal's number is negative."""
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read the output to its end and wait."""
        out = await self.stdout.read()
        err = b"" if self.stderr is None else await self.stderr.read()
        await self.wait()
        return out, err


class Forks:
    """The connection to a fork server of this process."""

    def __init__(self, rooms: Sequence[str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.wire.fork_server", str(theirs.fileno()), *rooms],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )

    def start(self, request: bytes, files: Sequence[int]) -> None:
        socket.send_fds(self._requests, [request], files)

    def close(self) -> None:
        self._requests.close()
        self._process.wait()


@functools.cache
def fork_server(rooms: Sequence[str] = SERVER) -> Forks:
    """Start it; it ends with this process, and with it every command that still runs."""
    forks = Forks(rooms)
    atexit.register(forks.close)
    return forks


def kept_variables() -> dict[str, str]:
    """The variables that a command gets beside those of its settings."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


async def start_command(
    command: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    stderr_apart: bool = False,
    fresh: bool = False,
) -> Command:
    """Start a command of `COMMANDS` with exactly these variables for its settings and nothing to read.

    Standard error joins standard output unless it is to be kept apart.
    """
    job = {
        "command": command,
        "arguments": list(arguments),
        "environment": {**kept_variables(), **env},
        "directory": str(cwd),
        "fresh": fresh,
    }
    request = json.dumps(job).encode()
    assert command in COMMANDS
    assert len(request) <= REQUEST_BYTES_MAX
    (out, out_end), (report, report_end) = os.pipe(), os.pipe()
    err, err_end = os.pipe() if stderr_apart else (None, os.dup(out_end))
    ends = (out_end, err_end, report_end)
    try:
        fork_server().start(request, ends)
    finally:
        for end in ends:
            os.close(end)
    reports = await _reader(report)
    out_reader, err_reader = await _reader(out), None if err is None else await _reader(err)
    pid = int(await reports.readline())
    return Command(pid, out=out_reader, err=err_reader, report=reports)
