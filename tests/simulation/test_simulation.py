"""Seeds that must hold, the same history in another process, and old faults that must be found.

Each is played by the command, in a process of its own: there the hash seed is fixed. Most are forked from one
that has imported everything.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.simulation.loop import SimulatedLoop
from tests.simulation.mutants import MUTANTS
from tests.simulation.prepared import play_prepared

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = (sys.executable, "-m", "tests.simulation")
SEEDS: Final = 100
ONCE_FAILED: Final = (1611, 1867)
"""Seeds that found a fault of the server, beside those that find its mutants. They moved with the simulation;
what they found is told in the commits that mended it."""


def simulate(*options: object, fresh: bool = False) -> tuple[int, str]:
    """Run the command on one core, in a new interpreter if asked to; return its status and what it said."""
    arguments = ["--processes", "1", *(str(option) for option in options)]
    if not fresh:
        return play_prepared(arguments)
    done = subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def digest(said: str) -> str:
    found = re.search(r"digest (\w{32})", said)
    assert found is not None, said
    return found[1]


def test_the_server_keeps_its_promises_in_every_seed() -> None:
    status, said = simulate("--seeds", SEEDS)
    assert status == 0, said
    assert f"{SEEDS} seeds" in said
    assert " 0 failed" in said


@pytest.mark.parametrize("seed", sorted({*ONCE_FAILED, *(one.first_seed for one in MUTANTS.values())}))
def test_a_seed_that_failed_once_holds_now(seed: int) -> None:
    status, said = simulate("--first", seed, "--seeds", 1)
    assert status == 0, said


@pytest.mark.parametrize("name", MUTANTS)
def test_a_fault_that_is_put_back_is_found_within_2000_seeds(name: str) -> None:
    """The search begins shortly before the seed that found it last."""
    first = max(0, MUTANTS[name].first_seed - 2)
    status, said = simulate("--mutant", name, "--first", first, "--seeds", 2000 - first)
    assert status == 1, said
    assert re.search(r"seed \d+ fails; this replays it: make simulate SEED=\d+ ARGS='--mutant ", said)
    for rule in MUTANTS[name].rules:
        assert re.search(rf"^    {rule}: 1 seeds$", said, re.MULTILINE), said


def test_the_same_seeds_are_the_same_histories_in_another_process() -> None:
    options = ("--first", 1000, "--seeds", 12)
    first, second = (digest(simulate(*options, fresh=fresh)[1]) for fresh in (True, False))
    assert first == second
    assert digest(simulate("--first", 1001, "--seeds", 12)[1]) != first
    status, said = simulate("--seed", 1003)
    assert status == 0
    assert digest(said) == digest(simulate("--seed", 1003, fresh=True)[1])


def test_tasks_of_a_set_are_cancelled_in_the_same_order_in_every_process() -> None:
    """The order of their addresses differed between two processes, once in a dozen."""
    loop = SimulatedLoop(
        Random(0), callback_s_max=1e-5, steps_max=1000, on_outside=lambda at_s, label: None, on_fault=print
    )
    cancelled: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    async def fail() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(wait(number))
            await asyncio.sleep(0)
            raise ZeroDivisionError

    task = loop.create_task(fail())
    loop.run_until_idle(1.0)
    assert isinstance(task.exception(), ExceptionGroup)
    assert cancelled == list(range(50))
    loop.close()


def test_an_interrupted_search_says_what_it_has_played() -> None:
    with subprocess.Popen(
        [*COMMAND, "--seeds", "1000000", "--processes", "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "seeds 0 to 999999\n"
        running.send_signal(signal.SIGINT)
        said, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "seeds, " in said
    assert "Traceback" not in told
