"""What a reporter keeps in its data directory: who this server is to which plane (docs/fleet.md)."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import msgspec

STATE_FILE: Final = "fleet.json"
LOCK_FILE: Final = "fleet.lock"


class StateError(Exception):
    """The file cannot be used; the text says what is wrong and what to do."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the file."""

    instance_id: str
    """A UUID made here, once."""
    plane: str = ""
    """The URL of the plane that gave what follows: a token is shown to no other one."""
    agent_id: str = ""
    token: str = ""
    """Empty: this server is not registered."""
    desired_version: str | None = None
    """Which release the plane wants here."""


def read_kept(path: Path, content: bytes) -> Kept:
    """Understand the file.

    Raises:
        StateError: it is damaged.
    """
    try:
        kept = msgspec.json.decode(content, type=Kept)
        UUID(kept.instance_id)
        if kept.agent_id:
            UUID(kept.agent_id)
    except (msgspec.DecodeError, ValueError):
        raise StateError(
            f"{path} is damaged; put back a copy, or remove it to register this server anew "
            "(that takes an enrolment token)"
        ) from None
    return kept


class StateFile:
    """The file, and the lock that one reporter of the directory holds.

    Only the holder of the lock writes. The lock is a file of its own, as the other one is replaced whole by
    each write, so that a crash leaves what was there before or what is there after.

    Args:
        replace: writes a file with mode 0600, whole or not at all, and returns when it is on disk.
        read: the content of a file; raises OSError.
    """

    def __init__(
        self,
        directory: Path,
        *,
        replace: Callable[[Path, bytes], None],
        read: Callable[[Path], bytes],
    ) -> None:
        self.path: Final = directory / STATE_FILE
        self._lock_path: Final = directory / LOCK_FILE
        self._replace: Final = replace
        self._read: Final = read
        self._lock: int | None = None

    def take(self) -> bool:
        """Take the lock; False while another process holds it. The system gives it back if this one dies.

        Raises:
            StateError: there can be no lock.
        """
        try:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StateError(f"cannot open {self._lock_path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        except OSError as error:
            os.close(lock)
            raise StateError(f"cannot lock {self._lock_path}: {error.strerror}") from error
        self._lock = lock
        return True

    def give_back(self) -> None:
        """Let another process have the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def load(self) -> Kept:
        """What is kept; a new instance id, which is on disk then, if nothing is.

        Raises:
            StateError: it cannot be read, or not be written.
        """
        try:
            content = await asyncio.to_thread(self._read, self.path)
        except FileNotFoundError:
            kept = Kept(instance_id=str(uuid4()))
            await self.save(kept)
            return kept
        except OSError as error:
            raise StateError(f"cannot read {self.path}: {error.strerror}") from error
        return read_kept(self.path, content)

    async def save(self, kept: Kept) -> None:
        """Write it. Somebody who is cancelled meanwhile waits all the same, lest it be written without lock.

        Raises:
            StateError: it cannot be.
        """
        assert self._lock is not None, "only its holder writes"
        writing = asyncio.ensure_future(
            asyncio.to_thread(self._replace, self.path, msgspec.json.encode(kept) + b"\n")
        )
        try:
            await asyncio.shield(writing)
        except OSError as error:
            raise StateError(f"cannot write {self.path}: {error.strerror}") from error
        finally:
            await asyncio.wait({writing})
