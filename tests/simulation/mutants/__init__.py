"""Old behaviour of the server, put back one fault at a time, to prove that the simulation finds it.

Each module holds one: the code that was there before, as far as it fits what is there now, as subclasses
that a `World` is given in place of the server's own.

    make simulate SEEDS=2000 ARGS='--mutant lost_wakeup'

| Mutant             | What it does                                                        | First seed |
|--------------------|---------------------------------------------------------------------|------------|
| `lost_wakeup`      | a long answer asked for in the wrong moment is never begun          | 59         |
| `cut_announcement` | a hang-up after the commit of an append loses its announcement      | 50         |
| `cut_revocation`   | a hang-up after a revocation: the revoked one goes on hearing       | 164        |
| `cut_slot`         | a hang-up leaves a rate slot taken, or gives one back, that differs | 3          |
| `mortal_lane`      | a lane dies of an unknown status, later pushes are never answered   | 5          |
| `unordered`        | notifications are overtaken by those of a later cursor              | 13         |
| `patched_file`     | a lost content is replaced before its row, which has the old key    | 16         |
| `hasty_removal`    | a content is removed though it was uploaded again meanwhile         | 1321       |
| `closed_at_once`   | the lifetime close drops replies of written pushes                  | 330        |
| `abrupt_drain`     | a drain drops replies of written pushes                             | 598        |
| `endless_drain`    | a drain that was taken back goes on closing                         | 99         |

A change of the server moves the first seeds, because it moves who runs when. A search that takes long in the
tests is no fault, but wants its new first seed here.
"""

from typing import Final, Generic, NamedTuple, TypeVar

from tests.simulation.mutants import (
    abrupt_drain,
    closed_at_once,
    cut_in_two,
    endless_drain,
    heedless,
    lost_wakeup,
    mortal_lane,
    parted_files,
    unordered,
)
from tests.simulation.rules import Rule

P = TypeVar("P")


class Mutant(NamedTuple, Generic[P]):
    """One fault."""

    parts: P
    rules: frozenset[Rule]
    """Those that it breaks."""
    first_seed: int
    """The first one that shows it."""


MUTANTS: Final = {
    "lost_wakeup": Mutant(lost_wakeup.PARTS, frozenset({Rule.ANSWERS}), 59),
    "cut_announcement": Mutant(cut_in_two.PARTS, frozenset({Rule.ANNOUNCED}), 50),
    "cut_revocation": Mutant(cut_in_two.PARTS, frozenset({Rule.REVOKED}), 164),
    "cut_slot": Mutant(cut_in_two.PARTS, frozenset({Rule.RATES}), 3),
    "mortal_lane": Mutant(mortal_lane.PARTS, frozenset({Rule.ANSWERS}), 5),
    "unordered": Mutant(unordered.PARTS, frozenset({Rule.CURSORS}), 13),
    "patched_file": Mutant(parted_files.PATCHED, frozenset({Rule.FILES}), 16),
    "hasty_removal": Mutant(parted_files.HASTY, frozenset({Rule.FILES}), 1321),
    "heedless": Mutant(heedless.PARTS, frozenset({Rule.FILES}), 120),
    "closed_at_once": Mutant(closed_at_once.PARTS, frozenset({Rule.DRAINED}), 330),
    "abrupt_drain": Mutant(abrupt_drain.PARTS, frozenset({Rule.DRAINED}), 598),
    "endless_drain": Mutant(endless_drain.PARTS, frozenset({Rule.DRAINED}), 99),
}
