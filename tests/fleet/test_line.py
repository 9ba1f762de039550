"""The plane's migrations: up, down, up; beside a sync server's; two at once; histories not to be trusted."""

import asyncio
import json
import secrets
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from less_sync.bins.postgres.reach import migrate_when_reachable
from less_sync.fleet.line import DEFAULT_SCHEMA, FleetLine
from less_sync.migrations import (
    SYNC,
    Catalog,
    LockHeld,
    MigrationError,
    NeedsConfirmation,
    NothingToRollBack,
    migrate_down,
    migrate_up,
    pending,
    revertible,
    status,
    version,
)
from less_sync.migrations.connection import migration_lock

from .databases import connected, execute, fetch, value

LINE: Final = FleetLine()
CATALOG: Final = LINE.load()
LAST: Final = max(CATALOG)
SNAPSHOT: Final = Path(__file__).with_name("expected_schema.json")

COLUMNS: Final = """
SELECT c.relname AS of, a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
    || CASE a.attidentity WHEN 'a' THEN ' identity' ELSE '' END
    || CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN ' collate ' || l.collname ELSE '' END
    || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') AS shape
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' ORDER BY c.relname, a.attnum"""
INDEXES: Final = """
SELECT c.relname AS of, x.relname || CASE WHEN i.indisunique THEN ' unique' ELSE '' END || ' '
    || substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)') AS shape
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
WHERE c.relnamespace = current_schema()::regnamespace ORDER BY c.relname, x.relname"""
CONSTRAINTS: Final = """
SELECT c.relname AS of, k.conname || ' ' || pg_get_constraintdef(k.oid) AS shape
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = current_schema()::regnamespace AND k.contype IN ('c', 'f', 'p', 'u')
ORDER BY c.relname, k.conname"""
STORED: Final = """
SELECT relname AS of, unnest(reloptions) AS shape FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND reloptions IS NOT NULL
ORDER BY relname"""
PARTS: Final = {"columns": COLUMNS, "indexes": INDEXES, "constraints": CONSTRAINTS, "storage": STORED}

Shape = dict[str, dict[str, list[str]]]


async def shape(url: str, schema: str = DEFAULT_SCHEMA) -> Shape:
    """All tables of a schema: columns, indexes, constraints and storage parameters, by name."""
    found: Shape = {}
    async with connected(url, schema) as connection:
        for part, query in PARTS.items():
            for row in await connection.fetch(query):
                found.setdefault(row["of"], {}).setdefault(part, []).append(row["shape"])
    return found


def up_to(last: int) -> Catalog:
    """The catalog of a release that ends at `last`."""
    return {number: migration for number, migration in CATALOG.items() if number <= last}


def test_the_line_counts_from_one_and_says_what_each_way_back_loses() -> None:
    names = [migration.name for migration in CATALOG.values()]
    assert list(CATALOG) == list(range(1, LAST + 1)) == list(LINE.losses())
    assert names[:4] == ["agents", "heartbeats", "releases", "licenses"]
    assert names[4:] == ["alerts", "webhooks", "webhook_deliveries", "tokens", "operators"]
    for migration in CATALOG.values():
        assert migration.up.startswith("-- ")
        assert migration.down.startswith("-- ")


async def test_the_schema_is_the_committed_one(fleet_database_url: str) -> None:
    text = json.dumps(await shape(fleet_database_url), indent=1, sort_keys=True) + "\n"
    assert text == SNAPSHOT.read_text(encoding="utf-8")


async def test_each_migration_goes_up_down_and_up_to_the_same_schema(empty_database_url: str) -> None:
    before = await shape(empty_database_url)
    for number in CATALOG:
        catalog = up_to(number)
        assert [
            done.version for done in await migrate_up(empty_database_url, line=LINE, catalog=catalog)
        ] == [number]
        after = await shape(empty_database_url)
        down = await migrate_down(empty_database_url, line=LINE, catalog=catalog, confirmed=True)
        assert down.version == number
        back = await shape(empty_database_url)
        # The bookkeeping table stays after the first way down.
        assert {name: table for name, table in back.items() if name in before} == before
        assert back.keys() - before.keys() <= {"fleet_migrations"}
        await migrate_up(empty_database_url, line=LINE, catalog=catalog)
        assert await shape(empty_database_url) == after
        before = after


