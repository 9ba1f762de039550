"""The shape of the tables: read from a database, and compared with what each version should have.

`expected_schema.json` holds the snapshot after every shared version; a test makes it anew and compares.
Before migrating an existing database its tables, columns, types, nullability and indexes are compared with
it, so that a script never runs on tables somebody altered. Names of indexes and constraints and the order of
columns say nothing about what the database can do and are not compared; nor are additions of others that take
nothing away: tables we do not know, and plain indexes.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypedDict

from less_sync.migrations.connection import Connection
from less_sync.migrations.errors import refused

EXPECTED_FILE: Final = Path(__file__).parent / "expected_schema.json"

TABLES: Final = (
    "spaces",
    "records",
    "files",
    "members",
    "revocations",
    "invitations",
    "rate_limit_actions",
    "federation_signing_keys",
)
"""Every table that any shared version has."""

_TABLES: Final = """
SELECT c.relname AS table FROM pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
  AND c.relname = ANY ($1) AND c.relkind IN ('r', 'p')
ORDER BY 1"""
_COLUMNS: Final = """
SELECT c.relname AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS filled, pg_get_expr(d.adbin, d.adrelid) AS value
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
  AND c.relname = ANY ($1) AND c.relkind IN ('r', 'p')
ORDER BY 1, 2"""
_INDEXES: Final = """
SELECT c.relname AS table, i.indisunique AS distinct_rows, i.indisprimary AS is_key,
       substring(d.text FROM position(' USING ' IN d.text) + 7) AS shape
FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid
CROSS JOIN LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS text) d
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
  AND c.relname = ANY ($1)
ORDER BY 1, 3 DESC, 2 DESC, 4"""
_CONSTRAINTS: Final = """
SELECT c.relname AS table, pg_get_constraintdef(k.oid) AS shape
FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('c', 'f')
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
  AND c.relname = ANY ($1)
ORDER BY 1, 2"""


class Table(TypedDict):
    """One table: columns as `bigint not null default 0`, the rest as PostgreSQL words definitions."""

    columns: dict[str, str]
    indexes: list[str]
    constraints: list[str]


Schema = dict[str, Table]


@dataclass(frozen=True, slots=True)
class _Column:
    type: str
    default: str | None


def _split(definition: str) -> _Column:
    kind, marker, default = definition.partition(" default ")
    return _Column(kind, default if marker else None)


@cache
def expected(version: int) -> Schema:
    """The tables after shared migration `version`; none for 0."""
    schemas: dict[str, Schema] = json.loads(EXPECTED_FILE.read_text(encoding="utf-8"))
    return schemas[str(version)]


async def snapshot(connection: Connection) -> Schema:
    """Read the tables of the first schema of the search path, as far as migrations know them."""
    names = list(TABLES)
    schema: Schema = {
        row["table"]: Table(columns={}, indexes=[], constraints=[])
        for row in await connection.fetch(_TABLES, names)
    }
    for row in await connection.fetch(_COLUMNS, names):
        words = [row["type"], "not null" if row["filled"] else "null"]
        if row["value"] is not None:
            words += ["default", row["value"]]
        schema[row["table"]]["columns"][row["name"]] = " ".join(words)
    for row in await connection.fetch(_INDEXES, names):
        kind = "primary key " if row["is_key"] else "unique " if row["distinct_rows"] else ""
        schema[row["table"]]["indexes"].append(kind + row["shape"])
    for row in await connection.fetch(_CONSTRAINTS, names):
        schema[row["table"]]["constraints"].append(row["shape"])
    return schema


def first_difference(found: Schema, wanted: Schema) -> str | None:
    """Name the first object in which two schemas differ; None if nothing differs that matters."""
    for table in TABLES:
        if (table in found) != (table in wanted):
            return f"table {table}"
        if table in found:
            difference = _table_difference(table, found[table], wanted[table])
            if difference is not None:
                return difference
    return None


def _table_difference(table: str, found: Table, wanted: Table) -> str | None:
    for column in sorted(found["columns"].keys() | wanted["columns"].keys()):
        here, there = found["columns"].get(column), wanted["columns"].get(column)
        if here is None or there is None or _split(here).type != _split(there).type:
            return f"{table}.{column}"
    for shape in wanted["indexes"]:
        if shape not in found["indexes"]:
            return f"index of {table}: {shape}"
    for shape in found["indexes"]:
        if shape.startswith(("primary key ", "unique ")) and shape not in wanted["indexes"]:
            return f"index of {table}: {shape}"
    return None


async def check(connection: Connection, version: int) -> None:
    """Refuse tables that are not what shared migration `version` leaves: check 5 of docs/storage.md 11.1.

    Raises:
        MigrationError: `migration error: schema differs at {object}`.
    """
    difference = first_difference(await snapshot(connection), expected(version))
    if difference is not None:
        raise refused(f"schema differs at {difference}")
