"""Keeps a copy below a number of bytes a second."""

import time
from collections.abc import Callable
from typing import Final

_LOOK_EVERY_S: Final = 0.1


class Pace:
    """Says how long to pause; the caller does it."""

    def __init__(self, bytes_per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`bytes_per_s`: 0 is no limit. `clock`: seconds that never go back."""
        self._bytes_per_s: Final = bytes_per_s
        self._clock: Final = clock
        self._bytes = 0
        self._since = clock()

    def pause_s(self, copied_bytes: int) -> float:
        """Seconds to pause after so many more bytes; 0 until a tenth of a second has passed."""
        self._bytes += copied_bytes
        now = self._clock()
        if not self._bytes_per_s or now - self._since < _LOOK_EVERY_S:
            return 0.0
        pause_s = max(0.0, self._bytes / self._bytes_per_s - (now - self._since))
        self._bytes, self._since = 0, now + pause_s
        return pause_s
