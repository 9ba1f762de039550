"""What lanes keep of a push while it waits: the entry itself, its space's line, its author's account."""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from less_sync.storage.errors import StorageError
from less_sync.storage.stores import PushDone
from less_sync.storage.types import Push, PushOutcome

if TYPE_CHECKING:
    from less_sync.storage.postgres.lane import Lane

STATEMENT_BYTES_MAX: Final = 1024 * 1024
"""Weight of one statement, which keeps the database busy for about 25 ms. A push that alone weighs more is
heavy: it never goes through a lane, where pushes of others would wait behind it."""

CHANGE_BYTES: Final = 1024
"""What a push and each of its changes weigh beside their payload. A change takes the database as long as a
KiB of payload, and Python about a third of a KiB of memory."""

Result = PushOutcome | StorageError


@dataclass(slots=True, eq=False)
class Account:
    """What an author has queued, and how far he has come in his turns."""

    entries: int = 0
    weight: int = 0
    turns: "dict[Lane, int]" = field(default_factory=dict)
    """Of each lane: the turn of his latest push there."""


@dataclass(slots=True, eq=False)
class Line:
    """The pushes of one space that are queued or in flight, and where they stand."""

    lane: "Lane"
    waiting: int = 0
    """All of them, in the lane and beside it."""
    beside: "deque[Entry] | None" = None
    """Those that stand beside the lane, in order, behind all that are in it. None: the next one goes into the
    lane."""
    served: bool = False
    """Whether a task serves `beside`; all pushes of the space stand there then."""
    turn: int = 0
    """That of the latest push in the lane."""


@dataclass(slots=True, eq=False)
class Entry:
    """One push that waits."""

    push: Push
    done: PushDone
    line: Line
    account: Account
    weight: int
    turn: int = 0
    """Entries of a lane go in this order when not all fit into the next statement; 0: not given yet."""

    @property
    def heavy(self) -> bool:
        """Whether it goes beside the lane."""
        return self.weight > STATEMENT_BYTES_MAX
