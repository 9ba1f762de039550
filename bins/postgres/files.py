"""Files of the embedded Postgres in the data directory: locks, socket directory, log.

Two lock files. `lock` is held (flock) by the server that uses the directory. `postgres.lock` is held by
Postgres itself: as a record lock by its postmaster alone, so that the kernel tells its pid, and as a flock by
every process of it. No lock can be stale, and a reused pid cannot be mistaken for Postgres, as one read from
a file can.
"""

import errno
import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

LOG_BYTES_MAX: Final = 4 * 1024 * 1024
"""When `postgres.log` is larger it becomes `postgres.log.1`; looked at once a minute."""

_SOCKET_PATH_BYTES_MAX: Final = 107
_SOCKET_NAME_BYTES: Final = len("/.s.PGSQL.5432")
_TAIL_BYTES: Final = 16 * 1024
_TAIL_LINES: Final = 6
_FREE_BYTES_LOW: Final = 64 * 1024 * 1024

# `struct flock`: the only part of this file that differs between the two systems with a wheel of Postgres.
_FLOCK: Final = struct.Struct("qqihh" if sys.platform == "darwin" else "hhqqi4x")


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot be used; the text tells the operator why and which file to look at."""


def refused(error: OSError, what: str) -> EmbeddedPostgresError:
    """Word an error of the operating system: `cannot {what}: {reason}`, with the path it was about."""
    reason = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    return EmbeddedPostgresError(f"cannot {what}: {reason}{where}")


def refuse_root_of_others(data_dir: Path) -> None:
    """For commands beside the server: root leaves files that the server of another user cannot use.

    Raises:
        EmbeddedPostgresError: we are root, and the directory belongs to somebody else.
    """
    if os.geteuid() != 0 or not data_dir.exists():
        return
    owner = data_dir.stat().st_uid
    if owner == 0:
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise EmbeddedPostgresError(
        f"{data_dir} belongs to {name}, whose server could not use what root leaves there: "
        f"run this as that user (`sudo -u {name} less-sync ...`)"
    )


@contextmanager
def hold_data_directory(data_dir: Path) -> Iterator[None]:
    """Make `data_dir` (mode 0700) if missing and hold it for this process until the block ends.

    Raises:
        EmbeddedPostgresError: another server holds it, or it cannot be made or written.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise refused(error, f"use the data directory {data_dir}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise EmbeddedPostgresError(
                f"the data directory {data_dir} is in use by another process (pid {pid}); "
                "stop it or choose another directory with DATA_DIR"
            ) from None
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise refused(error, f"write to the data directory {data_dir}") from error
        yield
    finally:
        os.close(fd)  # ends the lock; the file stays, removing it would let two servers lock two files


