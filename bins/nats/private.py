"""The private NATS of a server with several workers that was given none (docs/scaling.md 1).

`nats-server` from a wheel, on loopback, in a folder of its own for one run:

    nats.conf                  its configuration, with the token; mode 0600, as all of these
    token                      what clients prove themselves with
    certificate.pem, key.pem   made for this run; clients trust this certificate and no other
    nats.log, output           its log, bounded, and what it wrote before that

No argument and no variable of its environment holds a secret. It ends with its server, also with one that is
killed (on Linux). When it ends by itself, or answers no more, `keep` starts it again, at the same port and
with the same certificate, so that clients come back by themselves; whoever took the port has neither.
"""

import asyncio
import contextlib
import json
import os
import pwd
import secrets
import ssl
import stat
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

import structlog

from less_sync.bins.errors import CommandError, os_error_text
from less_sync.bins.nats.access import BusAccess
from less_sync.bins.nats.binary import nats_server_program
from less_sync.bins.nats.certificate import loopback_certificate
from less_sync.bins.run_folder import run_folder

PAUSES_S: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Before each attempt to start it again; the last one for ever. Without it news is late and not lost."""
LASTING_S: Final = 60.0
"""One that ran for so long has recovered: its end is the first one again."""
START_S_MAX: Final = 20.0
LOG_BYTES_MAX: Final = 1 << 20
FOLDER: Final = "less-sync-nats-"
TOKEN_BYTES: Final = 32

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_POLL_S: Final = 0.01
_TAIL_BYTES: Final = 2000

_log = structlog.get_logger(__name__)


class Pace(NamedTuple):
    """When to try again, and when to give one up that runs."""

    pauses_s: tuple[float, ...] = PAUSES_S
    lasting_s: float = LASTING_S
    look_s: float = 10.0
    """Between two looks whether it answers, and how long one may take."""
    silent_looks_max: int = 3


class PrivateNats:
    """A NATS of one's own while the `async with` block runs; `keep` is to run as a vital task meanwhile.

    Enter in the main thread: the program follows the thread that started it into death.

    Args:
        prefix: what subjects begin with.
        parent: where its folder is made; the folder for temporary files unless given.
        program: `nats-server`; from the extra `cluster` unless given.

    Raises on entering:
        CommandError: the program is not installed or does not start.
    """

    def __init__(
        self,
        *,
        prefix: str = "less-sync",
        parent: Path | None = None,
        program: Path | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._prefix: Final = prefix
        self._parent: Final = parent or Path(tempfile.gettempdir())
        self._program: Final = program
        self._pace: Final = pace or Pace()
        self._stack: Final = contextlib.AsyncExitStack()
        self._port = -1
        self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def access(self) -> BusAccess:
        """How workers reach it. Remains the same when it is started again."""
        assert self._port > 0, "only while it runs"
        return BusAccess(
            urls=(f"tls://127.0.0.1:{self._port}",),
            prefix=self._prefix,
            handshake_first=True,
            ca_file=str(self._folder / "certificate.pem"),
            token_file=str(self._folder / "token"),
        )

    @property
    def directory(self) -> Path:
        """Where its files are; removed on leaving."""
        return self._folder

    @property
    def pid(self) -> int:
        """Of the program that runs, or ran last."""
        assert self._process is not None, "only while it runs"
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._binary = self._program or nats_server_program()
        async with contextlib.AsyncExitStack() as stack:
            try:
                self._folder = stack.enter_context(run_folder(FOLDER, self._parent))
                self._user = _user_for(self._folder)
                self._write_files()
            except OSError as error:
                raise CommandError(
                    f"cannot make the folder of the private NATS in {self._parent}: {os_error_text(error)}"
                ) from error
            stack.push_async_callback(self._end)
            problem = await self._start()
            if problem is not None:
                raise CommandError(f"the private NATS does not start: {problem}")
            self._stack.push_async_exit(stack.pop_all())
        _log.info("a private NATS carries news between the workers", port=self._port, nats_pid=self.pid)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def keep(self) -> None:
        """Start it again whenever it ends or answers no more, for ever. Cancel this before leaving."""
        failures = 0
        while True:
            assert self._process is not None
            began_s = time.monotonic()
            status = await self._ended(self._process)
            if time.monotonic() - began_s >= self._pace.lasting_s:
                failures = 0
            _log.error("the private NATS has ended and is started again", status=status)
            while True:
                await asyncio.sleep(self._pace.pauses_s[min(failures, len(self._pace.pauses_s) - 1)])
                failures += 1
                problem = await self._start()
                if problem is None:
                    break
                _log.error("the private NATS does not start", reason=problem)

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Wait for its end, and bring that about when it does not shake hands time after time."""
        silent = 0
        # One for all looks: asyncio keeps what each has waited on until the process ends.
        end = asyncio.create_task(process.wait())
        try:
            while not (await asyncio.wait({end}, timeout=self._pace.look_s))[0]:
                silent = 0 if await self._answers() else silent + 1
                if silent >= self._pace.silent_looks_max:
                    _log.error("the private NATS answers no more and is killed", looks=silent)
                    await self._end()
                    silent = 0
            return end.result()
        finally:
            end.cancel()

    async def _answers(self) -> bool:
        """Whether it shakes hands, which it does before anything else is said."""
        try:
            async with asyncio.timeout(self._pace.look_s):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._trusted)
        except (OSError, TimeoutError):
            return False
        writer.transport.abort()
        return True

    def _write_files(self) -> None:
        certificate, key = loopback_certificate()
        self._write("token", self._token.encode())
        self._write("certificate.pem", certificate)
        self._trusted = ssl.create_default_context(cadata=certificate.decode())
        self._write("key.pem", key)

    def _write(self, name: str, content: bytes) -> None:
        with self._new_file(name) as file:
            file.write(content)

    def _new_file(self, name: str) -> BinaryIO:
        """A file that its owner alone reads, from its first byte on."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchown(handle, *self._user)
        return open(handle, "wb")

    def _configuration(self) -> str:
        def text(name: str) -> str:
            return json.dumps(str(self._folder / name))

        return f"""listen: "127.0.0.1:{self._port}"
