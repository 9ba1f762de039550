"""What each statement of `storage/sql` names of spaces, read from its text (docs/scaling.md 7.1).

A function of the schema is read from the migrations, so a statement that calls one touches what that touches.
`python -m tests.storage.sharding` writes the table of that section anew.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from less_sync.storage.queries import QUERIES, Query

ROOT: Final = Path(__file__).parents[2]
OF_SPACES: Final = ("spaces", "records", "members", "files", "revocations")
OTHERS: Final = ("invitations", "rate_limit_actions", "federation_signing_keys")
ONE, SEVERAL, NONE = "one", "several", "none"

_FUNCTION: Final = re.compile(
    r"CREATE (?:OR REPLACE )?FUNCTION (lsync_\w+)\s*\((.*?)\)\s*(?:RETURNS|LANGUAGE).*?AS \$\$(.*?)\$\$",
    re.DOTALL,
)
_CALL: Final = re.compile(r"(lsync_\w+)\s*\((.*?)(?:\)|$)", re.DOTALL)
_TABLE: Final = re.compile(
    rf"\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+({'|'.join(OF_SPACES + OTHERS)})\b(?:\s+(?:AS\s+)?([a-z]\w*)\b)?"
)
_NO_ALIAS: Final = frozenset({"set", "where", "tablesample", "on", "left", "join", "order"})


@dataclass(frozen=True, slots=True)
class Function:
    """One of the schema's."""

    parameters: tuple[str, ...]
    body: str


@dataclass(frozen=True, slots=True)
class Named:
    """What a statement is about."""

    query: str
    file: str
    spaces: str
    """`ONE`, `SEVERAL`, `NONE`."""
    tables: tuple[str, ...]


@cache
def functions() -> dict[str, Function]:
    """Those of the schema, as the last migration has them."""
    found = {}
    for path in sorted((ROOT / "migrations").glob("*.up.sql")):
        for name, parameters, body in _FUNCTION.findall(path.read_text()):
            given = parameters.split(" OUT ")[0].split("\n  OUT ")[0]
            names = [part.split()[0] for part in given.split(",") if part.strip()]
            found[name] = Function(tuple(names), re.sub(r"--.*", "", body))
    return found


def statements() -> Iterator[Named]:
    """All of them, by file and name."""
    for path in sorted((ROOT / "storage" / "sql").glob("*.sql")):
        for name in re.findall(r"^-- name: (\w+)$", path.read_text(), re.MULTILINE):
            query = QUERIES[name]
            yield Named(name, path.name, spaces_of(query), tables_of(query.text))


def tables_of(text: str) -> tuple[str, ...]:
    """The tables that a statement or a function touches, in the order of the schema."""
    touched = {table for table, _ in _TABLE.findall(text)}
    for name, _ in _CALL.findall(text):
        touched |= set(tables_of(functions()[name].body))
    return tuple(table for table in OF_SPACES + OTHERS if table in touched)


def spaces_of(query: Query) -> str:
    """How many spaces a statement is told: one by a parameter, several by an array, or none."""
    text = query.text
    columns = {"space_id", "sp", "space"} | {f"{alias}.id" for alias in _aliases(text)}
    if re.search(r"\b(?:FROM|UPDATE) spaces\s+(?:SET [^;]*?)?WHERE id\b", text):
        columns.add("id")
    arrays = rf"\b(?:\w+\.)?(?:{'|'.join(re.escape(one) for one in columns)})\s*=\s*ANY \(\$"
    if re.search(arrays, text) or re.search(r"unnest\(\$1::uuid\[\]", text):
        return SEVERAL
    if any(_told(name, given, "p_spaces") for name, given in _CALL.findall(text)):
        return SEVERAL
    ones = rf"(?<![\w.])(?:\w+\.)?(?:{'|'.join(re.escape(one) for one in columns)})\s*=\s*\$"
    if re.search(ones, text) or re.search(r"\$\d::uuid AS space\b", text):
        return ONE
    if re.search(r"INSERT INTO spaces \(id\b", text) or any(
        _told(name, given, "p_space") for name, given in _CALL.findall(text)
    ):
        return ONE
    return NONE


def _aliases(text: str) -> set[str]:
    """What the rows of `spaces` are called."""
    return {
        alias
        for table, alias in _TABLE.findall(text)
        if table == "spaces" and alias and alias.lower() not in _NO_ALIAS
    }


def _told(name: str, arguments: str, parameter: str) -> bool:
    """Whether a function is given this by a parameter of the statement."""
    parameters = functions()[name].parameters
    if parameter not in parameters:
        return False
    given = [one.strip() for one in arguments.split(",")]
    return re.fullmatch(r"\$\d+(?:::text::uuid\[\])?", given[parameters.index(parameter)]) is not None


BEGIN, END = "<!-- statements -->", "<!-- end of statements -->"
PAGE: Final = ROOT / "docs" / "scaling.md"


def table() -> str:
    """The table of docs/scaling.md 7.1."""
    lines = ["| File | One space | Several | None |", "|---|---|---|---|"]
    by_file: dict[str, dict[str, list[str]]] = {}
    for one in statements():
        by_file.setdefault(one.file, {}).setdefault(one.spaces, []).append(f"`{one.query}`")
    for file, named in by_file.items():
        cells = (", ".join(named.get(kind, ())) for kind in (ONE, SEVERAL, NONE))
        lines.append(f"| `{file}` | {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)


def in_page(text: str) -> str:
    """The table that the page has."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}")