@contextmanager
def open_postgres_lock(data_dir: Path) -> Iterator[int]:
    """Open `postgres.lock` without locking it; the launcher does that in Postgres's own process."""
    try:
        fd = os.open(data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise refused(error, "open the lock of Postgres") from error
    try:
        yield fd
    finally:
        os.close(fd)


def postgres_pid(lock_fd: int) -> int | None:
    """The living postmaster or initdb that locked this file; None if none, 0 if in another container."""
    if sys.platform == "darwin":
        query = _FLOCK.pack(0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
    else:
        query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = _FLOCK.unpack(fcntl.fcntl(lock_fd, fcntl.F_GETLK, query))
    kind, pid = (answer[3], answer[2]) if sys.platform == "darwin" else (answer[0], answer[4])
    return None if kind == fcntl.F_UNLCK else max(0, int(pid))


def postgres_is_gone(data_dir: Path) -> bool:
    """Whether no process of Postgres at all, not even a left-over backend, holds `postgres.lock`."""
    # An open file of its own: a flock belongs to the open file, and the one we pass on is Postgres's too.
    with open_postgres_lock(data_dir) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def forget_stale_pid_file(cluster: Path) -> None:
    """Remove `postmaster.pid` when the process it names is not a Postgres of this cluster.

    Postgres refuses to start while *any* process has that pid, as happens after a crash or in a new
    container. Called when nobody holds `postgres.lock`; what is left to find out is whether somebody started
    one by hand.

    Raises:
        EmbeddedPostgresError: it is one, or this cannot be told.
    """
    path = cluster / "postmaster.pid"
    try:
        pid = int(path.read_text("utf-8", "replace").split("\n", 1)[0])
    except FileNotFoundError:
        return
    except ValueError:
        pid = 0
    if pid > 0 and _is_postgres_of(pid, cluster):
        raise EmbeddedPostgresError(
            f"another Postgres (pid {pid}), not started by less-sync, is running on {cluster}; stop it first"
        )
    path.unlink(missing_ok=True)


def _is_postgres_of(pid: int, cluster: Path) -> bool:
    process = Path("/proc", str(pid))
    if not Path("/proc/self").exists():  # no /proc to ask: alive is all there is to know
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    try:
        if (process / "comm").read_text("utf-8", "replace").strip() != "postgres":
            return False
        return os.path.samestat((process / "cwd").stat(), cluster.stat())
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        # A container's root may not look into another user's process; its command line it may read.
        with suppress(OSError):
            return os.fsencode(cluster) in (process / "cmdline").read_bytes().split(b"\0")
        return True


@contextmanager
def socket_directory(data_dir: Path) -> Iterator[Path]:
    """A directory of mode 0700 for the socket: `socket` in the data directory, or a link to a short one.

    The path of a Unix socket is limited to 107 bytes; when the data directory's is too long, a private
    temporary directory is used, and removed again (by the next start if this one is killed).
    """
    link = data_dir / "socket"
    try:
        _remove_socket_directory(link)
        directory = _make_socket_directory(link)
    except OSError as error:
        raise refused(error, "make the directory of the Postgres socket") from error
    try:
        yield directory
    finally:
        with suppress(OSError):
            _remove_socket_directory(link)


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory)) + _SOCKET_NAME_BYTES <= _SOCKET_PATH_BYTES_MAX


def _make_socket_directory(link: Path) -> Path:
    if _fits(link):
        link.mkdir(mode=0o700)
        return link
    # The same name each time: connections find their way back when Postgres is started again.
    name = f"less-sync-{hashlib.sha256(os.fsencode(link)).hexdigest()[:16]}"
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):
        if _fits(parent / f"{name}-12345678"):
            directory = _private_directory(parent / name)
            link.symlink_to(directory)
            return directory
    raise OSError(errno.ENAMETOOLONG, "no temporary directory with a path short enough for a Unix socket")


def _private_directory(path: Path) -> Path:
    """Make `path`; another name if somebody else is sitting there, since anybody may write where it lies."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
            return Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent))
    return path


def _remove_socket_directory(link: Path) -> None:
    try:
        target = link.readlink() if link.is_symlink() else link
        with suppress(FileNotFoundError, NotADirectoryError):
            info = target.lstat()
            # Only what this program makes is removed: a link may have been changed, /tmp cleaned and reused.
            if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid():
                for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
                    (target / name).unlink(missing_ok=True)
                target.rmdir()
    finally:
        if link.is_symlink():
            link.unlink()


def trim_log(log: Path) -> None:
    """Move what a log past `LOG_BYTES_MAX` holds to `{log}.1`; Postgres appends, so it goes on at byte 0."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)


def log_problem(log: Path, since: int) -> str:
    """What the log says went wrong after byte `since`, in one line; and that the disk is full, if it is."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(min(since, size), size - _TAIL_BYTES))
            lines = [
                line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()
            ]
    except OSError:
        lines = []
    marks = ("FATAL:", "PANIC:", "ERROR:", "error:", "HINT:", "hint:", "DETAIL:", "detail:")
    telling = [line[line.index(mark) :] for line in lines for mark in marks if mark in line]
    text = "; ".join((telling or lines)[-_TAIL_LINES:]) or "it wrote nothing"
    free = shutil.disk_usage(log.parent).free
    if free < _FREE_BYTES_LOW:
        text += f"; only {free // 1024} KiB are free on the disk of {log.parent}"
    return text
