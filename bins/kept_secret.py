"""Secrets that a server makes for itself and keeps in its data directory, for nobody else to read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from less_sync.client.kept_key import KeyFileError, kept, opened

_KEPT_BYTES_MAX: Final = 4096


def kept_private(path: Path, make: Callable[[], bytes], *, setting: str, user: int | None = None) -> bytes:
    """As `kept`, but what others can read, or have put there, is refused.

    Args:
        setting: what would be used in its place.
        user: whom the file must belong to; by default who this process runs as.

    Raises:
        KeyFileError: it cannot be kept, or others may read or have made it.
    """
    kept(path, make)
    try:
        with opened(path) as file:
            found = os.fstat(file.fileno())
            text = file.read(_KEPT_BYTES_MAX)
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from error
    if found.st_uid != (os.geteuid() if user is None else user):
        raise KeyFileError(f"{path} belongs to another user; remove it to get a new one, or set {setting}")
    if found.st_mode & 0o077:
        raise KeyFileError(f"others may use {path}: chmod 600 it, or remove it to get a new one")
    return text
