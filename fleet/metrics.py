"""What the plane counts of itself; docs/fleet.md 8 lists the series."""

from bisect import bisect_left
from collections import Counter
from typing import Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets that requests are counted in, by how long they took."""


class Metrics:
    """Counters of one instance, since its start."""

    def __init__(self) -> None:
        self.http_requests: Counter[tuple[str, int]] = Counter()
        """By route template, `-` for a path that there is not, and status."""
        self.http_seconds: Final = [0] * (len(SECONDS) + 1)
        """Requests by how long they took: a bucket per bound, and one beyond the last."""
        self.http_seconds_sum = 0.0
        self.heartbeats = 0
        """Good ones, repeated ones left out."""
        self.webhook_attempts: Counter[str] = Counter()
        """By outcome."""

    def http_answered(self, route: str, status: int, took_s: float) -> None:
        """Count a request."""
        self.http_requests[route, status] += 1
        self.http_seconds[bisect_left(SECONDS, took_s)] += 1
        self.http_seconds_sum += took_s
