"""Finds the names in an expression of Prometheus' language: enough of it for those that are written here."""

import re
from typing import Final, NamedTuple

_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^{}]*)\}")
_GROUPING: Final = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_RANGE: Final = re.compile(r"\[[^\]]*\]")
_WORD: Final = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()")
_OPERATORS: Final = frozenset({"and", "or", "unless", "offset", "bool", "inf", "nan"})


class Names(NamedTuple):
    """What an expression asks for."""

    selected: list[tuple[str, frozenset[str]]]
    """Each series selected: its name, and the labels it is selected by."""
    grouped: frozenset[str]
    """Labels by which results are put together or compared."""

    @property
    def metrics(self) -> set[str]:
        """The names of all series."""
        return {name for name, _ in self.selected}


def names_in(expression: str) -> Names:
    """The names of series and labels of one expression."""
    plain = _RANGE.sub("", _TEXT.sub("", expression))
    grouped = [label for _, labels in _GROUPING.findall(plain) for label in _split(labels)]
    plain = _GROUPING.sub(" ", plain)
    selected = [
        (name, frozenset(re.split(r"[=!]", part)[0].strip() for part in _split(labels)))
        for name, labels in _SELECTOR.findall(plain)
    ]
    rest = _SELECTOR.sub(" ", plain)
    bare = [word for word in _WORD.findall(rest) if word.lower() not in _OPERATORS]
    return Names([*selected, *((name, frozenset()) for name in bare)], frozenset(grouped))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
