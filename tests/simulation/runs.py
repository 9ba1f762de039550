"""Many seeds on all cores. A run of one seed is the same in every process that has the same hash seed."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from tests.simulation.rules import ALL, Rule
from tests.simulation.world import Outcome, World

SEEDS_PER_TASK: Final = 25
HASH_SEED: Final = "0"


def run_seed(seed: int, rules: frozenset[Rule] = ALL) -> Outcome:
    """Play one seed."""
    return World(seed, rules=rules).run()


def _run_some(seeds: range, rules: frozenset[Rule]) -> list[Outcome]:
    return [run_seed(seed, rules) for seed in seeds]


def run_seeds(seeds: range, rules: frozenset[Rule] = ALL, *, processes: int = 0) -> Iterator[Outcome]:
    """Play many, and yield their outcomes in order of seed.

    Args:
        processes: how many at once; 0 for one per core.
    """
    parts = [seeds[at : at + SEEDS_PER_TASK] for at in range(0, len(seeds), SEEDS_PER_TASK)]
    with ProcessPoolExecutor(processes or os.cpu_count(), mp_context=get_context("fork")) as pool:
        for outcomes in pool.map(_run_some, parts, [rules] * len(parts)):
            yield from outcomes
