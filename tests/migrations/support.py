"""Helpers: databases at a version, with data, and what can be seen of them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from less_sync.migrations import migrate_up
from less_sync.migrations.catalog import Catalog, load
from less_sync.migrations.connection import Connection, connect
from less_sync.migrations.schema import Schema, snapshot

CATALOG: Final = load()
LAST: Final = max(CATALOG)
OWN: Final = [version for version in CATALOG if version > 12]

SPACE: Final = "00000000-0000-0000-0000-00000000000a"
LIVE: Final = "00000000-0000-0000-0000-0000000000b1"
DELETED: Final = "00000000-0000-0000-0000-0000000000b2"
FILE: Final = "00000000-0000-0000-0000-0000000000c1"

SEED: Final = f"""
INSERT INTO spaces (id, client_id, cursor, metadata_version) VALUES ('{SPACE}', 'client', 7, 2);
INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted) VALUES
    ('{LIVE}', '{SPACE}', 'x', 3, decode(repeat('01', 44), 'hex'), FALSE),
    ('{DELETED}', '{SPACE}', NULL, 4, NULL, TRUE);
INSERT INTO files (space_id, id, size, wrapped_dek, record_id, cursor) VALUES
    ('{SPACE}', '{FILE}', 5, decode(repeat('02', 44), 'hex'), '{LIVE}', 7),
    ('{SPACE}', '00000000-0000-0000-0000-0000000000c2', 6, decode(repeat('03', 44), 'hex'), '{LIVE}', 5);
INSERT INTO members (space_id, chain_seq, prev_hash, entry_hash, payload, cursor) VALUES
    ('{SPACE}', 1, NULL, 'h1', 'p1', 1), ('{SPACE}', 2, 'h1', 'h2', 'p2', 2);
INSERT INTO revocations (space_id, ucan_cid) VALUES ('{SPACE}', 'cid');
INSERT INTO invitations (mailbox_id, payload, expires_at) VALUES
    (repeat('a', 64), 'hello', NOW() + interval '1 day');
INSERT INTO rate_limit_actions (action, actor_hash) VALUES ('invitation', repeat('b', 64));
INSERT INTO federation_signing_keys (kid, private_key, public_key, is_primary) VALUES
    ('one', 'private', 'public', TRUE), ('two', 'private', 'public', FALSE);
"""
"""Rows in every table of version 12."""


BLOCKED: Final = """
SELECT count(*) > 0 FROM pg_locks w
WHERE NOT w.granted AND pg_backend_pid() = ANY (pg_blocking_pids(w.pid))"""
"""Whether somebody waits for a lock of the asking session. pg_stat_activity would not do: within a
transaction it is a picture of the first look."""


def with_query(url: str, query: str) -> str:
    """The URL with more query keys."""
    return f"{url}{'&' if '?' in url else '?'}{query}"


def up_to(version: int) -> Catalog:
    """The catalog of a project that ends at `version`."""
    return {number: migration for number, migration in CATALOG.items() if number <= version}


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection for looking around."""
    connection = await connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(url: str, script: str) -> None:
    """Run statements on a connection of their own."""
    async with connected(url) as connection:
        await connection.execute(script)


async def fetch(url: str, query: str) -> list[asyncpg.Record]:
    """All rows of one query."""
    async with connected(url) as connection:
        return await connection.fetch(query)


async def value(url: str, query: str) -> object:
    """The first value of one query."""
    async with connected(url) as connection:
        result: object = await connection.fetchval(query)
    return result


async def tables(url: str) -> Schema:
    """The schema snapshot."""
    async with connected(url) as connection:
        return await snapshot(connection)


async def shared_versions(url: str) -> list[int]:
    """What `_sqlx_migrations` says."""
    return [
        row["version"] for row in await fetch(url, "SELECT version FROM _sqlx_migrations ORDER BY version")
    ]


async def relations(url: str) -> set[str]:
    """Names of all tables, indexes and sequences of the first schema."""
    query = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(current_schema()))"
    return {row["relname"] for row in await fetch(url, query)}


async def code(url: str) -> tuple[list[str], list[str]]:
    """Functions and triggers of the first schema."""
    here = "to_regnamespace(quote_ident(current_schema()))"
    functions = await fetch(url, f"SELECT proname FROM pg_proc WHERE pronamespace = {here} ORDER BY 1")
    triggers = await fetch(
        url,
        "SELECT tgname || ' on ' || c.relname AS text FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid"
        f" WHERE NOT tgisinternal AND c.relnamespace = {here} ORDER BY 1",
    )
    return [row["proname"] for row in functions], [row["text"] for row in triggers]


async def seeded_at(url: str, version: int) -> None:
    """Migrate to 12 with rows in every table, and back to `version`, which keeps what it can.

    The way back runs the down scripts on one connection, which is quick; `migrate_down` has its own tests.
    """
    await migrate_up(url, catalog=up_to(12))
    async with connected(url) as connection:
        await connection.execute(SEED)
        for number in range(12, version, -1):
            await connection.execute(CATALOG[number].down)
        await connection.execute(f"DELETE FROM _sqlx_migrations WHERE version > {version}")


async def as_rust_left_it(url: str, version: int) -> None:
    """Tables and history as the existing Rust server leaves them: it never learns the duration in time."""
    await _run_scripts(url, version)
    async with connected(url) as connection:
        await connection.execute(
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,"
            " installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL,"
            " checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)"
        )
        for migration in up_to(version).values():
            await connection.execute(
                "INSERT INTO _sqlx_migrations VALUES ($1, $2, now() - interval '1 day', TRUE, $3, -1)",
                migration.version,
                migration.description,
                migration.checksum,
            )


async def as_go_left_it(url: str, version: int, *, recorded: list[int] | None = None) -> None:
    """Tables and history as the existing Go server leaves them; `recorded` for another history."""
    await _run_scripts(url, version)
    async with connected(url) as connection:
        await connection.execute(
            "CREATE TABLE goose_db_version (id SERIAL PRIMARY KEY, version_id BIGINT NOT NULL,"
            " is_applied BOOLEAN NOT NULL, tstamp TIMESTAMP DEFAULT now())"
        )
        for number in [0, *(range(1, version + 1) if recorded is None else recorded)]:
            await connection.execute(
                "INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, TRUE)", number
            )


async def _run_scripts(url: str, version: int) -> None:
    async with connected(url) as connection:
        for migration in up_to(version).values():
            await connection.execute(migration.up)
