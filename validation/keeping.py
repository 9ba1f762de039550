"""Files and folders of reports on disk: made at once or not at all, by one run at a time."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from less_sync.validation.attest import EvidenceFault
from less_sync.validation.outcome import NO_ROOM

LOCK: Final = ".lock"


def write_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Put a file of mode 0644 in place of whatever has the name, whole.

    Args:
        durable: wait until it is on disk.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        _sync(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Put a line behind the last one, on disk; the file is made where there is none. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "wb") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder of mode 0755 that was not there.

    Raises:
        FileExistsError: it was.
        EvidenceFault: it cannot be made.
    """
    try:
        with kept_or_fault(str(path)):
            os.mkdir(path, 0o755)
            os.chmod(path, 0o755)
            _sync(path.parent)
    except EvidenceFault as fault:
        if isinstance(fault.__cause__, FileExistsError):
            raise fault.__cause__ from None
        raise


def make_folders(path: Path) -> None:
    """As `mkdir -p`. Raises EvidenceFault."""
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            with suppress(FileExistsError):
                make_folder(folder)


@contextmanager
def kept_or_fault(path: str) -> Iterator[None]:
    """Turn what the disk refuses into a fault of the evidence: `disk-full` or `not-writable`."""
    try:
        yield
    except OSError as error:
        code = "disk-full" if error.errno in NO_ROOM else "not-writable"
        raise EvidenceFault(code, f"cannot write {path}: {error.strerror}") from error


@contextmanager
def report_lock(parent: Path) -> Iterator[None]:
    """Be the only run that writes reports beside each other in this folder.

    Raises:
        BlockingIOError: another one does.
        EvidenceFault: the folder cannot be made or written.
    """
    make_folders(parent)
    with kept_or_fault(str(parent)):
        fd = os.open(parent / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
