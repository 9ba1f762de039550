"""How much each author may have queued (docs/storage.md 4.5).

An author is over his bound when he has more queued than is left of the whole. So one alone may hold half of
the queue, two a third each, and whoever has nothing queued yet finds room whatever the others do. Pushes too
heavy for a lane count for their author alone: they wait beside the lanes and take nobody's room there.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from less_sync.storage.postgres.push_entry import STATEMENT_BYTES_MAX, Account, Entry

_REFUSE_FACTOR: Final = 4
_ACCOUNTS_MAX: Final = 16_384
"""When there are more, those with nothing queued are dropped. More than the queue can have entries."""


class AuthorBounds:
    """Counts what is queued, of each author and altogether.

    Args:
        entries_max: pushes in the queue.
        bytes_max: weight of the pushes in the queue, heavy ones aside.
    """

    def __init__(self, *, entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries_all = entries_max * _REFUSE_FACTOR
        self._bytes_all = bytes_max * _REFUSE_FACTOR
        self._entries_each = self._entries_all // 2
        self._bytes_each = self._bytes_all // 2
        self._accounts: dict[str, Account] = {}
        self._paused: dict[str, asyncio.Event] = {}
        self.entries = 0
        """Pushes that are not answered yet, heavy ones too."""
        self._bytes = 0
        self._heavy_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """Weight of the pushes that are not answered yet, heavy ones too."""
        return self._bytes + self._heavy_bytes

    def admit(self, author: str, weight: int) -> Account | None:
        """Count one push, or refuse it: None when its author, or all together, are at four times the bounds.

        Nobody gets there who waits while he is congested.
        """
        account = self._accounts.get(author)
        if account is None:
            account = self._account(author)
        if account.entries > self._entries_each or account.weight > self._bytes_each:
            return None
        if weight > STATEMENT_BYTES_MAX:
            if self._heavy_bytes > self._bytes_all:
                return None
            self._heavy_bytes += weight
        else:
            if self.entries > self._entries_all or self._bytes > self._bytes_all:
                return None
            self._bytes += weight
        self.entries += 1
        account.entries += 1
        account.weight += weight
        return account

    def release(self, entries: Sequence[Entry]) -> None:
        """Count pushes as answered."""
        self.entries -= len(entries)
        for entry in entries:
            account, weight = entry.account, entry.weight
            account.entries -= 1
            account.weight -= weight
            if weight > STATEMENT_BYTES_MAX:
                self._heavy_bytes -= weight
            else:
                self._bytes -= weight
        if self._paused:
            self._relieve()

    def congested(self, author: str, factor: int = 1) -> bool:
        """True while `factor` times what the author has queued is over his bound."""
        account = self._accounts.get(author, _NOTHING)
        return (
            account.entries * factor > self._entries_max - self.entries
            or account.weight * factor > self._bytes_max - self._bytes
        )

    async def uncongested(self, author: str) -> None:
        """Return once the author has at most half of what he may have."""
        if self.congested(author):
            paused = self._paused.get(author)
            if paused is None:
                paused = self._paused[author] = asyncio.Event()
            await paused.wait()

    def _relieve(self) -> None:
        """Wake those who are within half of their bounds."""
        for author in [author for author in self._paused if not self.congested(author, 2)]:
            self._paused.pop(author).set()

    def _account(self, author: str) -> Account:
        if len(self._accounts) >= _ACCOUNTS_MAX:
            self._accounts = {key: one for key, one in self._accounts.items() if one.entries}
        account = self._accounts[author] = Account()
        return account


_NOTHING: Final = Account()
