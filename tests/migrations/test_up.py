"""Going up: what is recorded, what a failure leaves behind, what looking changes."""

import hashlib

import pytest

from less_sync.migrations import MigrationError, cursorless, migrate_up, pending, status, version
from less_sync.migrations.catalog import Catalog, Migration

from .support import (
    CATALOG,
    DELETED,
    LAST,
    LIVE,
    OWN,
    SPACE,
    as_rust_left_it,
    execute,
    fetch,
    relations,
    seeded_at,
    shared_versions,
    tables,
    up_to,
)

DESCRIPTIONS = [
    "initial",
    "revocations",
    "invitations",
    "add wrapped dek",
    "files record id",
    "privacy phase1",
    "mailbox invitations",
    "ephemeral rate limits",
    "rewrap epoch",
    "unified cursor",
    "federation keys",
    "federation key lifecycle",
]


CHECKSUMS_SHA256 = "28643225b57d41edb7b16799a55b0c748054a41bafde798dc7a841bd50ea50f9"


def with_own(up: str, down: str = "SELECT 1") -> Catalog:
    """This project's migrations and one more."""
    return {**CATALOG, 999: Migration(999, "extra", up, down, hashlib.sha384(up.encode()).digest())}


async def test_an_empty_database_gets_the_twelve_rows_the_existing_server_would_write(
    empty_database_url: str,
) -> None:
    done = await migrate_up(empty_database_url)
    rows = await fetch(empty_database_url, "SELECT * FROM _sqlx_migrations ORDER BY version")
    assert [(row["version"], row["description"]) for row in rows] == list(enumerate(DESCRIPTIONS, start=1))
    assert all(row["success"] and row["execution_time"] > 0 for row in rows)
    checksums = b"".join(row["checksum"] for row in rows)
    assert len(checksums) == 12 * 48
    # The existing server's twelve checksums, joined; pinned apart from the constants they are written from.
    assert hashlib.sha256(checksums).hexdigest() == CHECKSUMS_SHA256
    assert [applied.version for applied in done] == list(CATALOG)


async def test_own_migrations_are_recorded_apart_with_the_checksum_of_their_file(
    empty_database_url: str,
) -> None:
    await migrate_up(empty_database_url)
    assert await shared_versions(empty_database_url) == list(range(1, 13))
    rows = await fetch(empty_database_url, "SELECT * FROM less_sync_migrations ORDER BY version")
    assert [(row["version"], row["name"]) for row in rows] == [(v, CATALOG[v].name) for v in OWN]
    for row in rows:
        assert row["checksum"] == hashlib.sha384(CATALOG[row["version"]].up.encode()).digest()
        assert row["applied_at"] is not None


async def test_a_second_up_applies_nothing(empty_database_url: str) -> None:
    await migrate_up(empty_database_url)
    assert await migrate_up(empty_database_url) == []


async def test_each_migration_is_announced_after_its_commit(empty_database_url: str) -> None:
    seen: list[int] = []
    await migrate_up(empty_database_url, on_applied=lambda done: seen.append(done.version))
    assert seen == list(CATALOG)


async def test_looking_at_an_empty_database_creates_nothing(empty_database_url: str) -> None:
    assert await version(empty_database_url) == 0
    assert {state.applied for state in await status(empty_database_url)} == {False}
    assert [state.version for state in await pending(empty_database_url)] == list(CATALOG)
    assert not await cursorless(empty_database_url)
    assert await relations(empty_database_url) == set()


async def test_status_says_when_each_migration_was_applied(empty_database_url: str) -> None:
    await migrate_up(empty_database_url, catalog=up_to(3))
    states = await status(empty_database_url)
    assert [state.version for state in states] == list(CATALOG)
    assert [state.applied for state in states] == [state.version <= 3 for state in states]
    assert all((state.applied_at is not None) == state.applied for state in states)
    assert await version(empty_database_url) == 3
    assert [state.version for state in await pending(empty_database_url)] == list(CATALOG)[3:]


