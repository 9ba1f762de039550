"""`last-backup.json` of a data directory: which backup is the newest that was made with it.

`backup` writes it; the metrics, `doctor` and `stats` read it, and so may other programs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from less_sync.bins.backup.manifest import MANIFEST, Manifest, canonical, os_text
from less_sync.client.durable import replace
from less_sync.client.kept_key import opened

LAST_BACKUP: Final = "last-backup.json"
NAMING_BYTES_MAX: Final = 65_536
MANIFEST_BYTES_MAX: Final = 256 * 1024 * 1024
"""It names every file of the backup."""

T = TypeVar("T")


class _Named(msgspec.Struct, frozen=True):
    finished_at: str
    folder: str
    digest: str = ""


class _Rows(msgspec.Struct, frozen=True):
    name: str
    rows: int


class _Tables(msgspec.Struct, frozen=True):
    tables: list[_Rows]


class LastBackupError(Exception):
    """It is named and cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class LastBackup:
    """When it was finished, and where it is."""

    finished_at: datetime
    """Timezone-aware."""
    folder: Path

    @property
    def is_there(self) -> bool:
        """Whether the folder is still there.

        Raises:
            LastBackupError: we may not look.
        """
        return _is_there(self.folder)

    def rows(self) -> Mapping[str, int]:
        """Table to how many rows the backup holds; nothing else of its manifest is looked at.

        Raises:
            LastBackupError: its manifest cannot be read.
        """
        found = _read(self.folder / MANIFEST, MANIFEST_BYTES_MAX, _Tables)
        if found is None:
            raise LastBackupError(f"{self.folder} holds no manifest of a backup")
        return {table.name: table.rows for table in found.tables}


def remember(data_dir: Path, folder: Path, manifest: Manifest) -> None:
    """Name a backup that was just finished. Raises OSError."""
    named = _Named(manifest.finished_at, str(folder.absolute()), manifest.digest)
    replace(data_dir / LAST_BACKUP, canonical(named))


def read_last_backup(data_dir: Path) -> LastBackup | None:
    """The newest backup that was made with this data directory; None: none was.

    Raises:
        LastBackupError: the file that names it cannot be read.
    """
    path = data_dir / LAST_BACKUP
    if not _is_there(path):
        return None
    named = _read(path, NAMING_BYTES_MAX, _Named)
    try:
        if (
            named is not None
            and (finished_at := datetime.fromisoformat(named.finished_at)).tzinfo is not None
        ):
            return LastBackup(finished_at, Path(named.folder))
    except ValueError:
        pass
    raise LastBackupError(f"{path} does not name a backup")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _worded(path, error) from error


def _worded(path: Path, error: OSError) -> LastBackupError:
    return LastBackupError(f"{path}: {os_text(error).lower()}")


def _read(path: Path, bytes_max: int, type_: type[T]) -> T | None:
    """What a file holds; None if it is something else."""
    try:
        with opened(path) as file:  # not to hold up the loop at a pipe
            return msgspec.json.decode(file.read(bytes_max), type=type_)
    except OSError as error:
        raise _worded(path, error) from error
    except msgspec.MsgspecError:
        return None
