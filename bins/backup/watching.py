"""What a backup tells whoever watches it."""

from enum import StrEnum
from typing import Protocol


class Part(StrEnum):
    """The parts of a backup, in order; each is worded for whoever watches."""

    WAITING = "waiting for uploads that are being stored"
    TABLES = "copying rows"
    CONTENTS = "copying contents"
    VERIFYING = "reading back"


class Watcher(Protocol):
    """Watches a backup."""

    def begin(self, doing: str, total: int) -> None:
        """A part begins, `total` bytes or rows long; 0 where nobody knows."""

    def advance(self, amount: int) -> None:
        """So many more are done."""

    def warn(self, text: str) -> None:
        """The operator has to know."""
