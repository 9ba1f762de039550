"""Places that users share by turns: none keeps the others out, however many he asks for.

Every user is known by a key. Who asks when a place is free gets it at once. Otherwise users take turns, each
in the order of his own requests. While somebody else waits, nobody gets more than half of the places.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_Request = asyncio.Future[None]


class Turns:
    """`places` uses at a time.

    Args:
        each_max: how many one user may have at a time even if nobody else wants one; None: all.
    """

    def __init__(self, places: int, *, each_max: int | None = None) -> None:
        self._free = places
        self._each_max: Final = places if each_max is None else each_max
        self._share: Final = min(self._each_max, max(1, places // 2))
        self._held: dict[str, int] = {}
        self._waiting: dict[str, deque[_Request]] = {}
        """Users who wait, in the order of their turns."""
        self._idle: dict[asyncio.Event, str] = {}
        """Whoever holds a place without using it just now, and what tells him that it is wanted."""

    def waiting(self, key: str) -> int:
        """How many requests of a user wait."""
        return len(self._waiting.get(key, ()))

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether whoever asks now has to wait."""
        return not self._free or self.wanted

    @asynccontextmanager
    async def place(self, key: str) -> AsyncIterator[None]:
        """Hold a place for as long as the block runs; waits for it without limit."""
        await self.acquire(key)
        try:
            yield
        finally:
            self.release(key)

    def take_now(self, key: str) -> bool:
        """Take a place if that needs no waiting; False when it does."""
        if self._free and not self._waiting and self._held.get(key, 0) < self._each_max:
            self._take(key)
            return True
        return False

    async def acquire(self, key: str) -> None:
        """Take a place. Whoever is cancelled while waiting has none."""
        if self.take_now(key):
            return
        request: _Request = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(request)
        self._serve()
        if not request.done():
            self._call_in()
        try:
            await request
        except asyncio.CancelledError:
            self._withdraw(key, request)
            raise

    def release(self, key: str) -> None:
        """Give a place back."""
        held = self._held[key] - 1
        if held:
            self._held[key] = held
        else:
            del self._held[key]
        self._free += 1
        if self._waiting:
            self._serve()

    def idle(self, key: str, wanted: asyncio.Event) -> None:
        """Say that a place of `key` is not used now; `wanted` is set as soon as somebody waits for one."""
        if self._waiting:
            wanted.set()
        else:
            self._idle[wanted] = key

    def busy(self, wanted: asyncio.Event) -> None:
        """Say that the place is used again, or about to be given back."""
        self._idle.pop(wanted, None)

    def over_share(self, key: str) -> bool:
        """Whether `key` holds more than half of the places while another one waits."""
        return self._held.get(key, 0) > self._share and any(other != key for other in self._waiting)

    def _take(self, key: str) -> None:
        self._free -= 1
        self._held[key] = self._held.get(key, 0) + 1

    def _serve(self) -> None:
        """Give out what is free to those whose turn it is."""
        while self._free and (key := self._next()) is not None:
            requests = self._waiting.pop(key)
            request = requests.popleft()
            if requests:
                self._waiting[key] = requests  # at the end: the others have their turn first
            if request.cancelled():
                continue  # whoever waited for it does not know yet, and withdraws in a moment
            self._take(key)
            request.set_result(None)

    def _call_in(self) -> None:
        """Ask for one idle place, of the user who holds most."""
        if self._idle:
            wanted = max(self._idle, key=lambda one: self._held[self._idle[one]])
            del self._idle[wanted]
            wanted.set()

    def _next(self) -> str | None:
        most = self._each_max if len(self._waiting) == 1 else self._share
        return next((key for key in self._waiting if self._held.get(key, 0) < most), None)

    def _withdraw(self, key: str, request: _Request) -> None:
        if not request.cancelled():
            self.release(key)  # it was given just before
            return
        requests = self._waiting.get(key)
        if requests is None or request not in requests:
            return  # passed over already
        requests.remove(request)
        if not requests:
            del self._waiting[key]
            self._serve()  # who was kept to his share may be alone now
