"""Databases of the existing servers are taken over; those nobody can vouch for are refused."""

import pytest

from less_sync.migrations import MigrationError, migrate_up, pending, status, version
from less_sync.migrations.catalog import BASELINE_CHECKSUM, FORMER_CHECKSUMS

from .support import (
    LAST,
    OWN,
    as_go_left_it,
    as_rust_left_it,
    connected,
    execute,
    fetch,
    relations,
    shared_versions,
    tables,
    up_to,
)

HISTORY = "SELECT * FROM _sqlx_migrations ORDER BY version"
GO_HISTORY = "SELECT * FROM goose_db_version ORDER BY id"
UNIFIED = """
CREATE TABLE spaces (id UUID PRIMARY KEY, cursor BIGINT NOT NULL DEFAULT 0);
CREATE TABLE invitations (id UUID PRIMARY KEY, expires_at TIMESTAMPTZ NOT NULL);
CREATE INDEX idx_invitations_expires ON invitations (expires_at);
"""


async def refusal(url: str) -> str:
    """What `up` says, having changed nothing; looking says the same."""
    before = (await relations(url), await tables(url))
    with pytest.raises(MigrationError) as caught:
        await migrate_up(url)
    with pytest.raises(MigrationError) as looked:
        await pending(url)
    assert str(looked.value) == str(caught.value)
    assert (await relations(url), await tables(url)) == before
    return str(caught.value)


async def test_a_database_of_the_rust_server_is_adopted_without_a_change(empty_database_url: str) -> None:
    await as_rust_left_it(empty_database_url, 12)
    before = (await fetch(empty_database_url, HISTORY), await tables(empty_database_url))
    done = await migrate_up(empty_database_url, catalog=up_to(12))
    assert done == []
    assert (await fetch(empty_database_url, HISTORY), await tables(empty_database_url)) == before
    assert [applied.version for applied in await migrate_up(empty_database_url)] == OWN
    assert await fetch(empty_database_url, HISTORY) == before[0]


@pytest.mark.parametrize("reached", [1, 5, 9, 11])
async def test_an_older_database_of_the_rust_server_gets_what_it_lacks(
    empty_database_url: str, reached: int
) -> None:
    await as_rust_left_it(empty_database_url, reached)
    done = await migrate_up(empty_database_url)
    assert [applied.version for applied in done] == [*range(reached + 1, 13), *OWN]
    rows = await fetch(empty_database_url, HISTORY)
    assert [row["execution_time"] == -1 for row in rows] == [row["version"] <= reached for row in rows]


async def test_a_database_of_the_go_server_is_adopted_and_its_table_left_alone(
    empty_database_url: str,
) -> None:
    await as_go_left_it(empty_database_url, 11)
    before = await fetch(empty_database_url, GO_HISTORY)
    assert await version(empty_database_url) == 11
    assert "_sqlx_migrations" not in await relations(empty_database_url)
    done = await migrate_up(empty_database_url)
    assert [applied.version for applied in done] == [12, *OWN]
    assert await shared_versions(empty_database_url) == list(range(1, 13))
    assert await fetch(empty_database_url, GO_HISTORY) == before


async def test_the_newest_row_decides_whether_the_go_server_has_applied_a_version(
    empty_database_url: str,
) -> None:
    await as_go_left_it(empty_database_url, 9)
    await execute(
        empty_database_url,
        "INSERT INTO goose_db_version (version_id, is_applied)"
        " VALUES (10, TRUE), (10, FALSE), (9, FALSE), (9, TRUE)",
    )
    assert await version(empty_database_url) == 9
    states = await status(empty_database_url)
    assert [state.applied for state in states] == [state.version <= 9 for state in states]
    await migrate_up(empty_database_url)
    assert await version(empty_database_url) == LAST


async def test_a_go_table_whose_times_are_null_is_read_too(empty_database_url: str) -> None:
    await as_go_left_it(empty_database_url, 11)
    await execute(empty_database_url, "UPDATE goose_db_version SET tstamp = NULL")
    applied = [state for state in await status(empty_database_url) if state.applied]
    assert [(state.version, state.applied_at) for state in applied] == [(v, None) for v in range(1, 12)]


