"""The surroundings of a story that a page tells: a home folder, a checkout in it, and terminals.

A terminal is a `/bin/sh` of its own that keeps its directory and variables from one command to the next. What
its commands print on either stream is kept as lines, in the order in which it came.
"""

import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import typed

ROOT: Final = Path(__file__).resolve().parent.parent
COMMAND_S_MAX: Final = 60.0
END_S_MAX: Final = 30.0
QUIET_S: Final = 2.0
PAGE_PORTS: Final = (5379, 5380, 5443, 8333, 9333, 8080, 8888, 4222)
"""Those of the pages: of the server first, of a second one, of proxies, of an S3-compatible one, whose gRPC
has each plus `GRPC`, and of a NATS."""
PAGE_ADDRESSES: Final = ("127.0.0.1", "127.0.0.2")
GRPC: Final = 10_000
_PORTS: Final = range(20_000, 22_000)
"""Below those that systems hand out, also with `GRPC`, so that nobody gets ours before the server starts."""
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class Terminal:
    """One shell. A command at a time; `ended` says whether the last one is over."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._end = f"end-{secrets.token_hex(8)}"
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self.ended = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # Ctrl-C reaches the command and the shell; with a trap the shell outlives it.
        self._send("trap : INT\n")

    def _send(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text.encode())
        self._shell.stdin.flush()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for raw in self._shell.stdout:
            line = raw.decode(errors="backslashreplace").removesuffix("\n")
            with self._changed:
                at_end = line.endswith(self._end)
                line = line.removesuffix(self._end)
                if line or not at_end:
                    self._lines.append(line)
                self.ended = at_end
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def type(self, command: str) -> None:
        """Start a command. Whatever reads standard input finds it empty."""
        assert self.ended
        self.ended = False
        self._send(f"{{ {command}\n}} </dev/null; echo {self._end}\n")

    def press_ctrl_c(self) -> None:
        """Interrupt the command that is running."""
        os.killpg(self._shell.pid, signal.SIGINT)

    def wait_for_end(self, timeout_s: float = COMMAND_S_MAX) -> None:
        """Wait until the command is over, or too long."""
        self._wait(lambda: self.ended, timeout_s)

    def wait_for_lines(self, number: int) -> None:
        """Wait until so many lines wait to be taken, the command is over, or too long."""
        self._wait(lambda: self.ended or len(self._lines) >= number, COMMAND_S_MAX)

    def wait_for_quiet(self) -> None:
        """Wait until nothing more seems to come, for which no clock is sure: for writing only."""
        number = -1
        while number < len(self._lines):
            number = len(self._lines)
            self._wait(lambda: self.ended or len(self._lines) > number, QUIET_S)  # noqa: B023  # called at once

    def _wait(self, over: Callable[[], bool], timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(over, timeout_s)

    def take(self, number: int | None = None) -> list[str]:
        """The next lines: so many, or all there are."""
        with self._changed:
            taken = self._lines[:number]
            del self._lines[:number]
        return taken

    def close(self) -> None:
        """End whatever runs, as Ctrl-C does if it can, and the shell."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        if not self.ended:
            self.press_ctrl_c()
            self.wait_for_end(END_S_MAX)
        self._shell.stdin.close()
        if not self.ended:
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(END_S_MAX)
        self._reader.join(END_S_MAX)
        self._shell.stdout.close()


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a story plays, and the terminals that were opened by name. `/home` of the pages is `homes`."""

    homes: Path
    ports: dict[int, int]
    """Of those of the pages, the ones that stand for them here."""
    _terminals: dict[str, Terminal]
    _open: ExitStack

    def terminal(self, name: str) -> Terminal:
        """The terminal of this name. All begin in the checkout, with nothing set but what is listed here."""
        if name not in self._terminals:
            server = f"127.0.0.1:{self.ports[PAGE_PORTS[0]]}"
            environment = {
                "HOME": str(self.homes / "alice"),
                "PATH": _PATH,
                "LC_ALL": "C.UTF-8",
                "LISTEN_ADDR": server,
                "LESS_SYNC_SERVER": server,
                "LOG_LEVEL": "off",  # pages leave out what a server logs
            }
            self._terminals[name] = Terminal(self.homes / "alice" / "less-sync", environment)
            self._open.callback(self._terminals[name].close)
        return self._terminals[name]

    def typed(self, command: str) -> str:
        """A command of a page as it is typed here."""
        return _with_ports(command.replace("/home/", f"{self.homes}/"), self.ports)

    def shown(self, line: str) -> str:
        """A line that was printed here as a page shows it."""
        of_pages = {ours: of_page for of_page, ours in self.ports.items()}
        return _with_ports(line.replace(f"{self.homes}/", "/home/"), of_pages)


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """An empty home folder in `directory`, with a checkout in which `make` need not install anything.

    Its commands are forked from a process that has imported them (`typed.py`).
    """
    homes = directory.resolve() / "home"
    checkout = homes / "alice" / "less-sync"
    (checkout / ".venv").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    for name in ("examples", "clients/js/src"):
        shutil.copytree(ROOT / name, checkout / name)
    (checkout / "less_sync").symlink_to(ROOT / "less_sync")
    # A Python finds its packages beside itself, by the path that it was called by.
    for part in Path(sys.prefix).iterdir():
        if not part.name.startswith(".") and part.name != "bin":
            (checkout / ".venv" / part.name).symlink_to(part)
    programs = checkout / ".venv" / "bin"
    programs.mkdir()
    for program in Path(sys.prefix, "bin").iterdir():
        (programs / program.name).symlink_to(program)
    typed.install(programs)
    (checkout / ".venv" / ".server").touch()
    # Terminals close in the reverse order of their opening: the server's, which is the first, comes last.
    with ExitStack() as opened:
        free = (port for port in random.sample(_PORTS, 100) if _is_free(port) and _is_free(port + GRPC))
        ports = dict(zip(PAGE_PORTS, free, strict=False))
        opened.callback(_remove_sockets, [port + more for port in ports.values() for more in (0, GRPC)])
        yield Stage(homes, ports, {}, opened)


def _remove_sockets(ports: list[int]) -> None:
    """Those that the S3-compatible server of the pages leaves behind, outside its directory."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)


def _with_ports(text: str, other: dict[int, int]) -> str:
    """A text with other ports, where they stand behind an address or an option."""
    known = "|".join(map(str, other))
    return re.sub(rf"(?<=[:=])(?:{known})\b", lambda match: str(other[int(match[0])]), text)


def _is_free(port: int) -> bool:
    return all(_is_free_at(address, port) for address in PAGE_ADDRESSES)


def _is_free_at(address: str, port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError:
            return False
        return True
