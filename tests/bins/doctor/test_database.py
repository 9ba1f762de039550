"""The checks of the database, on real ones that something is wrong with."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from less_sync.bins.doctor.database import REST, Where, look_at_database
from less_sync.bins.doctor.findings import Finding
from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.bins.settings.config import DatabaseSettings
from less_sync.storage import Inspection
from tests.bins.doctor.support import FAILED, NONE, OK, WARNING, states, the
from tests.migrations.support import execute, with_query
from tests.wire.issuer import closed_port


async def nothing(_: Inspection) -> None:
    """Nobody else needs the connection."""


async def look(url: str, *, connections: int = 10, ahead_s: float = 0.0) -> Sequence[Finding]:
    where = Where(url, DatabaseSettings(url, connections, 2))
    return await look_at_database(where, lambda: time.time() - ahead_s, nothing)


async def test_all_is_well_with_a_migrated_database(database_url: str) -> None:
    found = await look(database_url)
    assert states(found) == dict.fromkeys(["database", *REST], OK)
    assert [one.todo for one in found] == [""] * len(found)
    assert the(found, "pull plans").found == "4 looked at: each walks the indexes by cursor"


async def test_a_database_that_is_away_is_the_one_thing_that_failed() -> None:
    async with closed_port() as port:
        found = await look(f"postgresql://somebody:geheim@127.0.0.1:{port}/sync")
    assert states(found) == {"database": FAILED, **dict.fromkeys(REST, NONE)}
    told = the(found, "database").found
    assert told == f'cannot connect to database "sync" at 127.0.0.1:{port}: Connection refused'


async def test_a_wrong_password_is_named_by_its_kind_and_told_to_nobody(tmp_path: Path) -> None:
    rules = tmp_path / "hba.conf"
    rules.write_text("local all all scram-sha-256\n")
    rules.chmod(0o644)
    settings = {"fsync": "off", "hba_file": str(rules)}
    tmp_path.chmod(0o755)
    async with EmbeddedPostgres(tmp_path / "data", settings=settings) as postgres:
        found = await look(postgres.url.replace("postgres@", "postgres:geheim@"))
    assert states(found) == {"database": FAILED, **dict.fromkeys(REST, NONE)}
    assert "InvalidPasswordError (SQLSTATE 28P01)" in the(found, "database").found
    assert "geheim" not in str(found)


async def test_a_database_that_was_never_migrated_says_what_is_pending(empty_database_url: str) -> None:
    found = await look(empty_database_url)
    assert (the(found, "schema").state, the(found, "pull plans").state) == (FAILED, NONE)
    assert the(found, "schema").found.startswith("pending: 001 initial, 002 ")
    assert "less-sync migrate" in the(found, "schema").todo


async def test_one_migration_that_is_missing_is_a_warning(database_url: str) -> None:
    await execute(
        database_url,
        "DELETE FROM less_sync_migrations WHERE version = (SELECT max(version) FROM less_sync_migrations)",
    )
    found = the(await look(database_url), "schema")
    assert (found.state, found.found.count(",")) == (WARNING, 0)


async def test_half_a_restore_and_half_a_migration_are_failures(database_url: str) -> None:
    await execute(database_url, "CREATE TABLE less_sync_restore (digest text)")
    assert the(await look(database_url), "schema").found == "a restore was begun and is not finished"
    await execute(database_url, "DROP TABLE less_sync_restore")
    await execute(database_url, "UPDATE _sqlx_migrations SET success = false WHERE version = 5")
    found = the(await look(database_url), "schema")
    assert (found.state, "migration 5 is partially applied" in found.found) == (FAILED, True)


@pytest.mark.parametrize(
    ("index", "table"),
    [
        ("idx_records_sync", "records"),
        ("idx_members_cursor", "members"),
        ("idx_files_space_cursor", "files"),
    ],
)
async def test_without_an_index_by_cursor_the_plans_turn_red(
    database_url: str, index: str, table: str
) -> None:
    await execute(database_url, f"DROP INDEX {index}")
    found = await look(database_url)
    assert (the(found, "schema").state, the(found, "pull plans").state) == (FAILED, FAILED)
    assert f"index of {table}" in the(found, "schema").found
    assert table in the(found, "pull plans").found


async def test_an_index_whose_build_failed_is_named(database_url: str) -> None:
    await execute(
        database_url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_records_sync'::regclass"
    )
    found = the(await look(database_url), "pull plans")
    assert found.found == "indexes that are not used: idx_records_sync"
    assert found.todo == "REINDEX INDEX CONCURRENTLY idx_records_sync;"


async def test_plans_hold_for_the_space_with_most_records_too(database_url: str) -> None:
    await execute(
        database_url,
        "INSERT INTO spaces (id, client_id) SELECT gen_random_uuid(), 'c' FROM generate_series(1, 9)",
    )
    await execute(
        database_url,
        "INSERT INTO records (id, space_id, blob, cursor) SELECT gen_random_uuid(), s.id, 'x', n"
        " FROM (SELECT id, row_number() OVER () AS place FROM spaces) s, generate_series(1, 3000) n"
        " WHERE s.place <= n % 9 + 1; ANALYZE",
    )
    found = the(await look(database_url), "pull plans")
    assert (found.state, found.found) == (OK, "8 looked at: each walks the indexes by cursor")


async def test_tables_that_nobody_analyses_are_named(database_url: str) -> None:
    await execute(database_url, "INSERT INTO spaces (id, client_id) VALUES (gen_random_uuid(), 'c')")
    await execute(
        database_url,
        "INSERT INTO records (id, space_id, blob, cursor)"
        " SELECT gen_random_uuid(), s.id, 'x', n FROM spaces s, generate_series(1, 20000) n",
    )
    found = the(await look(database_url), "tables")
    assert (found.state, found.found) == (WARNING, "records 20,000 rows, 0 dead, never analysed")
    assert "VACUUM ANALYZE records;" in found.todo


async def test_more_connections_than_the_database_allows_are_a_failure(database_url: str) -> None:
    found = the(await look(database_url, connections=9998), "connections")
    assert (found.state, found.found.startswith("10000 wanted, ")) == (FAILED, True)


async def test_a_role_that_may_not_write_is_told_what_it_lacks(database_url: str) -> None:
    found = the(await look(with_query(database_url, "role=pg_monitor")), "rights")
    assert found.state is FAILED
    assert "records: DELETE" in found.found
    assert "GRANT" in found.todo


@pytest.mark.parametrize(
    ("ahead_s", "state", "told"),
    [(0.0, OK, "agrees"), (20.0, WARNING, "20.0 s ahead of"), (-90.0, FAILED, "90.0 s behind")],
)
async def test_clocks_that_differ_are_told_by_how_much(
    database_url: str, ahead_s: float, state: object, told: str
) -> None:
    found = the(await look(database_url, ahead_s=ahead_s), "clock")
    assert (found.state, told in found.found) == (state, True)
