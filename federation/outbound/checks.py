"""Which UCANs a home has accepted lately: it is not asked before each read (docs/federation.md 9.6)."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final, TypeVar
from uuid import UUID

K = TypeVar("K")

GOOD_S: Final = 300.0
"""How long an acceptance is believed; and how long, after something was revoked in a space, none is."""
ENTRIES_MAX: Final = 65_536


class Checks:
    """Bounded; the oldest are forgotten first, which asks the home once more.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._passed: OrderedDict[bytes, float] = OrderedDict()
        self._revoked: OrderedDict[UUID, float] = OrderedDict()

    def passed(self, space: UUID, ucan: str) -> None:
        """The home has accepted this UCAN for this space."""
        _put(self._passed, _key(space, ucan), self._clock())

    def revoked(self, space: UUID) -> None:
        """Something was revoked in this space: which UCAN, the home does not say."""
        _put(self._revoked, space, self._clock())

    def fresh(self, space: UUID, ucan: str) -> bool:
        """Whether the home need not be asked."""
        good_since_s = self._clock() - GOOD_S
        if self._revoked.get(space, good_since_s) > good_since_s:
            return False
        return self._passed.get(_key(space, ucan), good_since_s) > good_since_s


def _key(space: UUID, ucan: str) -> bytes:
    return sha256(space.bytes + ucan.encode("utf-8", "surrogatepass")).digest()


def _put(table: OrderedDict[K, float], key: K, at_s: float) -> None:
    table[key] = at_s
    table.move_to_end(key)
    if len(table) > ENTRIES_MAX:
        table.popitem(last=False)
