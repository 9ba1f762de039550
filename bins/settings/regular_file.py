"""Reading a file that an operator named, within bounds."""

import os
import stat
from pathlib import Path


class NotRegular(Exception):
    """What was named is a directory, a pipe or a device."""

    def __str__(self) -> str:
        return "not a regular file"


def read_regular_file(path: Path, bytes_max: int) -> bytes:
    """The content; one byte more than `bytes_max` says that there is too much of it.

    Raises:
        NotRegular: it is no file.
        OSError: it cannot be read.
    """
    # Not to wait for ever at a pipe that nobody writes to.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotRegular
        with open(handle, "rb", closefd=False) as file:
            return file.read(bytes_max + 1)
    finally:
        os.close(handle)
