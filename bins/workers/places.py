"""Where the workers of a server are asked about themselves (docs/scaling.md 1)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class WorkerPlace(NamedTuple):
    """One worker process that lives. While it is replaced two have the same number."""

    number: int
    """From 1 to `WORKERS`; a successor has that of its predecessor."""
    pid: int
    socket: Path
    """The Unix socket of its admin application, in a directory that nobody else may enter."""


Places = Callable[[], Sequence[WorkerPlace]]
"""The workers that live now and have said that they are ready, in no order."""