async def test_a_twelfth_go_migration_is_believed_if_it_did_what_ours_does(empty_database_url: str) -> None:
    await as_go_left_it(empty_database_url, 12)
    assert [applied.version for applied in await migrate_up(empty_database_url)] == OWN


@pytest.mark.parametrize(
    ("recorded", "detail"),
    [
        ([*range(1, 12), 12], "goose history has unknown version 12"),
        ([*range(1, 12), 13], "goose history has unknown version 13"),
        ([1, 2, 3, *range(5, 12)], "goose history has gaps"),
        ([2, 3], "goose history has gaps"),
        ([], "database has tables but no migration history"),
    ],
)
async def test_a_go_history_that_does_not_add_up_is_refused(
    empty_database_url: str, recorded: list[int], detail: str
) -> None:
    await as_go_left_it(empty_database_url, 11, recorded=recorded)
    assert await refusal(empty_database_url) == f"migration error: {detail}"


async def test_a_go_database_that_was_never_migrated_counts_as_empty(empty_database_url: str) -> None:
    await as_go_left_it(empty_database_url, 0)
    await migrate_up(empty_database_url)
    assert await version(empty_database_url) == LAST


async def test_the_remnant_of_the_baseline_runner_is_repaired(empty_database_url: str) -> None:
    await as_rust_left_it(empty_database_url, 1)
    await leave_remnant(empty_database_url)
    await execute(empty_database_url, "DROP TABLE members, files, records, spaces")
    assert await version(empty_database_url) == 0
    assert await shared_versions(empty_database_url) == [1]
    await migrate_up(empty_database_url)
    assert await version(empty_database_url) == LAST
    rows = await fetch(empty_database_url, HISTORY)
    assert BASELINE_CHECKSUM not in {row["checksum"] for row in rows}


async def leave_remnant(url: str) -> None:
    """The one row the baseline's runner could leave."""
    async with connected(url) as connection:
        await connection.execute(
            "UPDATE _sqlx_migrations SET checksum = $1 WHERE version = 1", BASELINE_CHECKSUM
        )


async def test_the_baseline_checksum_with_tables_is_a_modified_migration(empty_database_url: str) -> None:
    await as_rust_left_it(empty_database_url, 1)
    await leave_remnant(empty_database_url)
    expected = "migration error: migration 1 was previously applied but has been modified"
    assert await refusal(empty_database_url) == expected


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (
            "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 7",
            "migration 7 was previously applied but has been modified",
        ),
        (
            "INSERT INTO _sqlx_migrations VALUES (13, 'new', now(), TRUE, 'x', 1)",
            "migration 13 was previously applied but is missing in the resolved migrations",
        ),
        (
            "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 12",
            "migration 12 is partially applied; fix and remove row from `_sqlx_migrations` table",
        ),
        (
            # The order of the checks: failed rows, then unknown ones, then checksums.
            "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1;"
            "INSERT INTO _sqlx_migrations VALUES (13, 'new', now(), TRUE, 'x', 1);"
            "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 12",
            "migration 12 is partially applied; fix and remove row from `_sqlx_migrations` table",
        ),
        (
            "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1;"
            "INSERT INTO _sqlx_migrations VALUES (13, 'new', now(), TRUE, 'x', 1)",
            "migration 13 was previously applied but is missing in the resolved migrations",
        ),
        ("DELETE FROM _sqlx_migrations WHERE version = 4", "migration history has gaps"),
        ("DELETE FROM _sqlx_migrations", "database has tables but no migration history"),
        ("DROP TABLE _sqlx_migrations", "database has tables but no migration history"),
        (f"DROP TABLE spaces, invitations CASCADE; {UNIFIED}", "unified schema detected; not supported"),
    ],
)
async def test_a_history_that_cannot_be_trusted_is_refused_in_the_existing_servers_words(
    empty_database_url: str, change: str, detail: str
) -> None:
    await as_rust_left_it(empty_database_url, 12)
    await execute(empty_database_url, change)
    assert await refusal(empty_database_url) == f"migration error: {detail}"


