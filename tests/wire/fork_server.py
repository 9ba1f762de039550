"""A process that has imported the commands and forks one child per command: a start costs no imports.

Each child is a process like any other: arguments, variables, working directory, pipes, signals and exit
status are its own, and it ends as an interpreter ends. Only its modules are loaded already. Requests come
over a socket, each with its open files; whoever asked reads the child's process id and, later, its exit
status from a pipe. When the socket is closed, children that still run are killed: nobody is left to wait for
them.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

REQUEST_BYTES_MAX: Final = 64 * 1024
FILES: Final = 3
"""Standard output, standard error and the pipe for the report."""
COMMANDS: Final = {
    "less-sync": "less_sync.bins.commands.main",
    "less-sync-server": "less_sync.bins.commands.server",
    "migrate": "less_sync.bins.commands.migrate",
    "federation-keygen": "less_sync.bins.commands.federation_keygen",
    "less-sync-volume": "less_sync.bins.volume.program",
}
SERVER: Final = ("auth", "storage", "migrations", "sync", "client", "fleet", "bins")
VOLUME: Final = ("volume", "bins.volume")
"""What is imported for the commands of the server, and for the volume server."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a child is to do."""

    command: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str
    fresh: bool = False
    """Start a new interpreter, as a shell does."""
    session: bool = False
    """Lead a session of its own."""
    called: str = ""
    """What it was called by, where that is not its name."""

    def run(self) -> None:
        """Become the command."""
        if self.session:
            os.setsid()
        os.environ.clear()
        os.environ.update(self.environment)
        module = COMMANDS[self.command]
        os.chdir(self.directory)
        if self.fresh:
            os.execv(sys.executable, [sys.executable, "-m", module, *self.arguments])
        sys.argv = [self.called or self.command, *self.arguments]
        main: Callable[[], None] = importlib.import_module(module).main
        main()


def import_rooms(rooms: Sequence[str]) -> None:
    """Load every module that a command may need, and keep the collector from touching them in each child."""
    import less_sync

    for room in rooms:
        package = importlib.import_module(f"{less_sync.__name__}.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    if rooms == SERVER:
        # A wrong use brings in what the command line library loads at its first parameter.
        sys.argv = ["less-sync", "token", "--user", ""]
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
            importlib.import_module(COMMANDS["less-sync"]).main()
    gc.collect()
    gc.freeze()


class ForkServer:
    """See the module."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._reports: dict[int, int] = {}
        self._woken, waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(waker, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands and for pytest
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker)
        self._waker = waker

    def serve(self) -> Job | None:
        """Answer requests until the socket is closed: None then, and in each child its job."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._woken in ready:
                    self._collect()
                if self._requests in ready:
                    data, files, _, _ = socket.recv_fds(self._requests, REQUEST_BYTES_MAX, FILES)
                    if not data:
                        break
                    if (job := self._fork(data, files)) is not None:
                        return job
        for pid in self._reports:
            os.kill(pid, signal.SIGKILL)
        return None

    def _fork(self, data: bytes, files: list[int]) -> Job | None:
        job = Job(**json.loads(data))
        *streams, report = files
        pid = os.fork()
        if pid:
            for file in streams:
                os.close(file)
            self._reports[pid] = report
            return None
        self._let_go()
        for number, file in enumerate(streams, 1):
            os.dup2(file, number)
            os.close(file)
        # Not before: from here on a signal does what it does to any process.
        _tell(report, os.getpid())
        os.close(report)
        return job

    def _let_go(self) -> None:
        """In the child: give up what is the parent's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._requests.close()
        for file in (self._woken, self._waker, *self._reports.values()):
            os.close(file)

    def _collect(self) -> None:
        """Report every child that has ended."""
        os.read(self._woken, 4096)
        while self._reports:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            report = self._reports.pop(pid)
            _tell(report, os.waitstatus_to_exitcode(status))
            os.close(report)


def _tell(report: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked has gone
        os.write(report, f"{number}\n".encode())


def main(file: int, rooms: Sequence[str]) -> None:
    """Serve requests on the socket with this descriptor, for commands that need these rooms."""
    import_rooms(rooms)
    requests = socket.socket(fileno=file)
    job = ForkServer(requests).serve()
    if job is not None:
        job.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), tuple(sys.argv[2:]))
