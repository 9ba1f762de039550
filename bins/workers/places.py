"""Where the workers of a server are asked about themselves (docs/scaling.md 1)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class WorkerPlace(NamedTuple):
    """One worker process that lives."""

    number: int
    """From 1 to `WORKERS`; a successor has that of its predecessor, who is asked no more."""
    pid: int
    socket: Path
    """The Unix socket of its admin application, in a directory that nobody else may enter."""


Places = Callable[[], Sequence[WorkerPlace]]
"""The workers that live now and have said that they are ready, in no order."""
