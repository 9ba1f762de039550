"""Commands as a story's terminals find them, without the half second of imports that each would cost.

What stands in a terminal's `bin` is a small program: it hands its arguments, variables, directory, limits and
open files to a process that has imported the commands (as `tests/wire/fork_server.py` does), which forks one
that becomes the command, and ends as that one ends. Whatever signal it gets goes on to the command, Ctrl-C to
all that the command has started; when it is killed itself, so is the command.
"""

import atexit
import functools
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.wire.fork_server import COMMANDS, REQUEST_BYTES_MAX, SERVER, Job, import_rooms

ROOT: Final = Path(__file__).resolve().parent.parent
NAMES: Final = tuple(name for name in COMMANDS if name != "less-sync-volume")
READY: Final = b"ready\n"
WAITING_MAX: Final = 64
"""Commands that are typed at the same moment."""
_PROGRAM: Final = """#!{python} -IS
import os, resource, signal, socket, sys

asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asked.connect({address!r})
os.umask(mask := os.umask(0))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
words = [sys.argv[0], os.getcwd(), *map(str, (mask, soft, hard, len(sys.argv) - 1)), *sys.argv[1:]]
words += [name + "=" + value for name, value in os.environ.items()]
socket.send_fds(asked, [b"\\0".join(map(os.fsencode, words))], [0, 1, 2])
pid = int(asked.recv(64))


def pass_on(number, frame):
    try:
        (os.killpg if number == signal.SIGINT else os.kill)(pid, number)
    except ProcessLookupError:
        pass


for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, pass_on)
status = int(asked.recv(64) or -signal.SIGKILL)
if status < 0:
    if status != -signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def install(directory: Path) -> None:
    """Put the commands into a directory, in place of what is there by their names."""
    for name in NAMES:
        path = directory / name
        path.unlink(missing_ok=True)
        path.write_text(_PROGRAM.format(python=sys.executable, address=_address()))
        path.chmod(0o755)


@functools.cache
def _address() -> str:
    """Start the process that forks, with this process's first story; it ends with this process."""
    directory = tempfile.mkdtemp(prefix="less-sync-typed-")
    address = f"{directory}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.typed", address],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def end() -> None:
        process.communicate()
        shutil.rmtree(directory)

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == READY
    return address


@dataclass(frozen=True, slots=True)
class _Forks:
    """Forks until nobody is left who could ask: the end of standard input."""

    listener: socket.socket
    selector: selectors.BaseSelector
    running: dict[int, socket.socket]
    """Who asked for each process."""

    def serve(self, woken: int) -> Job | None:
        """In each child its job; None once standard input has ended."""
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(woken, selectors.EVENT_READ)
        self.selector.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0:
                    return None
                if key.fileobj == woken:
                    os.read(woken, 4096)
                    self._collect()
                elif key.fileobj is self.listener:
                    asked, _ = self.listener.accept()
                    self.selector.register(asked, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket) and (job := self._heard(key.fileobj)):
                    return job

    def _heard(self, asked: socket.socket) -> Job | None:
        """A request, or the end of whoever asked."""
        data, files, _, _ = socket.recv_fds(asked, REQUEST_BYTES_MAX, 3)
        if not data:
            for pid, one in self.running.items():
                if one is asked:
                    os.kill(pid, signal.SIGKILL)
            self.selector.unregister(asked)
            asked.close()
            return None
        pid = os.fork()
        if pid:
            self.running[pid] = asked
            asked.send(b"%d" % pid)
            for file in files:
                os.close(file)
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, max(files) + 1)
        called, directory, *more = data.decode(errors="surrogateescape").split("\0")
        (mask, soft, hard, count), words = map(int, more[:4]), more[4:]
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        arguments, variables = words[:count], words[count:]
        environment = dict(variable.split("=", 1) for variable in variables)
        command = Path(called).name
        return Job(command, arguments, environment, directory, session=True, called=called)

    def _collect(self) -> None:
        """Tell of every child that has ended."""
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            asked = self.running.pop(pid)
            if asked.fileno() >= 0:
                asked.send(b"%d" % os.waitstatus_to_exitcode(status))


def main(address: str) -> None:
    """Serve at a Unix socket with this path."""
    import_rooms(SERVER)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands and for pytest
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(WAITING_MAX)
    print(READY.decode(), end="", flush=True)
    forks = _Forks(listener, selectors.DefaultSelector(), {})
    job = forks.serve(woken)
    if job is not None:
        # By this the command line library tells a program from `python -m`.
        sys.modules["__main__"].__package__ = None
        job.run()
        return
    for pid in forks.running:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
