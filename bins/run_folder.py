"""A folder for one run of a server, which the next start removes when the server was killed.

It is locked by the server that made it: one without a lock is a leftover, and those who clean up temporary
files leave a locked one alone.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_YOUNG_S: Final = 60.0
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def run_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder of mode 0700 while the block runs; leftovers of the same name go first.

    Args:
        prefix: what its name begins with, and theirs.
        parent: the folder for temporary files unless given.

    Raises:
        OSError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    _remove_leftovers(prefix, parent)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    handle = os.open(folder, _FLAGS)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _remove_leftovers(prefix: str, parent: Path) -> None:
    """Remove the folders of killed servers. A young one may be another's that is about to lock it."""
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # in use, or another user's
            handle = os.open(folder, _FLAGS)
            try:
                if time.time() - os.fstat(handle).st_mtime >= _YOUNG_S:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(handle)
