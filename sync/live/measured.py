"""What is told of the bus and of other nodes: in metrics, at `/health`, to operators (docs/scaling.md 3)."""

from collections.abc import Mapping
from typing import Final, Protocol

from less_sync.sync.live.bus import Bus
from less_sync.sync.metrics import Recorder

BUS: Final = "bus"
NEWS: Final = "news"
"""What `Recorder.measure` calls them."""
CONNECTED: Final = "connected"


COUNTS: Final = ("subjects", "published", "received", "dropped", "reconnects")
"""Attributes of a bus that counts: subjects that are listened to; and since the start messages handed to it,
messages that came from it, those that were not sent, and connections after the first one."""


class Heard(Protocol):
    """A node among others: `Nodes`."""

    @property
    def bus(self) -> Bus:
        """What the others are heard by."""

    def counts(self) -> Mapping[str, int]:
        """How many gaps were `filled`, commits `late`, and spaces found `behind` by a comparison since the
        start, and how many other `nodes` give signs of life."""


def measure_nodes(recorder: Recorder, nodes: Heard) -> None:
    """Let the recorder tell of other nodes and the bus from now on. A bus that does not count tells only
    whether it is there."""
    recorder.measure(BUS, lambda: _counts_of(nodes.bus))
    recorder.measure(NEWS, nodes.counts)


def bus_connected(recorder: Recorder) -> bool | None:
    """Whether the bus is there; None where there is none to be."""
    counts = recorder.measured_of(BUS)
    return None if counts is None else bool(counts[CONNECTED])


def _counts_of(bus: Bus) -> Mapping[str, int]:
    return {
        CONNECTED: int(bus.connected),
        "disconnected": int(not bus.connected),
        **{name: getattr(bus, name) for name in COUNTS if hasattr(bus, name)},
    }
