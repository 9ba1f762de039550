"""What checks leave on a target, for the one that cleans up behind them (docs/validation.md 3.3).

Whoever makes something says so before it asks the server for it: should the answer be lost, the thing may be
there all the same. No secret and no key is kept, so the list may stand in a journal.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from less_sync.validation.context import Context, Run

Kind = Literal["space", "invitation", "grant"]


@dataclass(frozen=True, slots=True)
class Made:
    """One thing on one target."""

    kind: Kind
    person: str
    """Who can remove it: the root of the space, of a grant's space, or whose mailbox it is."""
    id: str
    """A UUID; of a grant its CID: the lower-case hex SHA-256 of the UCAN's text."""
    space: str = ""
    """Of a grant."""


def leave(context: "Context", made: Made) -> None:
    """Have it removed from the check's target when the run ends."""
    context.run.made.setdefault(context.check.target, []).append(made)


def made_at(run: "Run", target: str) -> list[Made]:
    """What was made there so far, each thing once, in order."""
    return list(dict.fromkeys(run.made.get(target, [])))
