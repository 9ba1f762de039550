"""Many seeds on all cores. A run of one seed is the same in every process that has the same hash seed."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Final

from tests.simulation.mutants import MUTANTS
from tests.simulation.parts import Parts
from tests.simulation.rules import ALL, Rule
from tests.simulation.world import Outcome, World

SEEDS_PER_TASK: Final = 25
HASH_SEED: Final = "0"


def parts_of(mutant: str) -> Parts | None:
    """What a run with the fault of that name put back is given; None for none."""
    return MUTANTS[mutant].parts if mutant else None


def _run_some(seeds: range, rules: frozenset[Rule], mutant: str) -> list[Outcome]:
    return [World(seed, rules=rules, parts=parts_of(mutant)).run() for seed in seeds]


def run_seeds(
    seeds: range, rules: frozenset[Rule] = ALL, *, mutant: str = "", processes: int = 0
) -> Iterator[Outcome]:
    """Play many, and yield their outcomes in order of seed.

    Args:
        mutant: name of a fault to put back.
        processes: how many at once; 0 for one per core, 1 for this one alone.
    """
    parts = [seeds[at : at + SEEDS_PER_TASK] for at in range(0, len(seeds), SEEDS_PER_TASK)]
    run = partial(_run_some, rules=rules, mutant=mutant)
    if processes == 1:
        for part in parts:
            yield from run(part)
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
