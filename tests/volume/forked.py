"""Our volume server as a process of its own, without its third of a second of imports (`fork_server`).

What is about the start itself, or about what the program is given open, starts an interpreter instead.
"""

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.wire.command import fork_server
from tests.wire.fork_server import REQUEST_BYTES_MAX, VOLUME

REPORT_BYTES_MAX: Final = 64


class Forked:
    """A running `less-sync-volume`, with what `subprocess.Popen` offers of one."""

    def __init__(
        self, arguments: Sequence[str], directory: Path, variables: Mapping[str, str], output: int
    ) -> None:
        """`output`: an open file that takes all that it prints."""
        job = {
            "command": "less-sync-volume",
            "arguments": list(arguments),
            "environment": dict(variables),
            "directory": str(directory),
            "session": True,
        }
        request = json.dumps(job).encode()
        assert len(request) <= REQUEST_BYTES_MAX
        self.returncode: int | None = None
        self._reports, theirs = os.pipe()
        try:
            fork_server(VOLUME).start(request, (output, output, theirs))
        finally:
            os.close(theirs)
        self._report = b""
        self._read_on(None)
        self.pid = int(self._report.split(b"\n")[0])

    def poll(self) -> int | None:
        """Its exit status, or the negative signal that ended it; None while it runs."""
        while self.returncode is None and select.select([self._reports], [], [], 0)[0]:
            self._read_on(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended. Raises `subprocess.TimeoutExpired`."""
        while self.returncode is None:
            self._read_on(timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`."""
        self.send_signal(signal.SIGKILL)

    def _read_on(self, timeout_s: float | None) -> None:
        """Take a piece of the report: the process id, and the exit status once it has ended, a line each."""
        if not select.select([self._reports], [], [], timeout_s)[0]:
            raise subprocess.TimeoutExpired("less-sync-volume", timeout_s or 0.0)
        piece = os.read(self._reports, REPORT_BYTES_MAX)
        if not piece:
            os.close(self._reports)
            raise RuntimeError("the fork server ended before its child")
        self._report += piece
        if self._report.count(b"\n") == 2:
            self.returncode = int(self._report.split(b"\n")[1])
            os.close(self._reports)
