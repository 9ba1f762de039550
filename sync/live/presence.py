"""Who is present in which space: what each connection shows, until it leaves or falls silent
(docs/protocol.md 8.2).

Nothing here is stored, and nobody is named: others see a pseudonym, which is the same for one connection
in one space and tells nothing in another space or after a reconnect.

Entries are indexed three ways: by space, for those who arrive; by connection, for disconnects; and in order
of their last sign of life, for the sweep. A refresh moves its entry to the end of that order, which is sorted
without any sorting because the clock never goes back. So no operation looks at entries it does not return.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple
from uuid import UUID

from less_sync.sync.limits import Limits
from less_sync.sync.protocol.messages import PresenceEntry

SECRET_BYTES: Final = 32
SWEEP_MAX: Final = 1000
"""Entries that one sweep removes at most, so that thousands of broadcasts do not hold up the loop."""

_PSEUDONYM_BYTES: Final = 16


def pseudonym(secret: bytes, *, connection: str, space: str) -> str:
    """Name a connection in a space: 32 lower-case hex digits, the same for the same arguments.

    The first 16 bytes of HMAC-SHA256(secret, connection | 00 | space).
    """
    message = b"%b\x00%b" % (connection.encode(), space.encode())
    return hmac.digest(secret, message, hashlib.sha256)[:_PSEUDONYM_BYTES].hex()


class Departure(NamedTuple):
    """Somebody who is there no more; to be announced as `presence.leave`."""

    space: UUID
    peer: str
    """A pseudonym."""


class _Entry:
    """One connection in one space."""

    __slots__ = ("connection", "data", "last_seen_s", "peer", "space")

    def __init__(self, space: UUID, connection: str, peer: str, data: bytes, last_seen_s: float) -> None:
        self.space = space
        self.connection = connection
        self.peer = peer
        self.data = data
        self.last_seen_s = last_seen_s


class Presence:
    """The registry of one process. All methods run on the event loop and none awaits.

    Connections are named by any text unique to them while the process lives. Bounded per space by
    `presence_per_space`, and per connection by the spaces it may subscribe to.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        secret: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secret` keys the pseudonyms, 32 bytes, random unless given; `clock` tells monotonic seconds."""
        self._limits = limits or Limits()
        self._secret = secret or secrets.token_bytes(SECRET_BYTES)
        self._clock = clock
        self._spaces: dict[UUID, dict[str, _Entry]] = {}
        self._connections: dict[str, dict[UUID, _Entry]] = {}
        self._by_age: OrderedDict[_Entry, None] = OrderedDict()

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._by_age)

    def peer(self, space: UUID, connection: str) -> str:
        """The pseudonym of a connection in a space, present or not. Over the lower-case hyphenated form."""
        entry = self._connections.get(connection, {}).get(space)
        return entry.peer if entry else pseudonym(self._secret, connection=connection, space=str(space))

    def set(self, space: UUID, connection: str, data: bytes, *, elsewhere: int = 0) -> str | None:
        """Store or refresh an entry and return its pseudonym, to be announced either way.

        None when it is refused: `data` is too long, or the space is full and this connection new to it.

        Args:
            elsewhere: how many are present there at other nodes.
        """
        if len(data) > self._limits.presence_bytes:
            return None
        present = self._spaces.get(space, {})
        entry = present.get(connection)
        if entry is not None:
            entry.data = data
            entry.last_seen_s = self._clock()
            self._by_age.move_to_end(entry)
            return entry.peer
        if len(present) + elsewhere >= self._limits.presence_per_space:
            return None
        entry = _Entry(space, connection, self.peer(space, connection), data, self._clock())
        self._spaces.setdefault(space, {})[connection] = entry
        self._connections.setdefault(connection, {})[space] = entry
        self._by_age[entry] = None
        return entry.peer

    def clear(self, space: UUID, connection: str) -> str | None:
        """Remove an entry and return its pseudonym; None when there was none."""
        entry = self._connections.get(connection, {}).get(space)
        if entry is None:
            return None
        self._remove(entry)
        return entry.peer

    def drop(self, connection: str) -> list[Departure]:
        """Remove a connection from wherever it is present; by ascending space id."""
        entries = self._connections.get(connection, {}).values()
        departed = sorted(entries, key=lambda entry: entry.space)
        for entry in departed:
            self._remove(entry)
        return [Departure(entry.space, entry.peer) for entry in departed]

    def others(self, space: UUID, connection: str) -> list[PresenceEntry]:
        """Who is present in a space, but for the connection that asks."""
        entries = self._spaces.get(space, {}).values()
        return [PresenceEntry(entry.peer, entry.data) for entry in entries if entry.connection != connection]

    def everybody(self, space: UUID) -> list[PresenceEntry]:
        """Who is present in a space."""
        return [PresenceEntry(entry.peer, entry.data) for entry in self._spaces.get(space, {}).values()]

    def anybody(self, space: UUID) -> bool:
        """Whether anybody is."""
        return space in self._spaces

    def sweep(self, *, removed_max: int = SWEEP_MAX) -> list[Departure]:
        """Remove entries without a sign of life for longer than `presence_stale_s`, the oldest first.

        At most `removed_max`; when that many come back there may be more. To be announced before the next
        await, so that a fresh `presence.set` cannot be overtaken by the departure of its predecessor.
        """
        oldest_alive_s = self._clock() - self._limits.presence_stale_s
        departed: list[Departure] = []
        while self._by_age and len(departed) < removed_max:
            entry = next(iter(self._by_age))
            if entry.last_seen_s >= oldest_alive_s:
                break
            self._remove(entry)
            departed.append(Departure(entry.space, entry.peer))
        return departed

    def _remove(self, entry: _Entry) -> None:
        """Take an entry out of every index, and an index key that holds nothing any more with it."""
        present = self._spaces[entry.space]
        del present[entry.connection]
        if not present:
            del self._spaces[entry.space]
        own = self._connections[entry.connection]
        del own[entry.space]
        if not own:
            del self._connections[entry.connection]
        del self._by_age[entry]
