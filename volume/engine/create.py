"""Makes the files of a new volume. Blocking: run it in a thread."""

import os
from pathlib import Path

from less_sync.volume.engine.errors import VolumeNotLoaded
from less_sync.volume.engine.files import write_all
from less_sync.volume.engine.info_file import save_volume_info
from less_sync.volume.engine.load import Loader, VolumeFiles
from less_sync.volume.engine.volume_state import Loaded
from less_sync.volume.format.superblock import SUPERBLOCK_BYTES, Superblock
from less_sync.volume.format.volume_info import VolumeInfo

_SECOND_NS = 1_000_000_000


def create_volume(loader: Loader, place: VolumeFiles, superblock: Superblock, *, preallocate: int) -> Loaded:
    """Create the files of an empty volume, or open those of an unloaded one that are there already.

    All is on the disk when this returns, so that the master may count on the volume. What a failure leaves
    is removed.

    Args:
        superblock: for new files; one that is there is followed.
        preallocate: bytes to reserve; the size of the file stays what it is.

    Raises:
        SuperblockError: no records can be written in that version.
        VolumeNotLoaded: the files that are there cannot be served, or new ones not be checked.
        OSError: the disk refused.
    """
    content = superblock.encode()
    if _is_there(place.data):
        return loader.load(place)
    made = [path for path in (place.data, place.index, place.info) if not _is_there(path)]
    try:
        _create(loader, place, superblock, content, preallocate)
        loaded = loader.load(place)
        if loaded.no_write_or_delete:
            loaded.close()
            raise VolumeNotLoaded(f"volume {place.data.name} is new, but cannot be checked")
        return loaded
    except BaseException:
        # The next start would serve what the master was told does not exist.
        for path in made:
            loader.files.remove(path)
        raise


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _create(
    loader: Loader, place: VolumeFiles, superblock: Superblock, content: bytes, preallocate: int
) -> None:
    files = loader.files
    for path, head in ((place.data, content), (place.index, b"")):
        fd = files.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            if head and preallocate > SUPERBLOCK_BYTES:
                files.preallocate(fd, preallocate)
            write_all(files, fd, (head,), 0) if head else None
            files.sync(fd)
        finally:
            files.close(fd)
    info = VolumeInfo(version=superblock.version, bytes_offset=loader.configured_width)
    now_s = loader.clock() // _SECOND_NS
    save_volume_info(files, place.info, info, ttl=superblock.ttl, now_s=now_s)
    for directory in {place.directory, place.index_directory}:
        files.sync_directory(directory)
