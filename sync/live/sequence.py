"""The order of one space's news while it is not in sequence: what came early waits for what it follows.

Between the last cursor that this node's subscribers were told and what came early is a *gap*: it is filled by
what still comes, or by rows that are read. In sequence there is no `Sequence` at all (docs/scaling.md 3.3).
"""

import asyncio
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Final

from less_sync.sync.announce import Notice

CHANGES_MAX: Final = 256
"""Commits of one space that wait for earlier ones; what comes beyond is read from the database."""
SPACE_BYTES_MAX: Final = 4 * 1024 * 1024
NODE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all spaces together."""


@dataclass(frozen=True, slots=True)
class Early:
    """One commit that came before another one that it follows."""

    prev: int
    cursor: int
    notices: Many[Notice]
    size_bytes: int
    """What waiting costs: the bytes the notices keep alive."""
    own: bool
    """Made here: its author is left out, so nothing else may tell of it."""


class Room:
    """How many bytes wait at this node."""

    __slots__ = ("bytes_left",)

    def __init__(self, bytes_max: int = NODE_BYTES_MAX) -> None:
        self.bytes_left = bytes_max


@dataclass(slots=True)
class Sequence:
    """One space with news that nobody was told yet. Who drops it calls `clear`."""

    room: Room
    top: int = -1
    """The highest cursor that anybody has said the space is at."""
    timer: asyncio.TimerHandle | None = None
    """Ends the wait for what is missing."""
    filling: bool = False
    """Rows are being read, or about to be."""
    _held: dict[int, Early] = field(default_factory=dict)
    """By `prev`."""
    _held_bytes: int = 0

    def __len__(self) -> int:
        """How many commits wait."""
        return len(self._held)

    def heard(self, cursor: int) -> None:
        """The space is said to be at `cursor`, and what was committed is not at hand."""
        self.top = max(self.top, cursor)

    def hold(self, one: Early) -> None:
        """Keep a commit until its turn comes; beyond the bounds only the news of it.

        One that is here already, as the bus repeats, is kept once; one made here rather than what others say.
        """
        self.heard(one.cursor)
        known = self._held.get(one.prev)
        if known is not None:
            if known.own or not one.own:
                return
            self._drop(known)
        full = len(self._held) >= CHANGES_MAX or self._held_bytes + one.size_bytes > SPACE_BYTES_MAX
        if full or one.size_bytes > self.room.bytes_left:
            return
        self._held[one.prev] = one
        self._held_bytes += one.size_bytes
        self.room.bytes_left -= one.size_bytes

    def next(self, told: int) -> Early | None:
        """Take the commit that follows `told`, if it is here."""
        one = self._held.get(told)
        if one is not None:
            self._drop(one)
        return one

    def forget(self, *, up_to: int = -1, above: int | None = None) -> None:
        """Drop what was told in another way, up to a cursor, and what is above another one: nobody did
        that."""
        for one in list(self._held.values()):
            if one.cursor <= up_to or (above is not None and one.cursor > above):
                self._drop(one)
        if above is not None:
            self.top = min(self.top, above)

    def gap_ends(self) -> int:
        """Up to where rows must be read: to the first commit that waits, else to the top."""
        return min(self._held, default=self.top)

    def clear(self) -> None:
        """Drop everything."""
        for one in list(self._held.values()):
            self._drop(one)
        self.stop_waiting()

    def stop_waiting(self) -> None:
        """No timer any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _drop(self, one: Early) -> None:
        del self._held[one.prev]
        self._held_bytes -= one.size_bytes
        self.room.bytes_left += one.size_bytes
