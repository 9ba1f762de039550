"""Says once when lanes lose the database, once a minute that it is still away, and once when it is back."""

from collections.abc import Callable
from typing import Final

import structlog

from less_sync.storage.errors import StorageError

REMINDER_S: Final = 60.0

_log = structlog.get_logger(__name__)


class Outage:
    """What all lanes together know of the database: it is away from the first failure of any of them until
    none of those that failed is without a connection.

    Args:
        clock: seconds, never running backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._away: set[object] = set()
        self._began_s = 0.0
        self._told_s = 0.0

    def failed(self, lane: object, error: StorageError) -> None:
        """Note that an attempt of `lane` to connect has failed; called for each attempt."""
        now_s = self._clock()
        if not self._away:
            self._began_s = self._told_s = now_s
            _log.warning("push lanes cannot connect", reason=str(error))
        elif now_s - self._told_s >= REMINDER_S:
            self._told_s = now_s
            _log.warning("push lanes still cannot connect", reason=str(error), after_s=self._length_s(now_s))
        self._away.add(lane)

    def connected(self, lane: object) -> None:
        """Note that `lane` has a connection."""
        if lane in self._away:
            self._away.remove(lane)
            if not self._away:
                _log.warning("push lanes are connected again", after_s=self._length_s(self._clock()))

    def _length_s(self, now_s: float) -> float:
        return round(now_s - self._began_s, 1)
