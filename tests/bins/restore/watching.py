"""Watches a restore, and does something when it comes to a point."""

from collections.abc import Callable
from dataclasses import dataclass, field

from less_sync.bins.backup.watching import Doing


@dataclass(slots=True)
class Seen:
    """Which parts began, and how far the last one came."""

    parts: list[Doing] = field(default_factory=list)
    at: Doing | None = None
    act: Callable[[], object] = object
    """Called when that part begins."""
    total: int = 0
    done: int = 0

    def begin(self, doing: Doing, total: int) -> None:
        self.parts.append(doing)
        self.total, self.done = total, 0
        if doing is self.at:
            self.act()

    def advance(self, amount: int) -> None:
        assert amount >= 0
        self.done += amount
