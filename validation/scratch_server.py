"""A server that a run starts itself, on a scratch database, and stops (docs/validation.md 1.1).

It gets the variables of `environment_of` and nothing of the operator's: a copy of production must not speak
for production. Its output goes into a file that is bounded, and its last lines are kept.
"""

import asyncio
import math
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import httpx

from less_sync.validation.hooks import filled
from less_sync.validation.matrix import ServerKind, TargetSpec
from less_sync.validation.outcome import Broken, Faulty
from less_sync.validation.people import AUDIENCE, SCRATCH_ISSUER
from less_sync.validation.processes import READ_BYTES, Program, Tail, group_signal, started
from less_sync.validation.targets import Target

ADDRESS: Final = "127.0.0.1"
READY_S: Final = 30.0
STOP_S: Final = 20.0
STOP_CANCELLED_S: Final = 3.0
"""When the run is being interrupted nobody waits for a server that drains."""
LOG_BYTES_MAX: Final = 16 * 1024 * 1024
LOG_LINES_TOLD: Final = 15
NOT_FOUND: Final = 127
"""Exit status of a command that is not there."""
STARTS_MAX: Final = 3
"""Tries, when somebody else took the port meanwhile."""
POLL_S: Final = 0.05
PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS_FIRST: Final = 20_000
PORTS_END: Final = 32_000
"""Where the system does not tell which ports it gives out by itself."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scratch server is set up with."""

    role: str
    """`candidate` or `incumbent`."""
    words: Sequence[str]
    """The command, `{port}` in it not replaced yet."""
    kept: dict[str, str]
    """`PATH`, `HOME`, `LANG` of the operator."""
    database_url: str = field(repr=False)
    files: Path | None
    """Its store of files; None: it has none."""
    folder: Path
    """Its own: data directory and log."""
    key_set_url: str
    identity_hash_key: str | None = field(repr=False)
    """None: no rate limits."""
    kind: ServerKind = "less-sync"
    name: str = ""
    """Of the target; the role unless given."""


@dataclass(slots=True)
class ScratchServer:
    """One that is up."""

    setting: Setting
    port: int
    admin_port: int
    target: Target
    program: Program = field(repr=False)
    log: "Log"
    started_ms: int = 0
    """From its start to the first 200 of `/health`."""

    @property
    def pid(self) -> int:
        """Of its process, which leads a group."""
        return self.program.process.pid


