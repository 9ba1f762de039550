"""Going down: each step restores the version before it, and asks before it destroys anything."""

import pytest

from less_sync.migrations import (
    MigrationError,
    NeedsConfirmation,
    NothingToRollBack,
    migrate_down,
    migrate_up,
    revertible,
    version,
)
from less_sync.migrations.catalog import Catalog, Migration
from less_sync.migrations.schema import expected

from .support import (
    CATALOG,
    LAST,
    LIVE,
    OWN,
    as_go_left_it,
    code,
    execute,
    fetch,
    relations,
    seeded_at,
    shared_versions,
    tables,
    up_to,
    value,
)

LOSSES = {
    1: "reverting 001 initial destroys every space, record, file entry and membership log",
    2: "reverting 002 revocations makes every revoked delegation valid again",
    3: "reverting 003 invitations loses all invitations",
    4: "reverting 004 add_wrapped_dek makes every record unreadable",
    5: "reverting 005 files_record_id forgets which record each file belongs to",
    7: "reverting 007 mailbox_invitations loses all invitations",
    9: "reverting 009 rewrap_epoch forgets a re-wrap that is in progress",
    10: "reverting 010 unified_cursor loses the cursors of files and members",
    11: "reverting 011 federation_keys destroys the federation signing keys",
    12: "reverting 012 federation_key_lifecycle publishes deactivated federation keys again",
}
MAKES_LOSS = {
    9: "UPDATE spaces SET rewrap_epoch = 2",
    11: "SELECT 1",
    12: "UPDATE federation_signing_keys SET is_active = FALSE WHERE kid = 'two'",
}


@pytest.mark.parametrize("number", range(12, 0, -1))
async def test_down_with_data_restores_the_version_before_and_up_works_again(
    empty_database_url: str, number: int
) -> None:
    await seeded_at(empty_database_url, number)
    at_number = (await tables(empty_database_url), await code(empty_database_url))
    assert at_number[0] == expected(number)
    done = await migrate_down(empty_database_url, confirmed=True)
    assert (done.version, done.name) == (number, CATALOG[number].name)
    assert await tables(empty_database_url) == expected(number - 1)
    trigger = (["update_updated_at_column"], ["spaces_updated_at on spaces"])
    assert await code(empty_database_url) == (trigger if number > 1 else ([], []))
    assert await shared_versions(empty_database_url) == list(range(1, number))
    if 1 < number <= 5:
        await execute(empty_database_url, "DELETE FROM files")  # they have no record migration 5 could take
    await migrate_up(empty_database_url, catalog=up_to(number))
    assert (await tables(empty_database_url), await code(empty_database_url)) == at_number
    await migrate_up(empty_database_url)
    assert await tables(empty_database_url) == expected_with_own_indexes()
    assert await version(empty_database_url) == LAST


def expected_with_own_indexes() -> object:
    schema = {name: {**table, "indexes": list(table["indexes"])} for name, table in expected(12).items()}
    own = {"rate_limit_actions": "btree (created_at)", "spaces": "btree (id) WHERE (home_server IS NOT NULL)"}
    for table, index in own.items():
        indexes = schema[table]["indexes"]
        assert isinstance(indexes, list)
        indexes.append(index)
        # As the snapshot orders them: keys first.
        indexes.sort(key=lambda text: (not text.startswith(("primary", "unique")), text))
    return schema


async def test_own_migrations_are_reverted_first_and_leave_no_trace_but_their_table(
    empty_database_url: str,
) -> None:
    await migrate_up(empty_database_url, catalog=up_to(12))
    before = (await relations(empty_database_url), await code(empty_database_url))
    await migrate_up(empty_database_url)
    for number in reversed(OWN):
        assert (await migrate_down(empty_database_url)).version == number
    after = await relations(empty_database_url) - {"less_sync_migrations", "less_sync_migrations_pkey"}
    assert (after, await code(empty_database_url)) == before
    assert await fetch(empty_database_url, "SELECT * FROM less_sync_migrations") == []
    assert await version(empty_database_url) == 12


async def test_down_on_an_empty_database_finds_nothing(empty_database_url: str) -> None:
    for look in (migrate_down, revertible):
        with pytest.raises(NothingToRollBack, match=r"^no migration to roll back$"):
            await look(empty_database_url)
    assert await relations(empty_database_url) == set()


