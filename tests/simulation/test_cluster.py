"""Seeds of a cluster that must hold, the same history in another process, and faults that must be found."""

import re
from typing import Final

import pytest

from tests.simulation.cluster.mutants import MUTANTS
from tests.simulation.test_simulation import digest, simulate

SEEDS: Final = 40


def test_nodes_keep_their_promises_in_every_seed() -> None:
    status, said = simulate("--cluster", "--seeds", SEEDS)
    assert status == 0, said
    assert f"{SEEDS} seeds" in said
    assert " 0 failed" in said


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_between_nodes_is_found_within_500_seeds(name: str) -> None:
    """The search begins shortly before the seed that found it last."""
    first = max(0, MUTANTS[name].first_seed - 2)
    status, said = simulate("--mutant", name, "--first", first, "--seeds", 500 - first)
    assert status == 1, said
    assert re.search(r"seed \d+ fails; this replays it: make simulate SEED=\d+ ARGS='--mutant ", said)
    for rule in MUTANTS[name].rules:
        assert re.search(rf"^    {rule}: 1 seeds$", said, re.MULTILINE), said


def test_the_same_seeds_of_a_cluster_are_the_same_histories_in_another_process() -> None:
    options = ("--cluster", "--first", 1000, "--seeds", 6)
    first, second = (digest(simulate(*options, fresh=fresh)[1]) for fresh in (True, False))
    assert first == second
    assert digest(simulate("--cluster", "--first", 1001, "--seeds", 6)[1]) != first
    status, said = simulate("--cluster", "--seed", 1003)
    assert status == 0
    assert digest(said) == digest(simulate("--cluster", "--seed", 1003, fresh=True)[1])


def test_a_fault_of_one_server_is_none_of_a_cluster() -> None:
    status, said = simulate("--cluster", "--mutant", "unordered")
    assert status == 2
    assert "unordered is no fault of a cluster" in said
