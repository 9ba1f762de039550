"""What the server can tell about its work: one canonical line per request, and counts for who wants them.

Counts are plain numbers, added to where something happens and read when somebody asks: counting may not cost
a hundredth of what is counted. No line is built while nobody wants it: one costs as much as a push.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from less_sync.storage import Histogram
from less_sync.sync.growth import Growth
from less_sync.sync.protocol.codes import Close, CloseCode, ErrorCode

SLOW_S: Final = 1.0
"""A request that took longer is worth a line at INFO."""
OK: Final = "ok"
"""The outcome of a request that succeeded."""
INTERNAL: Final = "internal"
OTHER: Final = "other"
"""Stands for every method, route and code that a client, or another server, has made up."""
LINES_AT_ONCE: Final = 20
LINE_EVERY_S: Final = 1.0
"""Of requests that failed or were slow: clients repeat theirs as long as a database or a home is away."""
NAMES_MAX: Final = 256
"""Of one set of counts; what comes beyond is counted as `other`."""

CLIENT: Final = "client"
PEER: Final = "peer"
"""Kinds of connections: of clients, and of other servers."""

HUNG_UP: Final = "none"
"""In place of a close code: the other end closed, or the connection was lost or cut."""

_SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
_ERRORS: Final = (*map(str, ErrorCode), OTHER)
_log = structlog.get_logger("less_sync.requests")


class MethodCounts:
    """The answered requests of one method."""

    __slots__ = ("errors", "seconds")

    def __init__(self) -> None:
        self.errors = dict.fromkeys(_ERRORS, 0)
        """Those that failed, by error code; `other` is one that another server has made up."""
        self.seconds = Histogram(_SECONDS)
        """From when its params were decoded, time in queues included."""

    @property
    def codes(self) -> dict[str, int]:
        """All by outcome: `ok`, or as in `errors`."""
        return {OK: self.seconds.count - sum(self.errors.values()), **self.errors}


class FileCounts:
    """Contents of files that came or went."""

    __slots__ = ("size_bytes", "transfers")

    def __init__(self) -> None:
        self.transfers = 0
        """Those that came to their end."""
        self.size_bytes = 0
        """Of bodies, those that were cut short too."""

    def add(self, size_bytes: int, *, whole: bool) -> None:
        """Count one transfer, or what there was of it."""
        self.transfers += whole
        self.size_bytes += size_bytes


class ChoreCounts:
    """A periodic task of the server's own."""

    __slots__ = ("ended_s", "failures", "runs")

    def __init__(self) -> None:
        self.runs = 0
        """Those that came to their end, failed ones too."""
        self.failures = 0
        self.ended_s = 0.0
        """When the last one ended: monotonic seconds."""