async def test_all_go_down_and_up_again_with_rows_in_the_tables(fleet_database_url: str) -> None:
    before = await shape(fleet_database_url)
    await execute(
        fleet_database_url,
        """INSERT INTO licenses (id, key_hash, key_hint, customer, tier, token, starts_at)
           VALUES (gen_random_uuid(), decode(repeat('01', 32), 'hex'), 'h', 'c', 'team', 't', now());
           INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version,
                               heartbeat_interval_seconds, token_hash, license_id)
           SELECT gen_random_uuid(), gen_random_uuid(), 'a', 'sync', 'linux', 'x', '1', 60, key_hash, id
           FROM licenses""",
    )
    for number in reversed(CATALOG):
        assert (await migrate_down(fleet_database_url, line=LINE, confirmed=True)).version == number
        if number == 4:  # who comes up again finds no agent with a licence that is gone
            assert await value(fleet_database_url, "SELECT license_id FROM agents") is None
    assert list(await shape(fleet_database_url)) == ["fleet_migrations"]
    with pytest.raises(NothingToRollBack):
        await migrate_down(fleet_database_url, line=LINE)
    assert len(await migrate_up(fleet_database_url, line=LINE)) == LAST
    assert await shape(fleet_database_url) == before


async def test_what_is_recorded_is_the_digest_of_each_up_file(fleet_database_url: str) -> None:
    rows = await fetch(fleet_database_url, "SELECT version, name, checksum FROM fleet_migrations ORDER BY 1")
    assert [tuple(row) for row in rows] == [(m.version, m.name, m.checksum) for m in CATALOG.values()]


async def test_a_heartbeat_changes_no_indexed_column(fleet_database_url: str) -> None:
    rows = await fetch(
        fleet_database_url,
        """SELECT DISTINCT a.attname FROM pg_index i
           JOIN pg_attribute a ON a.attrelid = i.indrelid
               AND (a.attnum = ANY (i.indkey)
                    OR pg_get_expr(i.indpred, i.indrelid) ~ ('\\m' || a.attname || '\\M'))
           WHERE i.indrelid = 'agents'::regclass""",
    )
    indexed = {row["attname"] for row in rows}
    assert {"agent_id", "status", "labels", "token_hash"} <= indexed
    assert not indexed & {"last_heartbeat_at", "last_sequence", "boot_id", "report", "version", "updated_at"}
    assert not indexed & {"applied_revision", "rotate_token", "desired_state", "heartbeat_interval_seconds"}


async def test_looking_creates_nothing(empty_database_url: str) -> None:
    assert [state.applied for state in await status(empty_database_url, line=LINE)] == [False] * LAST
    assert await version(empty_database_url, line=LINE) == 0
    assert len(await pending(empty_database_url, line=LINE)) == LAST
    with pytest.raises(NothingToRollBack):
        await revertible(empty_database_url, line=LINE)
    query = "SELECT count(*) FROM pg_namespace WHERE nspname = $1"
    assert await value(empty_database_url, query, DEFAULT_SCHEMA) == 0


async def test_a_way_back_that_loses_something_wants_to_be_told_so(fleet_database_url: str) -> None:
    with pytest.raises(NeedsConfirmation, match="reverting 009 operators destroys every operator"):
        await migrate_down(fleet_database_url, line=LINE)
    assert await version(fleet_database_url, line=LINE) == LAST


@pytest.mark.parametrize("first", ["sync", "fleet"])
async def test_both_lines_work_in_one_database_in_either_order(empty_database_url: str, first: str) -> None:
    url = empty_database_url
    if first == "fleet":
        await migrate_up(url, line=LINE)
    await migrate_up(url)
    public, applied = await shape(url, "public"), await version(url)
    await migrate_up(url, line=LINE)
    assert await version(url, line=LINE) == LAST
    for _ in CATALOG:
        await migrate_down(url, line=LINE, confirmed=True)
    await migrate_up(url, line=LINE)
    assert await shape(url, "public") == public
    assert (await version(url), await pending(url)) == (applied, [])
    fleet = await shape(url)
    await migrate_down(url, confirmed=True)
    assert await shape(url) == fleet
    assert not fleet.keys() & public.keys()


