"""What was found a moment ago about spaces whose home is elsewhere, so that not every push reads it again."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from less_sync.storage import Space, SpaceStore
from less_sync.sync.access.grants import Access, Grant, Seen

LIFE_S: Final = 1.0
"""The home decides about each push anyway, and revocations are made there: this is where to send it."""
LOOKS_MAX: Final = 4096
UCAN_CHARS_MAX: Final = 4096
"""Of a token that is remembered with what it grants."""


class Look(NamedTuple):
    """What a caller may do, and to what."""

    grant: Grant
    row: Space | None


class Looks:
    """By space and whose token for it, those used last.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], *, entries_max: int = LOOKS_MAX) -> None:
        self._clock = clock
        self._entries_max = entries_max
        self._recent_looks: OrderedDict[tuple[object, ...], tuple[float, Look]] = OrderedDict()
        self._reading: Counter[int] = Counter()
        """Reads under way, by space: what is asked meanwhile must not overtake what waits for them."""

    def recent(self, access: Access) -> Look | None:
        """What is known still; None when it must be read."""
        if self._reading and access.check_id().int in self._reading:
            return None
        found = self._recent_looks.get(access.wish)
        return None if found is None or self._clock() - found[0] > LIFE_S else found[1]

    async def look(self, access: Access, spaces: SpaceStore) -> Look:
        """Read the space and what is revoked there, and decide; remembered if the row names a home.

        Raises:
            RpcError: the caller may not.
            StorageError: the database could not be asked.
        """
        space, pairs = access.check_id(), access.pairs
        self._reading[space.int] += 1
        try:
            read = await spaces.read_spaces([space], pairs)
            row = read.spaces.get(space)
            look = Look(await access.grant(Seen(row, read.revoked, pairs)), row)
        finally:
            self._reading[space.int] -= 1
            if not self._reading[space.int]:
                del self._reading[space.int]
        if row is not None and row.home_server is not None and len(access.ucan) <= UCAN_CHARS_MAX:
            self._recent_looks[access.wish] = self._clock(), look
            self._recent_looks.move_to_end(access.wish)
            if len(self._recent_looks) > self._entries_max:
                self._recent_looks.popitem(last=False)
        return look
