"""On which line each key of a TOML document stands, for messages about it. Pure.

The parser of the standard library says what a document means and not where. This walks the same text once it
is known to be well-formed: headers, keys, and strings of several lines, in which no key can stand.
"""

import re
from collections.abc import Iterator
from typing import Final

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*(.*?)\s*\]\]?\s*(#.*)?$")
_KEY: Final = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_QUOTES: Final = ('"""', "'''")

Path = tuple[str | int, ...]


def key_lines(text: str) -> dict[Path, int]:
    """Lines from 1, by path: `("checks", 0, "id")`; of a table or an element of an array its header's."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in _lines_with_keys(text):
        header = _HEADER.match(line)
        if header is not None:
            names: Path = tuple(_names(header[2]))
            if header[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
                table = (*names, counts[names])
            else:
                table = _inside(names, counts)
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key is not None:
            lines.setdefault((*table, *_names(key[1])), number)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """That of a path, or of the nearest around it; 1 where there is none."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _inside(names: Path, counts: dict[Path, int]) -> Path:
    """A table below an element of an array is the last element's."""
    path: Path = ()
    for name in names:
        path = (*path, name)
        plain = tuple(one for one in path if isinstance(one, str))
        if plain in counts and plain != names:
            path = (*path, counts[plain])
    return path


def _names(text: str) -> Iterator[str]:
    for part in re.findall(r'"[^"]*"|\'[^\']*\'|[A-Za-z0-9_-]+', text):
        yield part.strip("\"'")


def _lines_with_keys(text: str) -> Iterator[tuple[int, str]]:
    """Lines that do not begin inside a string of several lines."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        began_inside = inside
        rest = line
        while rest:
            if inside:
                _, found, rest = rest.partition(inside)
                inside = inside if not found else ""
                continue
            places = [(rest.find(quote), quote) for quote in _QUOTES if quote in rest]
            if not places:
                break
            place, inside = min(places)
            rest = rest[place + 3 :]
        if not began_inside:
            yield number, line
