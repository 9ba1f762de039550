"""What the server can tell about its work: one canonical line per request, and counts for who listens.

Nothing is computed, and no line is built, while nobody wants to know: a line costs as much as a push.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import structlog

SLOW_S: Final = 1.0
"""A request that took longer is worth a line at INFO."""
OK: Final = "ok"
"""The outcome of a request that succeeded."""
INTERNAL: Final = "internal"
LINES_AT_ONCE: Final = 20
LINE_EVERY_S: Final = 1.0
"""Of requests that failed or were slow: clients repeat theirs as long as a database or a home is away."""

_log = structlog.get_logger("less_sync.requests")


class RequestDone(NamedTuple):
    """One answered request. No ids of people, and none of spaces."""

    method: str
    """Of the method table; never what a client sent."""
    code: str
    """`ok`, or the error code of the answer."""
    seconds: float
    spaces: int
    """How many spaces the request named."""
    answer_bytes: int
    """Of the response; chunks are not counted."""


class Recorder:
    """Takes note of what happened. Costs two comparisons a request until somebody listens.

    Args:
        verbose: every request has a line, at DEBUG; otherwise only those that failed for a fault of ours or
            took over a second, at INFO: twenty at once, then one a second, which says how many were left out
            before it.
        clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_left", "_left_at_s", "_listener", "_measures", "_suppressed", "_verbose")

    def __init__(self, *, verbose: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._verbose = verbose
        self._clock = clock
        self._left: float = LINES_AT_ONCE
        self._left_at_s = clock()
        self._suppressed = 0
        self._measures: dict[str, Callable[[], Mapping[str, int]]] = {}
        self._listener: Callable[[RequestDone], None] | None = None

    def be_verbose(self, verbose: bool) -> None:
        """Whether every request has a line from now on."""
        self._verbose = verbose

    def listen(self, listener: Callable[[RequestDone], None] | None) -> None:
        """Tell `listener` of every request from now on; None ends that. It must not raise or block."""
        self._listener = listener

    def measure(self, name: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Say how to find out what `name` stands at, by label. Nothing is read until `measured` is called."""
        self._measures[name] = read

    def measured(self) -> dict[str, Mapping[str, int]]:
        """What everything that can be measured stands at now, by name and label."""
        return {name: read() for name, read in self._measures.items()}

    def answered(self, method: str, code: str, seconds: float, spaces: int, answer_bytes: int) -> None:
        """A request was answered."""
        remarkable = code == INTERNAL or seconds > SLOW_S
        if not remarkable and not self._verbose and self._listener is None:
            return
        if self._verbose or (remarkable and self._may_tell()):
            write = _log.info if remarkable else _log.debug
            left_out = {"suppressed": self._suppressed} if self._suppressed else {}
            self._suppressed = 0
            write(
                "request",
                method=method,
                code=code,
                ms=round(seconds * 1000, 1),
                spaces=spaces,
                bytes=answer_bytes,
                **left_out,
            )
        if self._listener is not None:
            self._listener(RequestDone(method, code, seconds, spaces, answer_bytes))

    def _may_tell(self) -> bool:
        """Count one line at INFO; False, and counted as left out, when it is one too many."""
        now_s = self._clock()
        self._left = min(LINES_AT_ONCE, self._left + (now_s - self._left_at_s) / LINE_EVERY_S)
        self._left_at_s = now_s
        if self._left < 1:
            self._suppressed += 1
            return False
        self._left -= 1
        return True
