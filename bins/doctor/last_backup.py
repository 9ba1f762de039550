"""The newest backup of a server, as `last-backup.json` of its data directory names it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

NAME: Final = "last-backup.json"
BYTES_MAX: Final = 256 * 1024 * 1024
"""Of a manifest, which names every file of the backup."""


class LastBackupError(Exception):
    """It is named and cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class LastBackup:
    """When it was finished, and where it is."""

    finished_at: datetime
    folder: Path

    @property
    def is_there(self) -> bool:
        """Whether the folder is still there.

        Raises:
            LastBackupError: we may not look.
        """
        return _is_there(self.folder)

    def rows(self) -> Mapping[str, int]:
        """Table to how many rows the backup holds.

        Raises:
            LastBackupError: its manifest cannot be read.
        """
        manifest = _read(self.folder / "manifest.json")
        try:
            return {str(table["name"]): int(table["rows"]) for table in manifest["tables"]}
        except (KeyError, TypeError, ValueError):
            raise LastBackupError(f"{self.folder} holds no manifest of a backup") from None


def read_last_backup(data_dir: Path) -> LastBackup | None:
    """The newest backup that was made with this data directory; None: none was.

    Raises:
        LastBackupError: the file that names it cannot be read.
    """
    path = data_dir / NAME
    if not _is_there(path):
        return None
    found = _read(path)
    try:
        finished_at = datetime.fromisoformat(str(found["finished_at"]))
        if finished_at.tzinfo is None:
            raise ValueError
        return LastBackup(finished_at, Path(str(found["folder"])))
    except (KeyError, TypeError, ValueError):
        raise LastBackupError(f"{path} does not name a backup") from None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _worded(path, error) from error


def _worded(path: Path, error: OSError) -> LastBackupError:
    return LastBackupError(f"{path}: {(error.strerror or str(error)).lower()}")


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > BYTES_MAX:
            raise LastBackupError(f"{path} is too large")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise _worded(path, error) from error
    except ValueError:
        raise LastBackupError(f"{path} is not JSON") from None
