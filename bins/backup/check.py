"""Reading files of a backup, to see that they are what its manifest says."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from less_sync.bins.backup.disk import files_below
from less_sync.bins.backup.manifest import MANIFEST, BackupError, FileEntry, Manifest, hash_file, os_text
from less_sync.bins.backup.reading import verify
from less_sync.bins.backup.watching import Part, Watcher


async def read_back(folder: Path, files: Sequence[FileEntry], watcher: Watcher) -> None:
    """Read what was just written, and compare it with what was meant.

    Raises:
        BackupError: the disk gives back something else.
        OSError: it gives nothing back.
    """
    watcher.begin(Part.VERIFYING, sum(file.bytes for file in files))
    for file in files:
        found = await asyncio.to_thread(hash_file, folder / file.path)
        if (found.bytes, found.sha256) != (file.bytes, file.sha256):
            # It must not be taken for a good one when the backup goes on.
            (folder / file.path).unlink()
            raise BackupError(f"{folder / file.path} reads back as something else than was written")
        watcher.advance(file.bytes)


async def check_backup(folder: Path, manifest: Manifest, watcher: Watcher) -> None:
    """Compare every file of a finished backup with its manifest, and see that there are no others.

    Raises:
        BackupError: the first thing that is wrong.
    """
    try:
        others = files_below(folder) - {MANIFEST, *(file.path for file in manifest.files)}
    except OSError as error:
        raise BackupError(f"cannot read {error.filename or folder}: {os_text(error)}") from error
    if others:
        raise BackupError(f"the backup has files that its manifest does not name: {_some(others)}")
    await verify(folder, manifest, watcher)


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:3]) + (f" and {len(found) - 3:,} more" if len(found) > 3 else "")
