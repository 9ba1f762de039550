"""The log of refused tokens: which check failed, and nothing of the token."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from less_sync.auth import TokenCheck

LINES_AT_ONCE: Final = 5
LINE_EVERY_S: Final = 10.0

_log: Final = structlog.get_logger("less_sync.sign_in")


@dataclass(slots=True)
class _Lines:
    left: float
    at_s: float
    suppressed: int = 0


class RefusedTokens:
    """One INFO line for a refused token, within bounds: strangers send as many as they like.

    Each check has bounds of its own, so that garbage does not hide the tokens of an issuer that is set up
    wrong: five lines at once, then one each 10 s, which says how many were left out before it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._checks: dict[TokenCheck, _Lines] = {}

    def note(self, check: TokenCheck) -> None:
        """A token failed this check."""
        now_s = self._clock()
        lines = self._checks.get(check)
        if lines is None:
            lines = self._checks[check] = _Lines(LINES_AT_ONCE, now_s)
        lines.left = min(LINES_AT_ONCE, lines.left + (now_s - lines.at_s) / LINE_EVERY_S)
        lines.at_s = now_s
        if lines.left < 1:
            lines.suppressed += 1
            return
        lines.left -= 1
        _log.info("token refused", check=check.value, suppressed=lines.suppressed)
        lines.suppressed = 0
