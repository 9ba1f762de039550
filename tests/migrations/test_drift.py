"""Every difference is named, and a database that was only migrated has none."""

import pytest

from less_sync.migrations import Difference, announced, drift, migrate_down, migrate_up, recorded
from less_sync.migrations.catalog import Migration

from .support import CATALOG, LAST, OWN, as_go_left_it, as_rust_left_it, connected, execute, up_to


async def found(url: str, versions: list[int] | None = None, *, additions: bool = True) -> list[str]:
    async with connected(url) as connection:
        seen = await recorded(connection)
        differences = await drift(connection, versions or seen.versions, additions=additions)
    return [str(one) for one in differences]


async def test_each_version_leaves_what_it_should_going_up_and_back(empty_database_url: str) -> None:
    for version in CATALOG:
        await migrate_up(empty_database_url, catalog=up_to(version))
        assert await found(empty_database_url) == [], version
    for version in reversed(OWN):
        assert await found(empty_database_url) == [], version
        await migrate_down(empty_database_url, confirmed=True)
    assert await found(empty_database_url) == []


PUSH = "lsync_push_v1(uuid, uuid[], bigint[], bytea[], bytea[], text, text[], bigint, boolean)"
REPLACED = """
CREATE OR REPLACE FUNCTION lsync_lock_fed_keys_v1() RETURNS void
LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$ SELECT pg_advisory_xact_lock(1) $$"""


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("ALTER TABLE records ALTER cursor DROP NOT NULL", "records.cursor"),
        ("ALTER TABLE records ALTER deleted DROP DEFAULT", "records.deleted"),
        ("ALTER TABLE spaces ALTER key_generation SET DEFAULT 2", "spaces.key_generation"),
        ("ALTER TABLE spaces ADD COLUMN more int", "spaces.more"),
        ("DROP INDEX idx_records_sync", "index of records: btree (space_id, cursor, id)"),
        (
            "ALTER TABLE records DROP CONSTRAINT records_pkey CASCADE",
            "index of records: primary key btree (id)",
        ),
        ("CREATE UNIQUE INDEX ON members (entry_hash)", "index of members: unique btree (entry_hash)"),
        ("ALTER TABLE files ADD CHECK (size < 9)", "constraint of files: CHECK ((size < 9))"),
        ("DROP TABLE revocations", "table revocations"),
        ("DROP INDEX idx_spaces_home_server", "index of spaces: idx_spaces_home_server"),
        (
            "DROP INDEX idx_spaces_home_server; CREATE INDEX idx_spaces_home_server ON spaces (cursor)",
            "index of spaces: idx_spaces_home_server",
        ),
        (REPLACED, "function lsync_lock_fed_keys_v1"),
        (f"ALTER FUNCTION {PUSH} SET enable_seqscan = on", "function lsync_push_v1"),
        (f"ALTER FUNCTION {PUSH} RESET plan_cache_mode", "function lsync_push_v1"),
        (f"ALTER FUNCTION {PUSH} SECURITY DEFINER", "function lsync_push_v1"),
        (f"DROP FUNCTION {PUSH}", "function lsync_push_v1"),
        (
            "CREATE FUNCTION lsync_lock_fed_keys_v1(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function lsync_lock_fed_keys_v1",
        ),
        ("CREATE FUNCTION lsync_new_v1() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function lsync_new_v1"),
    ],
)
async def test_what_was_altered_is_named(database_url: str, fault: str, named: str) -> None:
    await execute(database_url, fault)
    assert named in await found(database_url, additions=False)


async def test_what_takes_nothing_away_is_no_difference_unless_asked_for(database_url: str) -> None:
    await execute(
        database_url,
        "CREATE TABLE mine (id int); CREATE INDEX ON records (deleted);"
        "ALTER TABLE records ADD CHECK (cursor >= 0) NOT VALID;"
        "ALTER TABLE records DROP CONSTRAINT records_cursor_check",
    )
    assert await found(database_url, additions=False) == []
    assert await found(database_url) == ["index of records: btree (deleted)"]


async def test_a_constraint_that_was_not_validated_is_the_one_that_was_wanted(database_url: str) -> None:
    await execute(
        database_url,
        "ALTER TABLE files DROP CONSTRAINT files_record_fk;"
        "ALTER TABLE files ADD FOREIGN KEY (record_id) REFERENCES records (id) NOT VALID",
    )
    assert await found(database_url) == []


async def test_what_a_later_migration_of_ours_left_behind_is_named(database_url: str) -> None:
    before = [version for version in CATALOG if version < 106]
    names = await found(database_url, before)
    assert names == ["function lsync_push_changes_v2", "function lsync_push_v2"]
    assert "index of spaces: idx_spaces_home_server" in await found(database_url, list(range(1, 104)))


async def test_a_release_with_one_more_migration_needs_no_other_list(database_url: str) -> None:
    script = (
        "CREATE FUNCTION lsync_more_v1() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;\n"
        "CREATE INDEX idx_more ON records (deleted) WHERE deleted;"
    )
    down = "DROP FUNCTION lsync_more_v1();\nDROP INDEX idx_more;"
    more = Migration(LAST + 1, "more", script, down, b"x" * 48)
    catalog = {**CATALOG, more.version: more}
    await migrate_up(database_url, catalog=catalog)
    async with connected(database_url) as connection:
        assert await drift(connection, catalog.keys(), catalog=catalog, additions=True) == []
        assert await drift(connection, CATALOG.keys(), catalog=catalog) == [
            Difference("function", "lsync_more_v1"),
            Difference("index", "records", "idx_more"),
        ]


async def test_what_is_recorded_is_read_as_it_stands(empty_database_url: str) -> None:
    async with connected(empty_database_url) as connection:
        assert (await recorded(connection)).server == "none"
    await as_rust_left_it(empty_database_url, 3)
    await execute(
        empty_database_url, "UPDATE _sqlx_migrations SET success = FALSE, checksum = 'x' WHERE version = 2"
    )
    async with connected(empty_database_url) as connection:
        seen = await recorded(connection)
    assert (seen.server, seen.versions) == ("rust", [1, 2, 3])
    assert [(row.success, len(row.checksum or b"")) for row in seen.shared] == [
        (True, 48),
        (False, 1),
        (True, 48),
    ]


async def test_the_dry_run_is_known_without_a_session_of_its_own(empty_database_url: str) -> None:
    await as_go_left_it(empty_database_url, 11)
    async with connected(empty_database_url) as connection:
        async with connection.transaction(readonly=True):
            told = await announced(connection)
            assert (await recorded(connection)).server == "go"
    assert told.adopted == tuple(range(1, 12))
    assert told.pending == (12, *OWN)
