"""Faults between nodes."""

from typing import Final

from tests.simulation.cluster.parts import ClusterParts
from tests.simulation.mutants import Mutant

MUTANTS: Final[dict[str, Mutant[ClusterParts]]] = {}