class Log:
    """The output of a server, written to a file up to a limit; the last lines are kept beyond it."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.tail: Final = Tail(LOG_LINES_TOLD)
        self.dropped_bytes = 0
        self._bytes = 0

    async def keep(self, stream: asyncio.StreamReader) -> None:
        """Read to the end."""
        with self.path.open("ab", buffering=0) as file:
            while data := await stream.read(READ_BYTES):
                self._add(file, data)

    def _add(self, file: IO[bytes], data: bytes) -> None:
        self.tail.add(data)
        room = max(0, LOG_BYTES_MAX - self._bytes)
        with suppress(OSError):  # a full disk must not end the server
            file.write(data[:room])
        self._bytes += len(data)
        self.dropped_bytes += max(0, len(data) - room)


def environment_of(setting: Setting, port: int, admin_port: int) -> dict[str, str]:
    """All variables that the server gets."""
    environment = dict(setting.kept) | {
        "DATABASE_URL": setting.database_url,
        "LISTEN_ADDR": f"{ADDRESS}:{port}",
        "TRUSTED_ISSUERS": f"{SCRATCH_ISSUER}={setting.key_set_url}",
        "AUDIENCES": AUDIENCE,
        "DATA_DIR": str(setting.folder / "data"),
        "ADMIN_ADDR": f"{ADDRESS}:{admin_port}",
        "FILE_STORAGE_BACKEND": "none",
        "LOG_FORMAT": "json",
    }
    if setting.identity_hash_key is not None:
        environment["IDENTITY_HASH_KEY"] = setting.identity_hash_key
    if setting.files is not None:
        environment |= {"FILE_STORAGE_BACKEND": "local", "FILE_STORAGE_PATH": str(setting.files)}
    return environment


@asynccontextmanager
async def serving(
    setting: Setting, say: Callable[[str], None], *, ready_s: float = READY_S
) -> AsyncIterator[ScratchServer]:
    """Start a server, wait until it is healthy, and stop it behind the block.

    Args:
        say: is told what it said last when it does not come up.

    Raises:
        Faulty: `not-started:ROLE`, it ended; `not-healthy:ROLE`, it is not within `ready_s`.
        Broken: `command-not-found`.
    """
    setting.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = Log(setting.folder / "server.log")
    for attempt in range(STARTS_MAX):
        port, admin_port = free_ports(2)
        async with _running(setting, log, port, admin_port) as server:
            if await _up(server, ready_s):
                say(f"{setting.role} up after {server.started_ms} ms")
                yield server
                return
            _tell(server, say)
            status = server.program.process.returncode
            if status is None:
                raise Faulty("not-healthy", setting.role)
            if status == NOT_FOUND:
                raise Broken("command-not-found")
            if attempt + 1 == STARTS_MAX or (_is_free(port) and _is_free(admin_port)):
                raise Faulty("not-started", setting.role)
        say(f"somebody else took port {port} or {admin_port}; trying others")


@asynccontextmanager
async def _running(setting: Setting, log: Log, port: int, admin_port: int) -> AsyncIterator[ScratchServer]:
    words = filled(setting.words, {"port": str(port)})
    environment = environment_of(setting, port, admin_port)
    spec = TargetSpec(
        name=setting.name or setting.role,
        base_url=f"http://{ADDRESS}:{port}",
        server=setting.kind,
        writes="throwaway",
        scratch=True,
    )
    async with started(words, environment, guarded=True) as program:
        keeping = asyncio.ensure_future(log.keep(program.output))
        metrics_url = f"http://{ADDRESS}:{admin_port}/metrics"
        target = Target(spec, spec.base_url, setting.database_url, metrics_url, log.path)
        server = ScratchServer(setting, port, admin_port, target, program, log)
        stop_s = STOP_CANCELLED_S
        try:
            yield server
            stop_s = STOP_S
        finally:
            await asyncio.shield(target.close())
            await _stopped(program, stop_s)
            # The last lines are in the pipe still.
            await asyncio.wait((keeping,), timeout=POLL_S)
            keeping.cancel()


async def _stopped(program: Program, within_s: float) -> None:
    """SIGTERM to the server, and time to end; the group is killed by whoever started it."""
    group_signal(program.process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await program.process.wait()


async def _up(server: ScratchServer, ready_s: float) -> bool:
    """Whether it became healthy in time; it may have ended."""
    began_s = time.monotonic()
    process = server.program.process
    ending = asyncio.ensure_future(process.wait())
    try:
        while time.monotonic() - began_s < ready_s:
            left_s = ready_s - (time.monotonic() - began_s)
            if await _is_healthy(server, left_s) and process.returncode is None:
                server.started_ms = math.ceil((time.monotonic() - began_s) * 1000)
                return True
            await asyncio.wait((ending,), timeout=POLL_S)
            if ending.done():
                return False
    finally:
        ending.cancel()
    return False


async def _is_healthy(server: ScratchServer, within_s: float) -> bool:
    try:
        # The library's own limit is for each read: an answer that drips would never be over.
        async with asyncio.timeout(within_s):
            return (await server.target.http.get("/health", timeout=within_s)).status_code == 200
    except (httpx.HTTPError, TimeoutError):
        return False


def _tell(server: ScratchServer, say: Callable[[str], None]) -> None:
    status = server.program.process.returncode
    told = "is not healthy" if status is None else f"ended with status {status}"
    said = "it said last:" if server.log.tail.lines else "it said nothing"
    say(f"{server.setting.role} {told}; {said}")
    for line in server.log.tail.lines:
        say(f"  {line}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens at, below those that the system gives out by itself.

    Between now and the server's start another program may take one; of those that the system gives out, any
    connection may.

    Raises:
        Broken: `no-port`.
    """
    try:
        end = int(PORTS.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        end = PORTS_END
    found = []
    for port in random.sample(range(min(PORTS_FIRST, end - 5000), end), 1000):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise Broken("no-port")
