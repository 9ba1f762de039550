"""What a database can do, object by object: tables, columns, indexes, constraints, functions and triggers.

Two databases of one shape behave alike. Names of indexes and constraints and the order of columns are not
compared, as they change nothing; how often the same index or constraint is there is (docs/validation.md 6.4).
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Final, TypeAlias

import asyncpg

from less_sync.migrations import BOOKKEEPING, RESTORE_MARK

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Shape: TypeAlias = "Counter[tuple[str, str]]"
"""How often there is an object, by a name that can be told and what it is in full."""

_HERE: Final = "to_regnamespace(quote_ident(current_schema()))"
_QUERIES: Final[Mapping[str, str]] = {
    "table": f"""
SELECT c.relname AS name, c.relkind::text || coalesce(c.reloptions::text, '') AS text FROM pg_class c
WHERE c.relnamespace = {_HERE} AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relname <> ALL ($1)""",
    "column": f"""
SELECT c.relname || '.' || a.attname AS name,
       format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null ' ELSE ' ' END
       || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || a.attidentity::text || a.attgenerated::text AS text
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = {_HERE} AND c.relkind IN ('r', 'p') AND c.relname <> ALL ($1)""",
    "index": f"""
SELECT c.relname AS name, i.indisunique::text || i.indisprimary::text || i.indisvalid::text
       || substring(d.text FROM position(' USING ' IN d.text)) AS text
FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid
CROSS JOIN LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS text) d
WHERE c.relnamespace = {_HERE} AND c.relname <> ALL ($1)""",
    "constraint": f"""
SELECT c.relname AS name, k.convalidated::text || pg_get_constraintdef(k.oid) AS text
FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('c', 'f', 'u', 'p', 'x')
WHERE c.relnamespace = {_HERE} AND c.relname <> ALL ($1)""",
    "function": f"""
SELECT p.proname AS name, pg_get_functiondef(p.oid) AS text FROM pg_proc p
WHERE p.pronamespace = {_HERE} AND p.prokind IN ('f', 'p') AND p.proname <> ALL ($1)""",
    "trigger": f"""
SELECT c.relname || '.' || t.tgname AS name, pg_get_triggerdef(t.oid) AS text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND c.relnamespace = {_HERE} AND c.relname <> ALL ($1)""",
}


async def shape(connection: Connection) -> Shape:
    """Of everything in the first schema of the search path but the bookkeeping of migrations."""
    found: Shape = Counter()
    for kind, query in _QUERIES.items():
        for row in await connection.fetch(query, sorted({*BOOKKEEPING, RESTORE_MARK})):
            digest = hashlib.sha256(row["text"].encode()).hexdigest()
            found[f"{kind}.{row['name']}", digest] += 1
    return found


def differing(one: Shape, other: Shape) -> list[str]:
    """The names of objects that are in one of them alone, or are another thing there; sorted."""
    return sorted({name for name, _ in (one - other) + (other - one)})


async def versions(connection: Connection) -> tuple[int, ...]:
    """The migrations that are recorded, ascending."""
    found: list[int] = []
    for table in ("_sqlx_migrations", "less_sync_migrations"):
        name = await connection.fetchval(
            "SELECT to_regclass(quote_ident(current_schema()) || '.' || $1)", table
        )
        if name is not None:
            found += [
                int(row[0]) for row in await connection.fetch(f"SELECT version FROM {table} ORDER BY 1")
            ]
    return tuple(found)


async def counted(connection: Connection) -> dict[str, int]:
    """How many rows each table has that is not bookkeeping."""
    query = f"SELECT c.relname FROM pg_class c WHERE c.relnamespace = {_HERE} AND c.relkind IN ('r', 'p')"
    names = [str(row[0]) for row in await connection.fetch(query)]
    return {
        name: int(await connection.fetchval('SELECT count(*) FROM "' + name.replace('"', '""') + '"'))
        for name in sorted(names)
        if name not in BOOKKEEPING
    }
