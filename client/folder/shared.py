"""A folder bound to a shared space: what `.less-sync/shared.json` keeps, mode 0600, beside the state.

It holds secrets (the space's keys and the UCAN), so nothing of it is ever printed. A lock of its own, held
for one read and write, lets `less-sync space` work on a folder that is being watched.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from less_sync.auth import AuthError, Permission, parse_ucan, ucan_cid
from less_sync.client.durable import DISK, Disk, make_directories, replace
from less_sync.client.folder.errors import AccessLost, FolderBusy, UsageProblem
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.paths import STATE_DIR
from less_sync.client.folder.state import disk_errors
from less_sync.client.times import when

FORMAT: Final = 1
EPOCH_KEYS_MAX: Final = 4096
EPOCH_MAX: Final = 2**31 - 1

_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
_LOCK_ATTEMPTS: Final = 200
_LOCK_PAUSE_S: Final = 0.05


class Delegation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One UCAN that was handed out from this folder."""

    did: str
    cid: str
    permission: str
    expires_at: int
    revoked: bool = False

    def __repr__(self) -> str:
        return f"Delegation({self.permission})"


class Rotation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rotation of the keys that is under way: since which epoch, and who is to be removed by it."""

    from_epoch: int
    remove: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Rotation({self.from_epoch})"


class LogPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a membership log was read: a log that is no continuation of it is not the space's."""

    entries: int = 0
    digest: bytes = b""
    """Of the hashes of all entries so far, one after the other."""

    def __repr__(self) -> str:
        return f"LogPlace({self.entries})"


class SharedSpace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a member knows: the UCAN that lets them in, the key of each epoch, and what they handed out."""

    v: int = FORMAT
    space: UUID
    ucan: str
    keys: dict[int, bytes]
    """Of each epoch that is known; the lowest one's also derives record ids."""
    delegated: tuple[Delegation, ...] = ()
    rotation: Rotation | None = None
    """Not yet completed; `space rotate` goes on with it."""
    log: LogPlace = LogPlace()
    home: str = ""
    """The domain of the space's home server, if whoever let us in named it; passed on in bundles."""

    def __repr__(self) -> str:
        return f"SharedSpace({self.space})"

    @property
    def epoch_keys(self) -> dict[int, FolderKey]:
        """`keys` as the cipher takes them."""
        return {epoch: FolderKey(secret) for epoch, secret in self.keys.items()}

    @property
    def fingerprint(self) -> str:
        """Of the key the folder's record ids derive from."""
        return FolderKey(self.keys[min(self.keys)]).fingerprint

    def with_keys(self, keys: Mapping[int, bytes]) -> "SharedSpace":
        """The same with more keys; those already known stay."""
        return msgspec.structs.replace(self, keys={**keys, **self.keys})


@dataclass(frozen=True, slots=True)
class Grant:
    """What the UCAN of a shared folder says about its holder."""

    ucan: str
    audience: str
    permission: Permission
    expires_at: int
    space: str

    def __repr__(self) -> str:
        return f"Grant({self.permission.name})"

    @property
    def read_only(self) -> bool:
        """Whether nothing may be pushed."""
        return not self.permission.covers(Permission.WRITE)

    def lost(self) -> AccessLost:
        """What to tell the holder whom the server no longer lets in."""
        if time.time() > self.expires_at:
            return AccessLost(
                f"your access to this shared space ended on {when(self.expires_at)}",
                "ask for another bundle or invitation",
            )
        return AccessLost(
            "your access to this shared space was revoked",
            "the files here stay as they are; `less-sync space explain` tells more",
        )


def grant_of(ucan: str) -> Grant:
    """Read what a UCAN grants.

    Raises:
        InvalidUcan: it cannot be read.
        UnknownPermission: it grants nothing this version knows.
    """
    token = parse_ucan(ucan)
    permission = Permission.from_command(token.command)
    space = token.resource.removeprefix("space:")
    return Grant(ucan, token.audience or "", permission, token.expires_at or 0, space)


class SharedFile:
    """`shared.json` of one folder. Methods block for a file's read or write."""

    def __init__(self, folder: Path, *, disk: Disk = DISK) -> None:
        self._disk = disk
        self._directory = folder / STATE_DIR
        self.path = self._directory / "shared.json"

    def load(self) -> SharedSpace | None:
        """Read it; None for a folder that is bound to no shared space.

        Raises:
            UsageProblem: it cannot be understood.
            FolderError: it cannot be read.
        """
        return _read(self.path)

    def update(self, change: Callable[[SharedSpace | None], SharedSpace]) -> SharedSpace:
        """Read, change and write it. The file's lock makes this the only writer; a rename makes it whole.

        Raises: as `load`, what `change` raises, and
            FolderBusy: another command held the lock for ten seconds.
        """
        with disk_errors(f"cannot write {self.path}"):
            self._directory.parent.mkdir(parents=True, exist_ok=True)
            make_directories(self._directory, disk=self._disk)
            with self._locked():
                shared = change(self.load())
                replace(self.path, msgspec.json.encode(shared), disk=self._disk)
        return shared

    def keep(self, shared: SharedSpace) -> Path:
        """Write a grant that is about to be replaced beside the file, and return where.

        Raises:
            FolderError: it cannot be written.
        """
        path = self._directory / f"shared.{ucan_cid(shared.ucan)[:8]}.json"
        with disk_errors(f"cannot write {path}"):
            replace(path, msgspec.json.encode(shared), disk=self._disk)
        return path

    def kept(self) -> list[SharedSpace]:
        """The grants that were kept beside the file and can be read, the latest first.

        Raises:
            FolderError: the directory cannot be read.
        """
        with disk_errors(f"cannot read {self._directory}"):
            paths = sorted(self._directory.glob("shared.*.json"), key=lambda path: -path.stat().st_mtime_ns)
        found = []
        for path in paths:
            with suppress(UsageProblem):
                found.append(_read(path))
        return [shared for shared in found if shared is not None]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self._directory / "shared.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(_LOCK_ATTEMPTS):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_LOCK_PAUSE_S)
            else:
                raise FolderBusy(f"another less-sync command holds {self.path}")
            yield
        finally:
            os.close(fd)


def _read(path: Path) -> SharedSpace | None:
    try:
        with disk_errors(f"cannot read {path}"):
            try:
                with path.open("rb") as file:
                    text = file.read(_FILE_BYTES_MAX)
            except (FileNotFoundError, NotADirectoryError):
                return None
        shared = msgspec.json.decode(text, type=SharedSpace)
        known = shared.v == FORMAT and 0 < len(shared.keys) <= EPOCH_KEYS_MAX
        if not known or any(len(secret) != 32 for secret in shared.keys.values()):
            raise ValueError
        grant_of(shared.ucan)
    except (ValueError, msgspec.MsgspecError, AuthError) as error:
        raise UsageProblem(
            f"{path} is damaged, or of a later version", "remove it, then join the space with a bundle again"
        ) from error
    return shared
