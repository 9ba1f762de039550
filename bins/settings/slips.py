"""Names of variables that look like a slip of the pen: nobody reads them, and their operator believes so."""

from collections.abc import Collection, Iterable
from typing import Final

LIMIT_PREFIX: Final = "LIMIT_"
WARNINGS_MAX: Final = 20
"""So that a strange environment cannot fill the log."""
_NAME_CHARS_MAX: Final = 80


def slips(names: Iterable[str], known: Collection[str]) -> list[str]:
    """A warning for each of `names` that is not `known`, but one letter from it or called like a limit."""
    warnings = []
    known_in_order = sorted(known)
    for name in sorted(names):
        if name in known or len(name) > _NAME_CHARS_MAX:
            continue
        near = next((one for one in known_in_order if one_slip_apart(name, one)), None)
        if near is not None:
            warnings.append(f"unknown variable {name} is ignored: {near} is the nearest setting")
        elif name.startswith(LIMIT_PREFIX):
            warnings.append(f"unknown variable {name} is ignored: there is no limit of this name")
        if len(warnings) == WARNINGS_MAX:
            break
    return warnings


def one_slip_apart(one: str, other: str) -> bool:
    """Whether a single letter was dropped, added or exchanged, or two neighbours swapped.

    That is a Damerau-Levenshtein distance of 1, found in one walk along both.
    """
    if abs(len(one) - len(other)) > 1:
        return False
    if len(one) > len(other):
        one, other = other, one
    pairs = enumerate(zip(one, other, strict=False))
    at = next((i for i, (mine, theirs) in pairs if mine != theirs), len(one))  # where they part
    if len(one) < len(other):
        return one[at:] == other[at + 1 :]
    swapped = one[at + 1 : at + 2] + one[at : at + 1] + one[at + 2 :]
    return one != other and (one[at + 1 :] == other[at + 1 :] or swapped == other[at:])
