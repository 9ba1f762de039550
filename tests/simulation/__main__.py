"""`python -m tests.simulation`: play seeds, print those that fail; replay one with all that happens."""

import argparse
import os
import sys
import time
from collections import Counter

from tests.simulation.rules import ALL, Rule
from tests.simulation.runs import HASH_SEED, run_seeds
from tests.simulation.world import World


def main() -> int:
    """Return 0 when no rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one alone, and print every event")
    parser.add_argument("--rules", default="", help="look at these alone, by name, with commas between them")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    options = parser.parse_args()
    rules = frozenset(Rule(name) for name in options.rules.split(",") if name) or ALL
    if options.seed is not None:
        return replay(options.seed, rules)
    return play(range(options.first, options.first + options.seeds), rules, keep_going=options.keep_going)


def replay(seed: int, rules: frozenset[Rule]) -> int:
    """Play one seed and print what happens."""
    outcome = World(seed, rules=rules, trace=print).run()
    for violation in outcome.violations:
        print(violation)
    print(f"seed {seed}: digest {outcome.digest}, {len(outcome.violations)} violations")
    return 1 if outcome.violations else 0


def play(seeds: range, rules: frozenset[Rule], *, keep_going: bool) -> int:
    """Play seeds until one fails, or all of them."""
    started_s = time.monotonic()
    failed = requests = done = 0
    broken: Counter[str] = Counter()
    for outcome in run_seeds(seeds, rules):
        done += 1
        requests += outcome.requests
        if not outcome.violations:
            continue
        failed += 1
        broken.update({violation.rule for violation in outcome.violations})
        print(f"seed {outcome.seed} fails; replay it with --seed {outcome.seed}")
        for violation in outcome.violations[:5]:
            print(f"    {violation}")
        if not keep_going:
            break
    took_s = time.monotonic() - started_s
    print(f"{done} seeds, {requests} requests, {failed} failed, {took_s:.1f} s")
    for rule, count in broken.most_common():
        print(f"    {rule}: {count} seeds")
    return 1 if failed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": HASH_SEED})
    sys.exit(main())