@pytest.mark.parametrize("recorded", [None, [1]])
async def test_the_unified_schema_is_refused_with_and_without_history(
    empty_database_url: str, recorded: list[int] | None
) -> None:
    await execute(empty_database_url, UNIFIED)
    if recorded is not None:
        await as_go_left_it(empty_database_url, 0, recorded=recorded)
    assert await refusal(empty_database_url) == "migration error: unified schema detected; not supported"


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (
            "UPDATE less_sync_migrations SET checksum = 'x' WHERE version = 101",
            "migration 101 was previously applied but has been modified",
        ),
        (
            "INSERT INTO less_sync_migrations (version, name, checksum) VALUES (999, 'new', 'x')",
            "migration 999 was previously applied but is missing in the resolved migrations",
        ),
    ],
)
async def test_own_migrations_are_verified_as_the_shared_ones_are(
    database_url: str, change: str, detail: str
) -> None:
    await execute(database_url, change)
    assert await refusal(database_url) == f"migration error: {detail}"


async def test_a_database_migrated_before_comments_were_reworded_is_as_good(database_url: str) -> None:
    for number, checksum in FORMER_CHECKSUMS.items():
        await execute(
            database_url,
            f"UPDATE less_sync_migrations SET checksum = '\\x{checksum}' WHERE version = {number}",
        )
    assert await migrate_up(database_url) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("ALTER TABLE files ALTER COLUMN size DROP NOT NULL", "files.size"),
        ("ALTER TABLE spaces ALTER COLUMN cursor TYPE INTEGER", "spaces.cursor"),
        ("ALTER TABLE records ADD COLUMN extra TEXT", "records.extra"),
        ("ALTER TABLE members DROP COLUMN prev_hash", "members.prev_hash"),
        ("DROP TABLE rate_limit_actions", "table rate_limit_actions"),
        ("DROP INDEX idx_records_sync", "index of records: btree (space_id, cursor, id)"),
        ("CREATE UNIQUE INDEX extra ON files (id)", "index of files: unique btree (id)"),
        (
            "ALTER TABLE revocations DROP CONSTRAINT revocations_space_id_ucan_cid_key;"
            "ALTER TABLE revocations ADD PRIMARY KEY (space_id, ucan_cid)",
            "index of revocations: unique btree (space_id, ucan_cid)",
        ),
    ],
)
async def test_tables_somebody_altered_are_refused(empty_database_url: str, change: str, where: str) -> None:
    await as_rust_left_it(empty_database_url, 12)
    await execute(empty_database_url, change)
    assert await refusal(empty_database_url) == f"migration error: schema differs at {where}"


async def test_names_of_indexes_and_additions_of_others_are_not_held_against_a_database(
    empty_database_url: str,
) -> None:
    await as_rust_left_it(empty_database_url, 12)
    await execute(
        empty_database_url,
        "ALTER INDEX idx_records_sync RENAME TO other; ALTER INDEX spaces_pkey RENAME TO another;"
        "CREATE INDEX extra ON records (cursor); CREATE TABLE audit (x INTEGER)",
    )
    assert [applied.version for applied in await migrate_up(empty_database_url)] == OWN


async def test_the_rust_servers_own_checks_pass_afterwards(empty_database_url: str) -> None:
    await migrate_up(empty_database_url)
    rows = await fetch(empty_database_url, HISTORY)
    # What its runner looks at: failed rows, rows it does not know, checksums, what is still missing.
    assert all(row["success"] for row in rows)
    assert {row["version"]: row["checksum"] for row in rows} == {
        number: migration.checksum for number, migration in up_to(12).items()
    }
    types = await fetch(
        empty_database_url,
        "SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull FROM pg_attribute"
        " WHERE attrelid = '_sqlx_migrations'::regclass AND attnum > 0 ORDER BY attnum",
    )
    assert [tuple(row) for row in types] == [
        ("version", "bigint", True),
        ("description", "text", True),
        ("installed_on", "timestamp with time zone", True),
        ("success", "boolean", True),
        ("checksum", "bytea", True),
        ("execution_time", "bigint", True),
    ]
