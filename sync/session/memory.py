"""What a session remembers about spaces, within a bound: made when there is something to remember."""

from collections import OrderedDict
from uuid import UUID

from less_sync.storage import DekKind


class SessionMemory:
    """At most `spaces_max` of each kind; the oldest is forgotten first."""

    __slots__ = ("_read_cursors", "_spaces_max", "_warned")

    def __init__(self, spaces_max: int) -> None:
        self._spaces_max = spaces_max
        self._read_cursors: OrderedDict[tuple[DekKind, UUID], int] = OrderedDict()
        self._warned: OrderedDict[UUID, None] = OrderedDict()

    def note_read(self, kind: DekKind, space: UUID, cursor: int) -> None:
        """Up to which cursor the session has read a space's DEKs."""
        self._read_cursors[kind, space] = cursor
        self._read_cursors.move_to_end((kind, space))
        if len(self._read_cursors) > self._spaces_max:
            self._read_cursors.popitem(last=False)

    def read_up_to(self, kind: DekKind, space: UUID) -> int | None:
        """The cursor of the last `note_read`; None when there was none."""
        return self._read_cursors.get((kind, space))

    def warn_once(self, space: UUID) -> bool:
        """True the first time for this space."""
        if space in self._warned:
            return False
        self._warned[space] = None
        if len(self._warned) > self._spaces_max:
            self._warned.popitem(last=False)
        return True
