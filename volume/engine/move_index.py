"""Moves an index that lies beside its data to the directory for indexes."""

import errno
import os
import shutil
from pathlib import Path

from less_sync.volume.engine.data_file import DataFile
from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.files import Files


def move_index(files: Files, index: DataFile, directory: Path) -> DataFile:
    """Move an index and open it at its new place. Blocking; nobody may write to it meanwhile.

    Across file systems it is copied, and the copy is on the disk before the original goes.

    Raises:
        VolumeError: it could not be moved and is where it was; `index` still serves.
    """
    source, target = index.path, directory / index.path.name
    try:
        index.sync()
        try:
            files.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(files, source, target)
        for touched in (source.parent, directory):
            files.sync_directory(touched)
        return DataFile.open(files, target)
    except OSError as error:
        raise VolumeError(f"relocate index for volume {source.stem}: move .idx: {error}") from error


def _copy(files: Files, source: Path, target: Path) -> None:
    """Copy, flush, remove the original; the copy goes if the original cannot."""
    try:
        shutil.copyfile(source, target)
        fd = files.open(target, os.O_RDWR)
        try:
            files.sync(fd)
        finally:
            files.close(fd)
        files.remove(source)
    except OSError:
        files.remove(target)
        raise