@pytest.mark.parametrize("number", LOSSES)
async def test_a_down_that_loses_data_needs_confirmation_and_changes_nothing_without(
    empty_database_url: str, number: int
) -> None:
    await seeded_at(empty_database_url, number)
    await execute(empty_database_url, MAKES_LOSS.get(number, "SELECT 1"))
    before = await tables(empty_database_url)
    for look in (migrate_down, revertible):
        with pytest.raises(NeedsConfirmation) as caught:
            await look(empty_database_url)
        assert str(caught.value) == f"{LOSSES[number]}; repeat with --yes to do it"
    assert await tables(empty_database_url) == before
    assert await shared_versions(empty_database_url) == list(range(1, number + 1))
    assert (await revertible(empty_database_url, confirmed=True)).version == number
    assert (await migrate_down(empty_database_url, confirmed=True)).version == number


@pytest.mark.parametrize(
    ("number", "harmless"),
    [
        (6, "SELECT 1"),
        (8, "SELECT 1"),
        (9, "SELECT 1"),
        (11, "DELETE FROM federation_signing_keys"),
        (12, "SELECT 1"),
    ],
)
async def test_a_down_that_loses_nothing_asks_nothing(
    empty_database_url: str, number: int, harmless: str
) -> None:
    await seeded_at(empty_database_url, number)
    await execute(empty_database_url, harmless)
    assert (await revertible(empty_database_url)).version == number
    assert (await migrate_down(empty_database_url)).version == number


async def test_down_10_numbers_files_by_cursor_and_goes_on_behind_them(empty_database_url: str) -> None:
    await seeded_at(empty_database_url, 10)
    await execute(
        empty_database_url,
        "INSERT INTO files (space_id, id, size, wrapped_dek, record_id, cursor, deleted)"
        f" SELECT id, '00000000-0000-0000-0000-0000000000c3', 0, '', '{LIVE}', 1, TRUE FROM spaces",
    )
    await migrate_down(empty_database_url, confirmed=True)
    rows = await fetch(empty_database_url, "SELECT size, file_seq FROM files ORDER BY file_seq")
    assert [tuple(row) for row in rows] == [(6, 1), (5, 2)]
    assert await value(empty_database_url, "SELECT nextval('files_file_seq_seq')") == 3
    rows = await fetch(
        empty_database_url, "SELECT blob IS NULL AS gone, sequence FROM records ORDER BY sequence"
    )
    assert [tuple(row) for row in rows] == [(False, 3), (True, 4)]
    assert await value(empty_database_url, "SELECT sequence FROM spaces") == 7


async def test_down_6_and_8_fill_what_they_restore(empty_database_url: str) -> None:
    await seeded_at(empty_database_url, 8)
    await migrate_down(empty_database_url)
    assert await value(empty_database_url, "SELECT DISTINCT rate_limit_hash FROM invitations") == "0" * 64
    await migrate_down(empty_database_url, confirmed=True)
    await migrate_down(empty_database_url)
    assert await value(empty_database_url, "SELECT revoked_by FROM revocations") == ""
    assert await value(empty_database_url, "SELECT count(*) FROM members WHERE created_at <= now()") == 2


async def test_down_removes_the_row_of_the_go_server_too(empty_database_url: str) -> None:
    await as_go_left_it(empty_database_url, 11)
    await migrate_down(empty_database_url)
    rows = await fetch(empty_database_url, "SELECT version_id FROM goose_db_version ORDER BY id")
    assert [row["version_id"] for row in rows] == list(range(11))
    assert await shared_versions(empty_database_url) == list(range(1, 11))
    assert await version(empty_database_url) == 10


def with_own(up: str, down: str) -> Catalog:
    """This project's migrations and one more."""
    return {**CATALOG, 999: Migration(999, "extra", up, down, bytes(48))}


async def test_a_failing_down_script_changes_nothing(empty_database_url: str) -> None:
    catalog = with_own("CREATE TABLE extra (x INTEGER)", "DROP TABLE extra; SELECT 1 / 0")
    await migrate_up(empty_database_url, catalog=catalog)
    with pytest.raises(MigrationError) as caught:
        await migrate_down(empty_database_url, catalog=catalog)
    assert str(caught.value) == (
        "migration error: while executing migration 999: error returned from database: division by zero"
    )
    assert "extra" in await relations(empty_database_url)
    assert await version(empty_database_url, catalog=catalog) == 999


async def test_a_down_script_may_ask_to_run_outside_a_transaction(empty_database_url: str) -> None:
    down = "-- no-transaction\nDROP INDEX CONCURRENTLY extra"
    catalog = with_own("CREATE INDEX extra ON records (cursor)", down)
    await migrate_up(empty_database_url, catalog=catalog)
    await migrate_down(empty_database_url, catalog=catalog)
    assert "extra" not in await relations(empty_database_url)
    assert await version(empty_database_url) == LAST
