"""What the server counts for its metrics: plain integers, which cost a request next to nothing."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SECONDS_BUCKETS: Final = 24
"""Upper bounds of the buckets of durations: 0.0001 s times 2^k, and one more without a bound."""
_FIRST_BOUND_NS: Final = 100_000


class Durations:
    """How long something took, as a histogram."""

    __slots__ = ("buckets", "count", "sum_ns")

    def __init__(self) -> None:
        self.buckets = [0] * (SECONDS_BUCKETS + 1)
        """Not cumulative."""
        self.count = 0
        self.sum_ns = 0

    def add(self, took_ns: int) -> None:
        """One more of them."""
        self.count += 1
        self.sum_ns += took_ns
        bucket = ((took_ns - 1) // _FIRST_BOUND_NS).bit_length() if took_ns > 0 else 0
        self.buckets[min(bucket, SECONDS_BUCKETS)] += 1


class Counters:
    """All counts of a process. They only grow, but for what is called `running`."""

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        """By method (`INVALID` for unsupported ones) and status."""
        self.request_durations: defaultdict[str, Durations] = defaultdict(Durations)
        self.running: defaultdict[str, int] = defaultdict(int)
        """Requests under way, by method."""
        self.handlers: defaultdict[str, int] = defaultdict(int)
        """What befell requests, by the name that existing servers give it, for example `errorGetNotFound`."""
        self.read_failures = 0
        self.read_invalid_needles = 0
        self.write_failures = 0
        self.replications: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By operation (`write`, `delete`) and result (`success`, `failure`)."""
        self.replication_durations: defaultdict[str, Durations] = defaultdict(Durations)
        self.replication_failures: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By operation and reason."""
        self.replication_targets = 0
        """Replicas that the last replicated operation went to."""
        self.master_disconnections: defaultdict[str, int] = defaultdict(int)
        """By the master's address."""
        self.vacuums: defaultdict[tuple[str, bool], int] = defaultdict(int)
        """By phase (`compact`, `commit`) and success."""
        self.vacuum_durations: defaultdict[str, Durations] = defaultdict(Durations)
        """By phase (`compact`, `commit`)."""
        self.connections = 0
        """Open HTTP connections."""
        self.connections_refused = 0
        """Closed at once because too many were open."""
        self.heads_refused = 0
        """Requests that were answered 400 or 431 before anybody read them."""

    @contextmanager
    def vacuuming(self, phase: str) -> Iterator[None]:
        """Around a phase of a vacuum: count it, its time, and whether it came to its end."""
        began_ns, done = time.monotonic_ns(), False
        try:
            yield
            done = True
        finally:
            self.vacuums[phase, done] += 1
            self.vacuum_durations[phase].add(time.monotonic_ns() - began_ns)
