"""Which spaces this node hears of on the bus: those that somebody here listens to, or is being let into.

Who leaves often comes back, after a reconnect above all, so a space goes on being heard of for a while. One
that nobody was let into is left at once: whoever asks for ids at random makes nothing grow.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final
from uuid import UUID

from less_sync.sync.live.bus import Bus, subject_of

LISTENED_S: Final = 30.0
"""How long a node goes on hearing of a space to which nobody listens any more."""
LISTENED_SPACES_MAX: Final = 10_000
"""Such spaces at most; then those that were left first are left for good."""


class Interest:
    """One space that this node hears of."""

    __slots__ = (
        "confirmed",
        "is_recheck_due",
        "opened_at",
        "people",
        "revocations",
        "space",
        "text",
        "told",
    )

    def __init__(self, space: UUID) -> None:
        self.space = space
        self.text = str(space)
        """The usual spelling: made once, for all that is heard."""
        self.confirmed = -1
        """The connection to the bus on which it is surely heard of, by its number."""
        self.opened_at: int | None = None
        """The highest cursor from which on anybody was told since nobody was being let in; None while nobody
        listens."""
        self.people = False
        """Whether others were asked who is there."""
        self.revocations: int | None = None
        """How many there are, as of the last comparison; None: not known yet."""
        self.is_recheck_due = False
        """Somebody was being let in while the number rose: he may rest on what was revoked."""
        self.told: set[str] | None = None
        """CIDs whose revocation was told since the last comparison."""


class Interests:
    """All of them, and those nobody needs any more. `ended` is told of each that is left."""

    def __init__(
        self,
        bus: Bus,
        ended: Callable[[UUID, Interest], None],
        *,
        listened_s: float = LISTENED_S,
        listened_spaces_max: int = LISTENED_SPACES_MAX,
    ) -> None:
        self._bus = bus
        self._ended = ended
        self._listened_s = listened_s
        self._listened_spaces_max = listened_spaces_max
        self._spaces: dict[bytes, Interest] = {}
        """By the 16 bytes of its id, as messages name it: a UUID is made, and hashes, in Python each time."""
        self._lingering: OrderedDict[UUID, float] = OrderedDict()
        self.connection = 0
        """How often the bus came back."""

    def __len__(self) -> int:
        return len(self._spaces)

    def get(self, space: UUID) -> Interest | None:
        """What is known of a space that this node hears of."""
        return self._spaces.get(space.bytes)

    def named(self, space: bytes) -> Interest | None:
        """As `get`, by the 16 bytes of its id."""
        return self._spaces.get(space)

    def all(self) -> list[Interest]:
        """Every one of now."""
        return list(self._spaces.values())

    def begin(self, space: UUID) -> Interest:
        """Hear of a space from now on, or go on with it."""
        interest = self._spaces.get(space.bytes)
        if interest is None:
            interest = self._spaces[space.bytes] = Interest(space)
            self._bus.listen(subject_of(space))
        elif self._lingering:
            self._lingering.pop(space, None)
        return interest

    async def confirmed(self, spaces: Collection[UUID]) -> None:
        """Return once all of them are surely heard of, or when the bus has had its time."""
        connection = self.connection
        unsure = [one for space in spaces if (one := self.get(space)) and one.confirmed < connection]
        if unsure and self._bus.connected and await self._bus.confirmed():
            for one in unsure:
                one.confirmed = connection

    def idle(self, space: UUID) -> None:
        """Nobody listens to a space any more, or is being let in."""
        interest = self.get(space)
        if interest is None:
            return
        if interest.opened_at is None:
            self.end(space)
            return
        interest.opened_at = None
        self._lingering[space] = asyncio.get_running_loop().time() + self._listened_s
        if len(self._lingering) > self._listened_spaces_max:
            self.end(next(iter(self._lingering)))

    def leave_old(self) -> None:
        """Leave those whose time is over."""
        now_s = asyncio.get_running_loop().time()
        while self._lingering:
            space, until_s = next(iter(self._lingering.items()))
            if until_s > now_s:
                return
            self.end(space)

    def end(self, space: UUID) -> None:
        """Hear of a space no more."""
        interest = self._spaces.pop(space.bytes, None)
        self._lingering.pop(space, None)
        if interest is not None:
            self._bus.leave(subject_of(space))
            self._ended(space, interest)
