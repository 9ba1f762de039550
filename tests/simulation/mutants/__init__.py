"""Old behaviour of the server, put back one fault at a time, to prove that the simulation finds it.

Each module holds one: the code that was there before, as far as it fits what is there now, as subclasses
that a `World` is given in place of the server's own.

    make simulate SEEDS=2000 ARGS='--mutant lost_wakeup'
"""

from typing import Final, NamedTuple

from tests.simulation.mutants import closed_at_once, cut_in_two, lost_wakeup, mortal_lane, unordered
from tests.simulation.parts import Parts
from tests.simulation.rules import Rule


class Mutant(NamedTuple):
    """One fault."""

    parts: Parts
    rules: frozenset[Rule]
    """Those that it breaks."""
    first_seed: int
    """The first one that shows it."""


MUTANTS: Final = {
    "lost_wakeup": Mutant(lost_wakeup.PARTS, frozenset({Rule.ANSWERS}), 0),
    "cut_announcement": Mutant(cut_in_two.PARTS, frozenset({Rule.ANNOUNCED}), 0),
    "cut_revocation": Mutant(cut_in_two.PARTS, frozenset({Rule.REVOKED}), 0),
    "cut_slot": Mutant(cut_in_two.PARTS, frozenset({Rule.RATES}), 0),
    "mortal_lane": Mutant(mortal_lane.PARTS, frozenset({Rule.ANSWERS}), 0),
    "unordered": Mutant(unordered.PARTS, frozenset({Rule.CURSORS}), 0),
    "closed_at_once": Mutant(closed_at_once.PARTS, frozenset({Rule.DRAINED}), 0),
}
