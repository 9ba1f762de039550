"""What is told of the bus and of other nodes: in metrics, at `/health`, to operators (docs/scaling.md 3)."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from less_sync.sync.metrics import Recorder

BUS: Final = "bus"
NEWS: Final = "news"
"""What `Recorder.measure` calls them."""
CONNECTED: Final = "connected"


class CountingBus(Protocol):
    """A bus that counts what goes over it."""

    @property
    def connected(self) -> bool:
        """Whether what is published now may arrive."""

    @property
    def subjects(self) -> int:
        """How many are listened to."""

    @property
    def published(self) -> int:
        """Messages handed to it since the start."""

    @property
    def received(self) -> int:
        """Messages that came from it."""

    @property
    def dropped(self) -> int:
        """Messages that were not sent."""

    @property
    def reconnects(self) -> int:
        """Connections after the first one."""


def measure_bus(recorder: Recorder, bus: CountingBus, news: Callable[[], Mapping[str, int]]) -> None:
    """Let the recorder tell of a bus from now on.

    Args:
        news: how many gaps were `filled`, commits `late`, spaces found `behind` by a comparison since the
            start, and how many other `nodes` give signs of life.
    """
    recorder.measure(BUS, lambda: _counts_of(bus))
    recorder.measure(NEWS, news)


def bus_connected(recorder: Recorder) -> bool | None:
    """Whether the bus is there; None where there is none to be."""
    counts = recorder.measured_of(BUS)
    return None if counts is None else bool(counts[CONNECTED])


def _counts_of(bus: CountingBus) -> Mapping[str, int]:
    return {
        CONNECTED: int(bus.connected),
        "disconnected": int(not bus.connected),
        "subjects": bus.subjects,
        "published": bus.published,
        "received": bus.received,
        "dropped": bus.dropped,
        "reconnects": bus.reconnects,
    }
