"""The checks of this machine: ports, open files, the data directory, the last backup."""

import asyncio
import errno
import os
import resource
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from less_sync.bins.admin.access import TOKEN_HEADER
from less_sync.bins.amounts import shown_age
from less_sync.bins.backup.last import LastBackupError, read_last_backup
from less_sync.bins.doctor.files import with_room
from less_sync.bins.doctor.findings import Finding, failed, in_thread, not_applicable, ok, warning
from less_sync.bins.errors import CommandError
from less_sync.bins.listening import open_listeners
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.storage import disk_facts

FILES_WANTED: Final = 65_536
FILES_NEEDED: Final = 4096
"""A thousand connections that have not signed in may wait, beside as many clients and the database's."""
ANSWER_S: Final = 3.0
REFUSAL_BYTES: Final = 256
BACKUP_AGE_S_MAX: Final = 7 * 86_400.0
_PROBES: Final = {"LISTEN_ADDR": "/health", "ADMIN_ADDR": "/healthz", "PPROF_ADDR": "/debug/pprof/"}


async def look_at_ports(settings: Settings) -> Sequence[Finding]:
    """Whether each address can be listened on, or our own server does already."""
    addresses = {
        "LISTEN_ADDR": settings.listen,
        "ADMIN_ADDR": settings.admin.listen,
        "PPROF_ADDR": settings.admin.profiler,
    }
    return await asyncio.gather(*(_port(name, address) for name, address in addresses.items()))


async def _port(name: str, address: ListenAddress | None) -> Finding:
    check = f"port {name}"
    if address is None:
        return not_applicable(check, "off")
    if address.port == 0:
        return ok(check, f"{address}: any free port")
    try:
        await in_thread(lambda: _try_to_bind(address))
    except CommandError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
            return await _taken(check, name, address)
        todo = "is that address this machine's? Ports below 1024 need a right: CAP_NET_BIND_SERVICE"
        return failed(check, str(error), todo)
    return ok(check, f"{address} is free")


def _try_to_bind(address: ListenAddress) -> None:
    """Take the address and give it back at once."""
    for listener in open_listeners(address):
        listener.close()


async def _taken(check: str, name: str, address: ListenAddress) -> Finding:
    """Ask who listens there."""
    host = address.host if address.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
    url = f"http://{ListenAddress(host, address.port)}{_PROBES[name]}"
    todo = "stop the other program, or choose another address"
    try:
        async with (
            httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            status, ours = answer.status_code, "x-protocol-version" in answer.headers
            asks = (
                name == "ADMIN_ADDR" and status == httpx.codes.UNAUTHORIZED and await _asks_for_token(answer)
            )
    except (httpx.HTTPError, OSError):
        return failed(check, f"{address} is taken by a program that does not answer as a server", todo)
    if name == "LISTEN_ADDR" and not ours:
        return failed(check, f"{address} is taken by another program", todo)
    if status == httpx.codes.OK:
        return ok(check, f"{address}: the server runs there, and is well")
    if asks:
        return ok(check, f"{address}: the server runs there, and asks for the admin token")
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return failed(check, f"{address}: the server runs there, and is not well", "see its log")
    return failed(check, f"{address} is taken by another program (HTTP {status})", todo)


async def _asks_for_token(answer: httpx.Response) -> bool:
    """Whether a refusal is the admin listener's, which off loopback wants its token."""
    head = b""
    async for part in answer.aiter_raw():
        head += part
        if len(head) >= REFUSAL_BYTES:
            break
    return TOKEN_HEADER.encode() in head[:REFUSAL_BYTES].lower()


async def look_at_open_files(server_pid: int | None) -> Sequence[Finding]:
    """The limit of open files: of the server that runs, else of what is started from here."""
    limits = None if server_pid is None else _limits_of(server_pid)
    whose = "here" if limits is None else f"of the server (pid {server_pid})"
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_shown(soft)} now, {_shown(hard)} at most {whose}"
    todo = f"raise the hard limit to {FILES_WANTED} or more: LimitNOFILE in the unit, ulimits in compose"
    if hard == resource.RLIM_INFINITY or hard >= FILES_WANTED:
        return [ok("open files", found)]
    if hard < FILES_NEEDED:
        return [failed("open files", found, todo)]
    return [warning("open files", f"{found}: about {hard - FILES_NEEDED // 4:,} connections", todo)]


def _limits_of(pid: int) -> tuple[int, int] | None:
    """Soft and hard limit of another process; None where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/limits").read_text("ascii", "replace").splitlines():
            if line.startswith("Max open files"):
                soft, hard = line.split()[3:5]
                return _limit(soft), _limit(hard)
    return None


def _limit(text: str) -> int:
    return resource.RLIM_INFINITY if text == "unlimited" else int(text)


def _shown(limit: int) -> str:
    return "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,}"


def holder_of(data_dir: Path) -> int | None:
    """The process that holds a data directory, without touching its lock; None: none, or not to be told."""
    if sys.platform != "linux":
        return None
    with suppress(OSError, ValueError, IndexError):
        inode = (data_dir / "lock").stat().st_ino
        for line in Path("/proc/locks").read_text("ascii", "replace").splitlines():
            parts = line.split()
            if parts[1] == "FLOCK" and parts[5].rpartition(":")[2] == str(inode):
                return int(parts[4])
    return None


async def look_at_data_directory(settings: Settings, holder: int | None) -> Sequence[Finding]:
    """Who owns it, who may look into it, and how much room there is."""
    return [await in_thread(lambda: _data_directory(settings.data_dir.absolute(), holder))]


def _data_directory(path: Path, holder: int | None) -> Finding:
    check = "data directory"
    try:
        found = path.stat()
    except FileNotFoundError:
        return not_applicable(check, f"{path} is not there yet; the server makes it")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return failed(check, f"{path}: {reason}", "let the server's user reach it")
    held = "held by nobody" if holder is None else f"held by process {holder}"
    text = f"{path}, {held}"
    if not stat.S_ISDIR(found.st_mode):
        return failed(check, f"{path} is no directory", "move it away, or choose another DATA_DIR")
    if os.geteuid() not in (0, found.st_uid):
        return failed(check, f"{text}; belongs to uid {found.st_uid}", "run as that user, or choose another")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return warning(check, f"{text}; mode {mode:04o}", f"others can look into it: chmod 700 {path}")
    return with_room(check, text, disk_facts(path))


async def look_at_backup(data_dir: Path, now_s: float) -> Sequence[Finding]:
    """How old the newest backup is."""
    check = "backup"
    todo = "`less-sync backup`, best from a timer: docs/operations.md 14.1"
    try:
        last = await in_thread(lambda: read_last_backup(data_dir))
        there = last is not None and await in_thread(lambda: last.is_there)
    except LastBackupError as error:
        return [warning(check, str(error), todo)]
    if last is None:
        return [warning(check, "none was made with this data directory", todo)]
    if not there:
        return [warning(check, f"{last.folder} is not there any more", todo)]
    age_s = now_s - last.finished_at.timestamp()
    found = f"{shown_age(age_s)} old, in {last.folder}"
    return [warning(check, found, todo) if age_s > BACKUP_AGE_S_MAX else ok(check, found)]
