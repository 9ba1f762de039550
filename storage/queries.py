"""Named SQL: files of queries, one file per domain; this room's, `sql/<domain>.sql`, are loaded once.

A file is a sequence of queries; each begins with a line `-- name: <name>`, followed by comment lines that
describe it. Names are unique over all files. Tests prepare every query on the migrated schema.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HEAD: Final = "-- name:"


@dataclass(frozen=True, slots=True)
class Query:
    """One statement: what it is called, what it is for, and its text without comments at its head."""

    name: str
    description: str
    text: str


def _parse(source: str) -> Iterator[Query]:
    for part in source.split(_HEAD)[1:]:
        name, _, rest = part.partition("\n")
        lines = rest.strip().splitlines()
        body = next(index for index, line in enumerate(lines) if not line.startswith("--"))
        description = " ".join(line.removeprefix("--").strip() for line in lines[:body])
        yield Query(name.strip(), description, "\n".join(lines[body:]).rstrip(";\n"))


def load_queries(folder: Path) -> dict[str, Query]:
    """All queries of the `.sql` files of a folder, by name.

    Raises:
        RuntimeError: two have one name.
    """
    queries: dict[str, Query] = {}
    for file in sorted(folder.iterdir()):
        if not file.name.endswith(".sql"):
            continue
        for query in _parse(file.read_text(encoding="utf-8")):
            if query.name in queries:
                raise RuntimeError(f"query {query.name} is defined twice")
            queries[query.name] = query
    return queries


QUERIES: Final = load_queries(Path(__file__).with_name("sql"))
"""Every named query of the room."""


def sql(name: str) -> str:
    """Return the text of a named query; KeyError when there is none."""
    return QUERIES[name].text
