"""Removing backups that are older than those that are to be kept."""

import shutil
from pathlib import Path
from typing import Final

from less_sync.bins.backup.manifest import MANIFEST, BackupError, Manifest, finished_backups, os_text

_GOING: Final = ".less-sync-going-"


def keep_newest(folder: Path, manifest: Manifest, count: int) -> list[Path]:
    """Remove the finished backups of the same database beside this one, but the newest `count`; return which.

    This one is the newest, whatever the clock said when others were made. Contents that they share with newer
    ones stay: a file goes with the last of its names. Backups that lie behind a link are left alone.

    Raises:
        BackupError: one cannot be removed.
    """
    beside = [
        path
        for path, other in finished_backups(folder.parent)
        if other.database.is_same(manifest.database)
        and not path.is_symlink()
        and path.resolve() != folder.resolve()
    ]
    removed = []
    for path in beside[: max(0, len(beside) - (count - 1))]:
        try:
            going = path.rename(path.with_name(f"{_GOING}{path.name}"))
            (going / MANIFEST).unlink()  # first: half of a backup must not be taken for one
            shutil.rmtree(going)
        except OSError as error:
            raise BackupError(f"cannot remove {path}: {os_text(error)}") from error
        removed.append(path)
    for left in folder.parent.glob(f"{_GOING}*"):
        shutil.rmtree(left, ignore_errors=True)
    return removed
