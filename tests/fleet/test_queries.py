"""The plane's SQL: none is built from text, each statement prepares and gets an argument per parameter."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from less_sync.fleet.queries import QUERIES
from tests.fleet.rig import Fleet

ROOM: Final = Path(__file__).resolve().parents[2] / "fleet"
APART: Final = {"line.py"}
"""The migrations' own statements are constants of their module."""
ASKED: Final = frozenset({"fetch", "fetchrow", "fetchval", "execute", "executemany", "prepare"})
"""What the driver is asked with a statement."""
HELPERS: Final = frozenset({"rows", "row", "value", "execute"})
"""Functions that take a connection and the name of a query."""
METHODS: Final = frozenset({"fetch", "row", "value"})
"""Methods of `Database` that take the name of a query."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the room, and where it stands."""
    for path in sorted(ROOM.rglob("*.py")):
        if path.name not in APART:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(ROOM)}:{node.lineno}", node


def named(call: ast.Call) -> tuple[str, list[ast.expr]] | None:
    """The query that a call names as a literal, and the arguments behind it."""
    match call.func:
        case ast.Name(id=name) if name in HELPERS:
            arguments = call.args[1:]
        case ast.Attribute(attr=name) if name in METHODS:
            arguments = call.args
        case _:
            return None
    match arguments:
        case [ast.Constant(value=str(query)), *rest]:
            return query, rest
    return None


async def parameters(fleet: Fleet) -> dict[str, int]:
    """How many parameters each query has, as the database describes it."""
    async with fleet.plane.database.connection() as connection:
        return {
            name: len((await connection.prepare(query.text)).get_parameters())
            for name, query in QUERIES.items()
        }


async def test_every_query_prepares_and_every_call_of_one_has_its_arguments(fleet: Fleet) -> None:
    wanted = await parameters(fleet)
    seen = 0
    for place, call in calls():
        if (found := named(call)) is None:
            continue
        query, arguments = found
        assert query in wanted, place
        if not any(isinstance(one, ast.Starred) for one in arguments):
            assert len(arguments) == wanted[query], f"{place}: {query}"
            seen += 1
    assert seen > 50


def test_no_statement_is_built_from_text() -> None:
    """The driver is handed `sql(name)`, by one module alone; others tell `Database` the name of a query."""
    odd = []
    for place, call in calls():
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in ASKED or not call.args:
            continue
        first = call.args[0]
        by_name = isinstance(first, ast.Call) and isinstance(first.func, ast.Name) and first.func.id == "sql"
        if by_name and place.startswith("database.py:"):
            continue
        on_database = isinstance(call.func.value, ast.Attribute | ast.Name) and "database" in ast.unparse(
            call.func.value
        )
        if not (on_database and isinstance(first, ast.Constant | ast.Name)):
            odd.append(f"{place}: {ast.unparse(call)}")
    assert odd == []


def test_every_query_is_used_and_says_what_it_is_for() -> None:
    source = "".join(path.read_text() for path in ROOM.rglob("*.py"))
    for name, query in QUERIES.items():
        assert f'"{name}"' in source, name
        assert query.description.endswith("."), name