async def test_the_schema_wins_over_what_the_url_says(empty_database_url: str) -> None:
    await execute(empty_database_url, "CREATE SCHEMA elsewhere")
    for path in ("search_path=elsewhere", "Search_Path=elsewhere", "options=-csearch_path%3Delsewhere"):
        url = f"{empty_database_url}{'&' if '?' in empty_database_url else '?'}{path}"
        line = FleetLine(f"plane_{len(path)}")
        await migrate_up(url, line=line)
        assert await shape(url, "elsewhere") == {}
        assert len(await shape(url, f"plane_{len(path)}")) > LAST


async def test_a_role_that_may_create_no_schema_migrates_one_that_is_there(empty_database_url: str) -> None:
    url, role = empty_database_url, f"less_sync_test_{secrets.token_hex(4)}"
    async with connected(url, "public") as connection:
        await connection.execute(f"CREATE ROLE {role}")
        await connection.execute(f"GRANT {role} TO current_user")
        await connection.execute(f"CREATE SCHEMA {DEFAULT_SCHEMA} AUTHORIZATION {role}")
    asks = f"{url}{'&' if '?' in url else '?'}role={role}"
    assert len(await migrate_up(asks, line=LINE)) == LAST
    with pytest.raises(MigrationError, match="permission denied for database"):
        await migrate_up(asks, line=FleetLine("another"))
    async with connected(url, "public") as connection:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_two_migrators_at_once_apply_each_migration_once(empty_database_url: str) -> None:
    done = await asyncio.gather(*(migrate_up(empty_database_url, line=LINE) for _ in range(3)))
    assert sorted(step.version for steps in done for step in steps) == list(CATALOG)


async def test_both_lines_take_the_same_lock(empty_database_url: str) -> None:
    async with connected(empty_database_url, "public") as connection, migration_lock(connection):
        for line in (LINE, SYNC):
            with pytest.raises(LockHeld):
                await migrate_up(empty_database_url, line=line, lock_wait_s=0.2)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "UPDATE fleet_migrations SET checksum = 'x' WHERE version = 3",
            "3 was previously .* modified",
        ),
        (
            "INSERT INTO fleet_migrations VALUES (99, 'later', 'x')",
            "99 was previously .* missing",
        ),
        ("DELETE FROM fleet_migrations WHERE version = 2", "migration history has gaps"),
        ("DELETE FROM fleet_migrations", "schema less_sync_fleet has tables but no migration history"),
        ("DROP TABLE fleet_migrations", "schema less_sync_fleet has tables but no migration history"),
    ],
)
async def test_a_history_that_cannot_be_trusted_is_refused(
    fleet_database_url: str, statement: str, message: str
) -> None:
    await execute(fleet_database_url, statement)
    before = await shape(fleet_database_url)
    for step in (migrate_up, migrate_down, pending):
        with pytest.raises(MigrationError, match=message):
            await step(fleet_database_url, line=LINE)
    assert await shape(fleet_database_url) == before


async def test_a_schema_of_another_service_is_left_alone(database_url: str) -> None:
    with pytest.raises(MigrationError, match="schema public has tables but no migration history"):
        await migrate_up(database_url, line=FleetLine("public"))
    assert "fleet_migrations" not in await shape(database_url, "public")
    assert await pending(database_url) == []


async def test_a_migration_that_fails_leaves_those_before_it_and_nothing_of_itself(
    empty_database_url: str,
) -> None:
    await migrate_up(empty_database_url, line=LINE, catalog=up_to(4))
    await execute(empty_database_url, "CREATE TABLE webhook_events (id TEXT)")
    with pytest.raises(MigrationError, match=r"while executing migration 6: .*already exists"):
        await migrate_up(empty_database_url, line=LINE)
    assert await version(empty_database_url, line=LINE) == 5
    with pytest.raises(asyncpg.UndefinedTableError):
        await fetch(empty_database_url, "SELECT FROM webhooks")


async def test_a_plane_migrates_its_line_when_it_starts(database_url: str) -> None:
    await migrate_when_reachable(database_url, line=LINE)
    assert (await version(database_url, line=LINE), await pending(database_url)) == (LAST, [])