class Recorder:
    """Takes note of what happened since the process started.

    Args:
        verbose: every request has a line, at DEBUG; otherwise only those that failed for a fault of ours or
            took over a second, at INFO: twenty at once, then one a second, which says how many were left out
            before it.
        clock: monotonic seconds.
    """

    __slots__ = (
        "_clock",
        "_left",
        "_left_at_s",
        "_measures",
        "_suppressed",
        "_verbose",
        "chores",
        "closes",
        "connections",
        "files_in",
        "files_out",
        "growth",
        "http",
        "methods",
        "notifications_dropped",
        "pull_rows",
        "refusals",
    )

    def __init__(self, *, verbose: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._verbose = verbose
        self._clock = clock
        self._left: float = LINES_AT_ONCE
        self._left_at_s = clock()
        self._suppressed = 0
        self._measures: dict[str, Callable[[], Mapping[str, int]]] = {}
        self.methods: dict[str, MethodCounts] = {}
        """By the name a method has in the table; `other` for those that are in none."""
        self.http: dict[tuple[str, ...], int] = {}
        """Answered HTTP requests by template of the route, and status; 101 for a WebSocket."""
        self.refusals: dict[str, int] = {}
        """Connections that were not let in, by why not."""
        self.closes: dict[str, int] = {}
        """Sessions that ended, by close code; `HUNG_UP` when this server sent none."""
        self.connections = dict.fromkeys((CLIENT, PEER), 0)
        """Sessions that are open and authenticated now, by kind."""
        self.notifications_dropped = 0
        """Frames that waited for a reader who was too slow, or ended before they were sent."""
        self.pull_rows = 0
        """Rows sent in answers to `pull`, from the database of this server."""
        self.files_in = FileCounts()
        self.files_out = FileCounts()
        self.chores: dict[str, ChoreCounts] = {}
        """By name; those that have run since the start."""
        self.growth: Growth | None = None
        """Which spaces are written to; None while nobody looks."""

    def be_verbose(self, verbose: bool) -> None:
        """Whether every request has a line from now on."""
        self._verbose = verbose

    def measure(self, name: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Say how to find out what `name` stands at, by label. Nothing is read until `measured` is called."""
        self._measures[name] = read

    def measured(self) -> dict[str, Mapping[str, int]]:
        """What everything that can be measured stands at now, by name and label."""
        return {name: read() for name, read in self._measures.items()}

    def measured_of(self, name: str) -> Mapping[str, int] | None:
        """What `name` alone stands at now; None if nobody measures it."""
        read = self._measures.get(name)
        return None if read is None else read()

    def answered(self, method: str, code: str, seconds: float, spaces: int, answer_bytes: int) -> None:
        """A request was answered.

        Args:
            method: of a method table, or `other`; never what a client sent.
            code: `ok`, or the error code of the answer, or what another server calls its own.
            spaces: how many the request named.
            answer_bytes: of the response; chunks are not counted.
        """
        counts = self.methods.get(method)
        if counts is None:
            counts = self.methods[method] = MethodCounts()
        if code != OK:
            counts.errors[code if code in counts.errors else OTHER] += 1
        counts.seconds.add(seconds)
        remarkable = code == INTERNAL or seconds > SLOW_S
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

    def http_answered(self, route: str, status: str) -> None:
        """An HTTP request was answered: by the template of its route (`other` if it has none), and how."""
        if (route, status) not in self.http and len(self.http) >= NAMES_MAX:
            route = status = OTHER
        self.http[route, status] = self.http.get((route, status), 0) + 1

    def upgrade_refused(self, status: int) -> None:
        """A request to become a WebSocket was answered otherwise."""
        _count(self.refusals, f"http_{status}")

    def session_admitted(self, kind: str) -> None:
        """Somebody is authenticated."""
        self.connections[kind] += 1

    def session_ended(self, kind: str | None, close: Close | None, dropped: int) -> None:
        """A session ended.

        Args:
            kind: as it was admitted; None when it was not.
            close: what it was told; None when the other end closed, or the connection was lost.
            dropped: frames that waited to be sent to it.
        """
        self.notifications_dropped += dropped
        if kind is not None:
            self.connections[kind] -= 1
        elif close is not None:
            _count(self.refusals, close.reason.replace(" ", "_"))
        _count(self.closes, HUNG_UP if close is None else str(int(close.code)))

    def chore_ended(self, name: str, *, failed: bool) -> None:
        """A periodic task has done its work once, or could not."""
        counts = self.chores.setdefault(name, ChoreCounts())
        counts.runs += 1
        counts.failures += failed
        counts.ended_s = self._clock()

    @property
    def slow_consumers(self) -> int:
        """How many sessions were closed because too many notifications waited for them."""
        return self.closes.get(str(int(CloseCode.SLOW_CONSUMER)), 0)

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


def _count(counts: dict[str, int], name: str) -> None:
    """Count one of a set whose names are few, and bounded by `NAMES_MAX` should somebody add to them."""
    if name not in counts and len(counts) >= NAMES_MAX:
        name = OTHER
    counts[name] = counts.get(name, 0) + 1
