"""What a backup and a restore tell whoever watches them."""

from enum import StrEnum
from typing import Protocol


class Part(StrEnum):
    """The parts of a backup, in order; each is worded for whoever watches."""

    WAITING = "waiting for uploads that are being stored"
    TABLES = "copying rows"
    CONTENTS = "copying contents"
    VERIFYING = "reading back"


class Doing(StrEnum):
    """The parts of a restore, in order; each is worded for whoever watches."""

    CHECKING = "checking the backup"
    PREPARING = "preparing the schema"
    CONTENTS = "copying contents"
    LOADING = "loading rows"
    PROVING = "comparing what was loaded"
    MIGRATING = "migrating"


class Progress(Protocol):
    """Watches a restore."""

    def begin(self, doing: Doing, total: int) -> None:
        """A part begins, `total` bytes or rows long; 0 where nobody knows. With PREPARING the database is
        marked, with MIGRATING the rows are there for good."""

    def advance(self, amount: int) -> None:
        """So many more are done."""


class Watcher(Progress, Protocol):
    """Watches a backup, which checks what it has written as a restore does."""

    def begin(self, doing: str, total: int) -> None:
        """A part begins, `total` bytes or rows long; 0 where nobody knows."""

    def warn(self, text: str) -> None:
        """The operator has to know."""
