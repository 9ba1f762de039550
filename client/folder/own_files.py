"""What this program keeps secret itself and never pushes, wherever it lies and whatever it is called.

A folder may hold the key file, private keys behind DIDs and spaces, the key that signs reports, an
invitation, or the data directory of a server: a home folder holds most of them. Each is known by what is in
it or by what it is called, and those in use on this machine also by their inodes and keys, which finds hard
links, and copies of keys that an earlier release made without a mark. A person's own PEM files are none of
ours.
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import UUID

from less_sync.client.folder.keyfile import PREFIX as KEY_PREFIX
from less_sync.client.folder.keyfile import default_key_path
from less_sync.client.kept_key import PEM_MARK, SIGNING_KEY_PREFIX

_FILES_MAX: Final = 10_000
_KEY_BYTES_MAX: Final = 4096
_BUNDLE_BYTES_MAX: Final = 256 * 1024
_BUNDLE_PREFIX: Final = b"less-sync-invite-1:"
_PRIVATE_KEY: Final = "a private key of less-sync is never pushed"
_DATA_DIR: Final = "the data directory of a less-sync server is never pushed"

_CONTENTS: Final = (
    (re.compile(KEY_PREFIX.encode() + rb"[A-Za-z0-9_-]{48}"), "a key file of less-sync is never pushed"),
    (
        re.compile(SIGNING_KEY_PREFIX.encode() + rb"[A-Za-z0-9_-]{43}"),
        "a signing key of less-sync is never pushed",
    ),
    (re.compile(re.escape(PEM_MARK.strip()) + rb"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----"), _PRIVATE_KEY),
    (re.compile(rb'"ucan":"[^"]*","keys":\{"[0-9]+":"'), "the keys of a shared space are never pushed"),
)
_PEM_BLOCK: Final = re.compile(
    rb"-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]{1,4096})-----END PRIVATE KEY-----"
)


def own_secret(content: bytes) -> str | None:
    """Why a file with this content is never pushed; None for all that is not ours.

    Keys are found anywhere in it, since a copy may have been pasted into something larger. An invitation is
    looked for at the start only: it may travel in the open, as in an archive of mail.
    """
    for pattern, reason in _CONTENTS:
        if pattern.search(content) is not None:
            return reason
    if len(content) <= _BUNDLE_BYTES_MAX and content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(
        _BUNDLE_PREFIX
    ):
        return "an invitation of less-sync is never pushed"
    return None


@dataclass(slots=True)
class OwnFiles:
    """The secrets in use on this machine. `refresh` looks at them; new keys may be made at any time.

    Args:
        files: key files and token files in use; `spaces/` beside one holds root keys.
        directories: whose files are all secrets.
    """

    files: Collection[Path] = ()
    directories: Collection[Path] = ()
    _inodes: set[tuple[int, int]] = field(default_factory=set, repr=False)
    _keys: set[bytes] = field(default_factory=set, repr=False)

    @classmethod
    def in_use(cls, *files: Path | None, data_dir: Path | None = None) -> "OwnFiles":
        """These files, all in our configuration folder, and the keys of a dev server."""
        default = default_key_path()
        directories = [default.parent]
        if data_dir is not None and data_directory(data_dir, {"dev"}):
            directories += [data_dir / "dev", data_dir / "dev" / "users"]
        return cls([default, *(file for file in files if file is not None)], directories)

    def refresh(self) -> None:
        """Look anew. What is not there, or not ours to read, is passed over."""
        self._inodes.clear()
        self._keys.clear()
        for file in islice(self._files(), _FILES_MAX):
            try:
                found = os.stat(file)
                self._inodes.add((found.st_dev, found.st_ino))
                if found.st_size <= _KEY_BYTES_MAX:
                    self._keys.update(_keys_in(file.read_bytes()))
            except OSError:
                continue

    def _files(self) -> Iterator[Path]:
        for file in self.files:
            yield file
            yield from _listed(file.parent / "spaces", ".root.pem")
        for directory in self.directories:
            yield from _listed(directory, "")

    def is_one(self, folder: str, name: str, found: os.stat_result) -> str | None:
        """Why the file `name` of the folder (a path, or "" at the root) is never pushed, by inode or name."""
        if (found.st_dev, found.st_ino) in self._inodes:
            return "a secret that less-sync uses is never pushed"
        if not name.endswith(".pem"):
            return None
        is_root_key = name.endswith(".root.pem") and _is_uuid(name.removesuffix(".root.pem"))
        is_did_key = name == "did.pem" and folder.rpartition("/")[2] == "less-sync"
        return _PRIVATE_KEY if is_root_key or is_did_key else None

    def is_in(self, content: bytes) -> str | None:
        """Why a file with this content is never pushed: as `own_secret`, or it has one of the keys in use."""
        reason = own_secret(content)
        if reason is None and self._keys and not self._keys.isdisjoint(_keys_in(content)):
            return _PRIVATE_KEY
        return reason


def data_directory(folder: Path, names: Collection[str]) -> str | None:
    """Why a folder with these names in it is never pushed: it is the data directory of a server."""
    if {"postgres", "postgres.lock"}.issubset(names) and (folder / "postgres" / "PG_VERSION").exists():
        return _DATA_DIR
    if "dev" in names:
        dev = folder / "dev"
        others = (dev / "identity-hash-key", dev / "users")
        if (dev / "issuer.pem").exists() and any(other.exists() for other in others):
            return _DATA_DIR
    return None


def _listed(directory: Path, suffix: str) -> Iterable[Path]:
    try:
        with os.scandir(directory) as entries:
            return [Path(entry.path) for entry in islice(entries, _FILES_MAX) if entry.name.endswith(suffix)]
    except OSError:
        return []


def _keys_in(content: bytes) -> Iterator[bytes]:
    """A digest of each private key in PEM blocks, however their lines are broken."""
    for block in _PEM_BLOCK.finditer(content):
        try:
            yield hashlib.sha256(base64.b64decode(block[1])).digest()
        except binascii.Error:
            continue


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
