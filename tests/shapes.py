"""In what shape a server is tested: as one process, as two nodes of one cluster, or as two workers.

Tests are written for one process. `make test-cluster` runs those about what clients tell each other in the other
shapes too: `--shapes nodes,workers`. A test marked `in_process` looks inside the server, so it has no workers.
"""

from enum import StrEnum


class Shape(StrEnum):
    """What `tests.live.live_server` starts."""

    ONE = "one"
    NODES = "nodes"
    """Two servers in this process, on one database and one bus; clients go to them by turns."""
    WORKERS = "workers"
    """`less-sync serve --workers 2` as it is started by operators; the kernel chooses who gets a client."""


class InForce:
    """The shape of the test that runs."""

    shape = Shape.ONE
