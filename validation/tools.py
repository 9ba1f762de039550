"""What the commands hand in, because a room that judges may not import what serves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Postgres(Protocol):
    """How a private Postgres is had."""

    def __call__(self, folder: Path) -> AbstractAsyncContextManager[str]:
        """One of its own in this folder, stopped at the end; yields the URL of a role with CREATEDB."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What of this installation a run makes use of."""

    less_sync: Sequence[str]
    """The words that run this installation's `less-sync`, as `subprocess` takes them."""
    version: str
    """Of this installation."""
    postgres: Postgres
    settings_folder: Path
    """The user's own, where the signing key is kept."""
    driver_url: Callable[[str], str]
    """Makes of a database's URL one that asyncpg takes. Raises ValueError, worded for the operator."""
    environment: Mapping[str, str]
    """Of the operator, the only source of variables."""
