"""Many seeds on all cores. A run of one seed is the same in every process that has the same hash seed."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Final

from tests.simulation.cluster.mutants import MUTANTS as CLUSTER_MUTANTS
from tests.simulation.cluster.world import ClusterWorld
from tests.simulation.federation.mutants import MUTANTS as FEDERATED_MUTANTS
from tests.simulation.federation.world import FederatedWorld
from tests.simulation.mutants import MUTANTS
from tests.simulation.rules import ALL, Rule
from tests.simulation.world import Outcome, World

SEEDS_PER_TASK: Final = 25
LARGE_SEEDS_PER_TASK: Final = 5
HASH_SEED: Final = "0"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is played, whatever the seed."""

    federation: bool = False
    """Two servers instead of one."""
    cluster: bool = False
    """Several nodes on one database, with a bus between them."""
    mutant: str = ""
    """Name of a fault to put in; of those of its kind of world."""

    def play(
        self, seed: int, rules: frozenset[Rule] = ALL, trace: Callable[[str], None] | None = None
    ) -> Outcome:
        """Play one seed. `trace` is told all that happens."""
        if self.cluster:
            clustered = CLUSTER_MUTANTS[self.mutant].parts if self.mutant else None
            return ClusterWorld(seed, rules=rules, trace=trace, parts=clustered).run()
        if self.federation:
            federated = FEDERATED_MUTANTS[self.mutant].parts if self.mutant else None
            return FederatedWorld(seed, rules=rules, trace=trace, parts=federated).run()
        parts = MUTANTS[self.mutant].parts if self.mutant else None
        return World(seed, rules=rules, trace=trace, parts=parts).run()

    @property
    def broken(self) -> frozenset[Rule]:
        """The rules that it breaks, if it has a fault; all that there are otherwise."""
        if not self.mutant:
            return ALL
        if self.cluster:
            return CLUSTER_MUTANTS[self.mutant].rules
        return (FEDERATED_MUTANTS if self.federation else MUTANTS)[self.mutant].rules


def _run_some(seeds: range, rules: frozenset[Rule], kind: Kind) -> list[Outcome]:
    return [kind.play(seed, rules) for seed in seeds]


def run_seeds(
    seeds: range, rules: frozenset[Rule] = ALL, *, kind: Kind, processes: int = 0
) -> Iterator[Outcome]:
    """Play many, and yield their outcomes in order of seed.

    Args:
        processes: how many at once; 0 for one per core, 1 for this one alone.
    """
    size = LARGE_SEEDS_PER_TASK if kind.federation or kind.cluster else SEEDS_PER_TASK
    parts = [seeds[at : at + size] for at in range(0, len(seeds), size)]
    run = partial(_run_some, rules=rules, kind=kind)
    if processes == 1:
        for seed in seeds:  # one by one: whoever stops at the first that fails plays no more
            yield kind.play(seed, rules)
        return
    pool = ProcessPoolExecutor(
        processes or os.cpu_count(), mp_context=get_context("fork"), initializer=_ignore_interrupts
    )
    try:
        for outcomes in pool.map(run, parts):
            yield from outcomes
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal: the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
