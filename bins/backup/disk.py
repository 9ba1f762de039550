"""Files and folders of a backup: private to their owner, and on the disk before anybody relies on them."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may look into, with its parents; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)


def open_anew(path: Path) -> int:
    """A descriptor of a file that is empty, private if it is new, and no link. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, PRIVATE_FILE)


def drop_cache(fd: int) -> None:
    """Let what was written leave the memory, so that reading it back asks the disk."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def link_or_copy(there: Path, here: Path) -> bool:
    """Give a file a second name, or copy it where the file system has no such names; True for a link.

    The copy is not yet on the disk when it has its name: whoever copies checks it afterwards.

    Raises:
        OSError: neither works.
    """
    with suppress(FileNotFoundError):
        here.unlink()
    try:
        os.link(there, here, follow_symlinks=False)
    except OSError:
        part = here.with_name(f"{here.name}.part")
        shutil.copyfile(there, part)
        part.chmod(PRIVATE_FILE)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(here)
        return False
    return True


def remove_others(folder: Path, wanted: set[str]) -> None:
    """Remove every file below a folder whose path relative to it is not wanted, and folders left empty.

    Raises:
        OSError: one cannot be removed.
    """
    for root, names, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(root, name)
            if path.relative_to(folder).as_posix() not in wanted:
                path.unlink()
        for name in names:
            with suppress(OSError):  # not empty
                Path(root, name).rmdir()


def files_below(folder: Path) -> set[str]:
    """The paths, relative to a folder, of everything in it that is no folder.

    Raises:
        OSError: it cannot be read.
    """
    found: set[str] = set()
    for root, _, files in os.walk(folder, onerror=_raise):
        found.update(Path(root, name).relative_to(folder).as_posix() for name in files)
    return found


def _raise(error: OSError) -> None:
    raise error
