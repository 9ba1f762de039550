"""What a run of a cluster may take another implementation of: the place where mutants are handed in."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.cluster.bus import SimulatedBus
from tests.simulation.system import Services


def _as_they_are(services: Services) -> None:
    """The node's own services."""


@dataclass(frozen=True, slots=True)
class ClusterParts:
    """The nodes' own, unless others are named."""

    alter: Callable[[Services], None] = _as_they_are
    """Puts other services in place before anybody comes."""
    bus: type[SimulatedBus] = SimulatedBus
