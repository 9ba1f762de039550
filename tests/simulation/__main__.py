"""`make simulate`: play seeds, print those that fail; replay one with all that happens."""

import argparse
import hashlib
import os
import signal
import sys
import time
from collections import Counter
from typing import Final

from tests.simulation.cluster.mutants import MUTANTS as CLUSTER_MUTANTS
from tests.simulation.federation.mutants import MUTANTS as FEDERATED_MUTANTS
from tests.simulation.mutants import MUTANTS
from tests.simulation.rules import Rule
from tests.simulation.runs import HASH_SEED, Kind, run_seeds
from tests.simulation.world import Outcome

PROGRESS_S: Final = 1.0
PROGRESS_S_WITHOUT_TERMINAL: Final = 30.0
VIOLATIONS_SHOWN: Final = 5
INTERRUPTED: Final = 130
"""The status that shells give a command ended by Ctrl-C."""


def main() -> int:
    """Return 0 when no rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one alone, and print every event")
    parser.add_argument("--rules", default="", help="look at these alone, by name, with commas between them")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    parser.add_argument("--processes", type=int, default=0, help="how many at once; one per core by default")
    parser.add_argument("--federation", action="store_true", help="two servers and the wire between them")
    parser.add_argument("--cluster", action="store_true", help="several nodes on one database, and a bus")
    mutants = [*MUTANTS, *FEDERATED_MUTANTS, *CLUSTER_MUTANTS]
    parser.add_argument("--mutant", default="", choices=mutants, help="put an old fault back")
    options = parser.parse_args()
    # A shell starts what runs in its background with Ctrl-C ignored; then only this can be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if options.federation and options.mutant in MUTANTS:
        parser.error(f"{options.mutant} is a fault of one server")
    if options.cluster and options.mutant and options.mutant not in CLUSTER_MUTANTS:
        parser.error(f"{options.mutant} is no fault of a cluster")
    kind = Kind(
        options.federation or options.mutant in FEDERATED_MUTANTS,
        options.cluster or options.mutant in CLUSTER_MUTANTS,
        options.mutant,
    )
    rules = frozenset(Rule(name) for name in options.rules.split(",") if name) or kind.broken
    if options.seed is not None:
        return replay(options.seed, rules, kind)
    seeds = range(options.first, options.first + options.seeds)
    tally = Tally(len(seeds), kind)
    try:
        print(f"seeds {seeds.start} to {seeds.stop - 1}", flush=True)
        for outcome in run_seeds(seeds, rules, kind=kind, processes=options.processes):
            tally.add(outcome)
            if outcome.violations and not options.keep_going:
                break
    except KeyboardInterrupt:
        tally.finish()
        return INTERRUPTED
    tally.finish()
    return 1 if tally.failed else 0


def replay(seed: int, rules: frozenset[Rule], kind: Kind) -> int:
    """Play one seed and print what happens."""
    outcome = kind.play(seed, rules, print)
    for violation in outcome.violations:
        print(violation)
    print(f"seed {seed}: digest {outcome.digest}, {len(outcome.violations)} violations")
    return 1 if outcome.violations else 0


class Tally:
    """Counts outcomes, tells of those that failed, and of how far it has got."""

    def __init__(self, seeds: int, kind: Kind) -> None:
        self.failed = 0
        self._seeds = seeds
        self._kind = kind
        self._done = self._requests = 0
        self._broken: Counter[str] = Counter()
        self._digest = hashlib.blake2b(digest_size=16)
        self._terminal = sys.stderr.isatty()
        self._started_s = self._told_s = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """One seed was played."""
        self._done += 1
        self._requests += outcome.requests
        self._digest.update(outcome.digest.encode())
        if outcome.violations:
            self._tell_failure(outcome)
        now_s = time.monotonic()
        if now_s - self._told_s >= (PROGRESS_S if self._terminal else PROGRESS_S_WITHOUT_TERMINAL):
            self._told_s = now_s
            self._tell_progress(now_s)

    def _tell_failure(self, outcome: Outcome) -> None:
        self.failed += 1
        self._broken.update({violation.rule for violation in outcome.violations})
        kind = " ARGS=--federation" if self._kind.federation else ""
        kind = " ARGS=--cluster" if self._kind.cluster else kind
        if self._kind.mutant:
            kind = f" ARGS='--mutant {self._kind.mutant}'"
        print(f"seed {outcome.seed} fails; this replays it: make simulate SEED={outcome.seed}{kind}")
        for violation in outcome.violations[:VIOLATIONS_SHOWN]:
            print(f"    {violation}")
        sys.stdout.flush()

    def _tell_progress(self, now_s: float) -> None:
        rate = self._done / (now_s - self._started_s)
        text = f"{self._done} of {self._seeds} seeds, {self.failed} failed, {rate:.0f} a second"
        print(text, end="\r" if self._terminal else "\n", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Print what it came to. The digest is the same whenever the same seeds are played."""
        took_s = time.monotonic() - self._started_s
        print(
            f"{self._done} seeds, {self._requests} requests, {self.failed} failed, {took_s:.1f} s, "
            f"digest {self._digest.hexdigest()}"
        )
        for rule, count in self._broken.most_common():
            print(f"    {rule}: {count} seeds")


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": HASH_SEED})
    sys.exit(main())