ports_file_dir: {json.dumps(str(self._folder))}
log_file: {text("nats.log")}
log_size_limit: {LOG_BYTES_MAX}
log_max_num: 2
max_payload: 1MB
max_pending: 16MB
authorization {{ token: "{self._token}", timeout: 5 }}
tls {{
  cert_file: {text("certificate.pem")}
  key_file: {text("key.pem")}
  handshake_first: true
  min_version: "1.3"
  timeout: 5
}}
"""

    async def _start(self) -> str | None:
        """Start the program and wait until it takes connections; what is wrong if it does not."""
        try:
            self._process = process = await self._spawn()
        except OSError as error:
            return os_error_text(error)
        told = self._folder / f"nats-server_{process.pid}.ports"
        deadline = time.monotonic() + START_S_MAX
        try:
            while (port := _told_port(told)) is None:
                if process.returncode is not None:
                    return self._problem()
                if time.monotonic() > deadline:
                    await self._end()
                    return f"it was not ready after {START_S_MAX:g} s"
                await asyncio.sleep(_POLL_S)
        except asyncio.CancelledError:
            await self._end()
            raise
        told.unlink()
        self._port = port
        return None

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._write("nats.conf", self._configuration().encode())
        (self._folder / "nats.log").unlink(missing_ok=True)
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *map(str, self._user)]
        with self._new_file("output") as output:
            return await asyncio.create_subprocess_exec(
                *launcher,
                *(str(self._binary), "--config", str(self._folder / "nats.conf")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
                # Ctrl-C reaches the server, not it.
                start_new_session=True,
            )

    def _problem(self) -> str:
        """The last lines that it wrote."""
        lines: list[str] = []
        for name in ("output", "nats.log"):
            with contextlib.suppress(OSError):
                tail = (self._folder / name).read_bytes()[-_TAIL_BYTES:]
                lines += [line.strip() for line in tail.decode("utf-8", "replace").splitlines()]
        return (
            "; ".join([line for line in lines if line][-3:]).replace(self._token, "***") or "it wrote nothing"
        )

    async def _end(self) -> None:
        """Kill it: it keeps nothing, and one that is stopped hears nothing else."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _told_port(told: Path) -> int | None:
    try:
        ports: dict[str, list[str]] = json.loads(told.read_text())
    except (OSError, ValueError):  # not there yet, or half written
        return None
    return int((ports.get("nats") or ports["tls"])[0].rpartition(":")[2])


def _user_for(folder: Path) -> tuple[int, int]:
    """Who the program runs as: ourselves, or for root `nobody`, as the embedded Postgres, if that one may."""
    if os.geteuid() == 0 and all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.parents):
        with contextlib.suppress(KeyError):
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            return nobody.pw_uid, nobody.pw_gid
    return os.geteuid(), os.getegid()