async def test_a_failing_script_leaves_nothing_and_earlier_ones_stay(empty_database_url: str) -> None:
    catalog = with_own("CREATE TABLE half (x INTEGER); SELECT 1 / 0")
    with pytest.raises(MigrationError) as caught:
        await migrate_up(empty_database_url, catalog=catalog)
    assert str(caught.value) == (
        "migration error: while executing migration 999: error returned from database: division by zero"
    )
    assert "half" not in await relations(empty_database_url)
    assert await version(empty_database_url) == LAST


async def test_a_failing_bookkeeping_row_takes_the_script_back(empty_database_url: str) -> None:
    await migrate_up(empty_database_url)
    await execute(empty_database_url, "ALTER TABLE less_sync_migrations ADD CHECK (version < 999)")
    with pytest.raises(MigrationError, match=r"while executing migration 999: .*violates check constraint"):
        await migrate_up(empty_database_url, catalog=with_own("CREATE TABLE half (x INTEGER)"))
    assert "half" not in await relations(empty_database_url)
    assert await version(empty_database_url) == LAST


async def test_a_script_may_ask_to_run_outside_a_transaction(empty_database_url: str) -> None:
    up = "-- no-transaction\nCREATE INDEX CONCURRENTLY extra ON records (cursor)"
    await migrate_up(empty_database_url, catalog=with_own(up))
    assert "extra" in await relations(empty_database_url)
    rows = await fetch(empty_database_url, "SELECT version FROM less_sync_migrations ORDER BY version")
    assert rows[-1]["version"] == 999


async def test_a_failing_script_outside_a_transaction_is_not_recorded(empty_database_url: str) -> None:
    with pytest.raises(MigrationError, match="while executing migration 999"):
        await migrate_up(empty_database_url, catalog=with_own("-- no-transaction\nSELECT 1 / 0"))
    assert await version(empty_database_url) == LAST


async def test_files_without_record_stop_migration_5_as_they_stop_the_existing_server(
    empty_database_url: str,
) -> None:
    await seeded_at(empty_database_url, 4)
    before = await tables(empty_database_url)
    with pytest.raises(MigrationError, match=r"while executing migration 5: .*files_record_fk"):
        await migrate_up(empty_database_url)
    assert await tables(empty_database_url) == before
    assert await shared_versions(empty_database_url) == [1, 2, 3, 4]


async def test_migration_10_marks_tombstones_and_keeps_positions(empty_database_url: str) -> None:
    await as_rust_left_it(empty_database_url, 9)
    await execute(
        empty_database_url,
        f"INSERT INTO spaces (id, client_id, sequence) VALUES ('{SPACE}', 'c', 9);"
        "INSERT INTO records (id, space_id, blob, sequence) VALUES"
        f" ('{DELETED}', '{SPACE}', NULL, 8), ('{LIVE}', '{SPACE}', '', 9)",
    )
    await migrate_up(empty_database_url)
    rows = await fetch(empty_database_url, "SELECT cursor, deleted FROM records ORDER BY cursor")
    assert [tuple(row) for row in rows] == [(8, True), (9, False)]
    assert [row["cursor"] for row in await fetch(empty_database_url, "SELECT cursor FROM spaces")] == [9]


async def test_migration_12_makes_the_oldest_key_primary(empty_database_url: str) -> None:
    await as_rust_left_it(empty_database_url, 11)
    await execute(
        empty_database_url,
        "INSERT INTO federation_signing_keys (kid, private_key, public_key, created_at) VALUES"
        " ('b', 'x', 'y', '2024-01-02'), ('c', 'x', 'y', '2024-01-01'), ('a', 'x', 'y', '2024-01-01')",
    )
    await migrate_up(empty_database_url)
    rows = await fetch(empty_database_url, "SELECT kid FROM federation_signing_keys WHERE is_primary")
    assert [row["kid"] for row in rows] == ["a"]
