"""Who has signed in at the start page, for who looks for a person by name."""

import hashlib
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

PEOPLE_MAX: Final = 1000
_DID_BYTES_MAX: Final = 256


class People(Protocol):
    """The DID of each name's last sign-in. Beyond the most, who signed in longest ago is forgotten."""

    def remember(self, name: str, did: str) -> None:
        """Somebody has signed in."""

    def did_of(self, name: str) -> str | None:
        """None: nobody has under that name."""


class RememberedPeople:
    """Of one process, in its memory."""

    def __init__(self, people_max: int = PEOPLE_MAX) -> None:
        self._people_max: Final = people_max
        self._dids: Final[OrderedDict[str, str]] = OrderedDict()

    def remember(self, name: str, did: str) -> None:
        """Somebody has signed in."""
        self._dids[name] = did
        self._dids.move_to_end(name)
        if len(self._dids) > self._people_max:
            self._dids.popitem(last=False)

    def did_of(self, name: str) -> str | None:
        """None: nobody has under that name."""
        return self._dids.get(name)


class KeptPeople:
    """Of several processes, in a directory that only their user may enter: a file for each name.

    A file appears whole, by rename, so no reader sees half of one, and of two that write the later counts.
    """

    def __init__(self, directory: Path, people_max: int = PEOPLE_MAX) -> None:
        self._directory: Final = directory
        self._people_max: Final = people_max

    def remember(self, name: str, did: str) -> None:
        """Somebody has signed in."""
        path = self._path(name)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(did, "ascii")
        new.replace(path)
        self._forget_the_oldest()

    def did_of(self, name: str) -> str | None:
        """None: nobody has under that name."""
        try:
            with self._path(name).open(encoding="ascii") as file:
                return file.read(_DID_BYTES_MAX)
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> Path:
        return self._directory / f"{hashlib.sha256(name.encode()).hexdigest()}.did"

    def _forget_the_oldest(self) -> None:
        found = [*self._directory.glob("*.did")]
        if len(found) <= self._people_max:
            return
        # Another process may remove one meanwhile, or write it anew: then it is the youngest.
        with suppress(FileNotFoundError):
            min(found, key=lambda path: path.stat().st_mtime_ns).unlink()
