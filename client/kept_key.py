"""Private keys in files of mode 0600, made when they are first asked for."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from less_sync.client.durable import DISK, Disk, create, make_directories

PEM_MARK: Final = b"less-sync private key\n"
"""Stands above the PEM block of every key made here, so that `push` knows one wherever it lies.

Readers of PEM pass over what stands before a block (RFC 7468, section 2).
"""

SIGNING_KEY_PREFIX: Final = "less-sync-signing-key-1:"
"""Begins the one line of a file with the key that signs reports: `push` knows it by this, wherever it lies.

Behind it stand the 32 bytes of an Ed25519 seed in base64url.
"""

_FILE_BYTES_MAX: Final = 4096


class KeyFileError(Exception):
    """A key cannot be made or read; the text names the file."""


def kept_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in `path`, made and kept there, mode 0600, if there is none.

    Raises:
        KeyFileError: the file cannot be written, read or understood.
    """
    try:
        key = load_pem_private_key(kept(path, _new_key), password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path} does not hold a private key; remove it to get a new one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyFileError(f"{path} does not hold a P-256 key; remove it to get a new one")
    return key


def _new_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return PEM_MARK + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def kept(path: Path, make: Callable[[], bytes], *, disk: Disk = DISK) -> bytes:
    """The content of `path`; what `make` returns if the file was missing.

    Safe between processes: the file appears whole, by a hard link only one of them can make, and all read it.
    It is on disk, and its name is, before anybody makes use of it.
    """
    try:
        if not path.exists():
            make_directories(path.parent, disk=disk)
            create(path, make(), disk=disk)
        with opened(path) as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise KeyFileError(f"cannot keep a key in {path}: {error.strerror}") from error


def opened(path: Path) -> BinaryIO:
    """Open what is kept, to be read; a pipe in its place, at which the start would wait for ever, is refused.

    Raises:
        OSError: it cannot be opened, or is no file.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115  # the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return file
