"""The key file: 32 random bytes that every device of one user shares, in one line of text.

The line is `less-sync-key-1:` and 48 characters of base64url: the 32 bytes and the first 4 bytes of their
SHA-256, so that a mistyped or truncated key is told from a wrong one. The file is made on first use with mode
0600; a key in it is replaced only once a copy is on disk beside it, because whoever loses a key loses what
was encrypted with it.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import typer

from less_sync.auth import MalformedText, b64url_decode
from less_sync.client.durable import DISK, Disk, create, locked_directory, make_directories, replace
from less_sync.client.folder.errors import UsageProblem

PREFIX: Final = "less-sync-key-1:"
KEY_BYTES: Final = 32
_CHECK_BYTES: Final = 4
_FILE_BYTES_MAX: Final = 4096
_KEPT_MAX: Final = 100
"""Former keys whose fingerprints, 32 bits, are the same."""


@dataclass(frozen=True, slots=True)
class FolderKey:
    """The shared secret. Its bytes are never shown; `fingerprint` names it."""

    secret: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """8 hex digits to compare two key files by; says nothing about the key."""
        return hashlib.sha256(b"less-sync/folder/v1/fingerprint\x00" + self.secret).hexdigest()[:8]

    def line(self) -> str:
        """The text of the key file, without a line end."""
        checked = self.secret + hashlib.sha256(self.secret).digest()[:_CHECK_BYTES]
        return PREFIX + base64.urlsafe_b64encode(checked).decode("ascii")


def default_key_path() -> Path:
    """`less-sync/folder.key` in the user's configuration folder (`XDG_CONFIG_HOME` is heeded)."""
    return Path(typer.get_app_dir("less-sync")) / "folder.key"


def parse_key(text: str) -> FolderKey:
    """Read the line of a key file.

    Raises:
        UsageProblem: not a key, or a damaged one. The text is not repeated in the message.
    """
    line = text.strip()
    if not line.startswith(PREFIX):
        raise UsageProblem("this is not a key file of less-sync", f"its one line starts with {PREFIX}")
    try:
        checked = b64url_decode(line.removeprefix(PREFIX))
    except MalformedText:
        checked = b""
    secret, check = checked[:KEY_BYTES], checked[KEY_BYTES:]
    if len(secret) != KEY_BYTES or check != hashlib.sha256(secret).digest()[:_CHECK_BYTES]:
        raise UsageProblem("the key is damaged: its check digits do not match", "copy the whole line again")
    return FolderKey(secret)


def load_key(path: Path) -> FolderKey:
    """Read a key file.

    Raises:
        FileNotFoundError: there is none.
        UsageProblem: it cannot be read or holds no key.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX).decode("ascii", errors="replace")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageProblem(f"cannot read the key file {path}: {error.strerror}") from error
    return parse_key(text)


def load_or_create_key(path: Path) -> tuple[FolderKey, bool]:
    """Read the key file, or make one. The second value tells whether it was made now.

    Two commands that start at once agree: the file appears complete or not at all (a link to a finished file
    refuses an existing name), and whoever comes second reads the first one's.

    Raises:
        UsageProblem: the file holds no key, or cannot be read or made.
    """
    try:
        return load_key(path), False
    except FileNotFoundError:
        pass
    key = FolderKey(secrets.token_bytes(KEY_BYTES))
    if save_key(path, key):
        return key, True
    return load_key(path), False


def save_key(path: Path, key: FolderKey, *, disk: Disk = DISK) -> bool:
    """Write a key file with mode 0600, durably, unless the name is taken. Returns whether it was written.

    Raises:
        UsageProblem: the folder cannot be made or written.
    """
    with _writing(path):
        make_directories(path.parent, disk=disk)
        return create(path, _content(key), disk=disk)


def import_key(path: Path, key: FolderKey, *, force: bool, disk: Disk = DISK) -> Path | None:
    """Put `key` into the key file. Returns where a different former key was kept, if there was one.

    However many commands import and make keys at once, each key that ever was in the file is still there, or
    kept beside it, and whoever finds another command's key there is told.

    Raises:
        UsageProblem: another key is there and `force` is off, or writing fails.
    """
    if _holds(path, key) or save_key(path, key, disk=disk):
        return None
    with _writing(path), locked_directory(path.parent):
        try:
            former = load_key(path)
        except FileNotFoundError as error:
            raise UsageProblem(f"{path} was moved away just now", "try again") from error
        if former == key:
            return None
        if not force:
            raise UsageProblem(
                f"{path} holds another key ({former.fingerprint})",
                "--force replaces it and keeps the former one beside it",
            )
        kept = _keep(path, former, disk)
        replace(path, _content(key), disk=disk)
    return kept


def set_aside(path: Path, key: FolderKey, *, disk: Disk = DISK) -> Path | None:
    """Move the key file out of the way of the right one, if it still holds `key`. Returns where it is kept.

    Raises:
        UsageProblem: writing fails.
    """
    with _writing(path), locked_directory(path.parent):
        try:
            if load_key(path) != key:
                return None
        except FileNotFoundError:
            return None
        kept = _keep(path, key, disk)
        path.unlink()
        disk.sync(path.parent)
    return kept


def _keep(path: Path, key: FolderKey, disk: Disk) -> Path:
    """Make a copy beside the key file, under a name that no other key has."""
    for number in range(1, _KEPT_MAX + 1):
        suffix = ".old" if number == 1 else f".{number}.old"
        kept = path.with_name(f"{path.name}.{key.fingerprint}{suffix}")
        if create(kept, _content(key), disk=disk) or _holds(kept, key):
            return kept
    raise UsageProblem(f"there are {_KEPT_MAX} files like {kept} already", "move some of them away")


def _holds(path: Path, key: FolderKey) -> bool:
    try:
        return load_key(path) == key
    except (FileNotFoundError, UsageProblem):
        return False


def _content(key: FolderKey) -> bytes:
    return key.line().encode("ascii") + b"\n"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise UsageProblem(f"another command is at work on {path}", "try again") from error
    except OSError as error:
        raise UsageProblem(f"cannot write the key file {path}: {error.strerror}") from error
