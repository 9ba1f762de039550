"""The folder that a backup is made in: which one, and that nobody else works in it."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from less_sync.bins.backup.disk import PRIVATE_FOLDER, make_folder
from less_sync.bins.backup.manifest import (
    FORMAT,
    MANIFEST,
    BackupError,
    DatabaseEntry,
    Manifest,
    UnfinishedBackup,
    canonical,
    folders_of_backups,
    os_text,
    read_manifest,
    timestamp,
)
from less_sync.client.durable import replace

BACKUPS: Final = "backups"
"""The folder of backups in a data directory."""
_ATTEMPTS_MAX: Final = 100
_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z(-[0-9]{1,2})?\Z", re.ASCII)


class _Begun(msgspec.Struct, frozen=True):
    """What marks a backup that is not finished: a manifest without `finished_at`."""

    format: int
    created_at: str
    database: DatabaseEntry


def choose_folder(wanted: Path | None, data_dir: Path, database: DatabaseEntry, now: datetime) -> Path:
    """The folder to work in, which is made and marked if it is new: the one that is wanted; else the newest
    unfinished one of this database below `data_dir`, or a new one there.

    Raises:
        BackupError: the one that is wanted holds something else.
        OSError: it cannot be made.
    """
    if wanted is None:
        unfinished = [path for path in folders_of_backups(data_dir / BACKUPS) if _is_of(path, database)]
        return unfinished[-1] if unfinished else _new(data_dir / BACKUPS, database, now)
    make_folder(wanted)
    if _is_vacant(wanted):
        wanted.chmod(PRIVATE_FOLDER)
        _mark(wanted, database, now)
    elif not _is_unfinished(wanted):
        raise BackupError(f"{wanted} holds something already, and no unfinished backup")
    elif not _is_of(wanted, database):
        raise BackupError(f"{wanted} holds the unfinished backup of another database")
    return wanted


def _new(place: Path, database: DatabaseEntry, now: datetime) -> Path:
    make_folder(place)
    for vacant in sorted(path for path in place.iterdir() if _NAME.match(path.name) and _is_vacant(path)):
        _mark(vacant, database, now)
        return vacant
    name = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    for number in range(1, _ATTEMPTS_MAX):
        folder = place / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=PRIVATE_FOLDER)
        except FileExistsError:
            continue
        _mark(folder, database, now)
        return folder
    raise BackupError(f"{place} has too many backups of this second")


def _mark(folder: Path, database: DatabaseEntry, now: datetime) -> None:
    replace(folder / MANIFEST, canonical(_Begun(FORMAT, timestamp(now), database)))


def _is_vacant(folder: Path) -> bool:
    """Whether there is nothing in it, or no more than a killed process leaves that was about to mark it."""
    return all(path.name.startswith(f".{MANIFEST}.") for path in folder.iterdir())


def _is_unfinished(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except UnfinishedBackup:
        return True
    except BackupError:
        return False
    return False


def refuse_finished(folder: Path) -> None:
    """See that a folder still holds a backup that is not finished.

    Raises:
        BackupError: it holds something else by now.
    """
    if not _is_unfinished(folder):
        raise BackupError(f"{folder} holds a backup that was finished meanwhile")


def _is_of(folder: Path, database: DatabaseEntry) -> bool:
    """Whether it holds an unfinished backup of this database."""
    if not _is_unfinished(folder):
        return False
    try:
        begun = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Begun)
    except (OSError, msgspec.MsgspecError):
        return False
    return begun.database.is_same(database)


@contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Hold a folder for this process until the block ends or the process does.

    Raises:
        BackupError: another process makes a backup in it.
        OSError: it cannot be opened.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"another process makes a backup in {folder}") from None
        yield
    finally:
        os.close(fd)


def described(place: Path) -> list[tuple[Path, Manifest | str]]:
    """Every backup that lies in a folder, by name: its manifest, or what is to be said instead.

    Raises:
        BackupError: the folder cannot be read.
    """
    try:
        folders = folders_of_backups(place)
    except OSError as error:
        raise BackupError(f"cannot read {place}: {os_text(error)}") from error
    return [(folder, _described(folder)) for folder in folders]


def _described(folder: Path) -> Manifest | str:
    try:
        return read_manifest(folder)
    except UnfinishedBackup:
        return "not finished"
    except BackupError as error:
        return str(error)
