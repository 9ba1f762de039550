"""Seeds of two servers that must hold, the same history in another process, and faults that must be found."""

import re
from typing import Final

import pytest

from tests.simulation.federation.mutants import MUTANTS
from tests.simulation.test_simulation import digest, simulate

SEEDS: Final = 40
ONCE_FAILED: Final = (11, 37, 78, 174, 209, 652, 802)
"""Seeds that found a fault of the servers; what they found stands in the commits that mended it."""


def test_two_servers_keep_their_promises_in_every_seed() -> None:
    status, said = simulate("--federation", "--seeds", SEEDS)
    assert status == 0, said
    assert f"{SEEDS} seeds" in said
    assert " 0 failed" in said


@pytest.mark.parametrize("seed", sorted({*ONCE_FAILED, *(one.first_seed for one in MUTANTS.values())}))
def test_a_seed_of_two_servers_that_failed_once_holds_now(seed: int) -> None:
    status, said = simulate("--federation", "--first", seed, "--seeds", 1)
    assert status == 0, said


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_between_two_servers_is_found_within_1000_seeds(name: str) -> None:
    """The search begins shortly before the seed that found it last."""
    first = max(0, MUTANTS[name].first_seed - 2)
    status, said = simulate("--mutant", name, "--first", first, "--seeds", 1000 - first)
    assert status == 1, said
    assert re.search(r"seed \d+ fails; this replays it: make simulate SEED=\d+ ARGS='--mutant ", said)
    for rule in MUTANTS[name].rules:
        assert re.search(rf"^    {rule}: 1 seeds$", said, re.MULTILINE), said


def test_the_same_seeds_of_two_servers_are_the_same_histories_in_another_process() -> None:
    options = ("--federation", "--first", 1000, "--seeds", 6)
    first, second = (digest(simulate(*options, fresh=fresh)[1]) for fresh in (True, False))
    assert first == second
    assert digest(simulate("--federation", "--first", 1001, "--seeds", 6)[1]) != first
    status, said = simulate("--federation", "--seed", 1003)
    assert status == 0
    assert digest(said) == digest(simulate("--federation", "--seed", 1003, fresh=True)[1])


def test_a_fault_of_one_server_is_none_of_two() -> None:
    status, said = simulate("--federation", "--mutant", "unordered")
    assert status == 2
    assert "unordered is a fault of one server" in said
