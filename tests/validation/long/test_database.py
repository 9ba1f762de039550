"""The lane `database` on real databases: sound ones pass, and each hurt by SQL fails where it was hurt."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.migrations import drift, load, migrate_up
from less_sync.validation.context import Context
from less_sync.validation.outcome import PASSED, Broken, Outcome, Status
from less_sync.validation.procedure import Procedure, Same
from less_sync.validation.queries import looking
from tests.migrations.support import as_go_left_it, as_rust_left_it, connected, execute, value, with_query
from tests.validation.databases import (
    FILE,
    LANE,
    LAST,
    LAST_RUN,
    OTHER,
    RECORD,
    RUNS,
    SCHEMA_ROWS,
    SOUND,
    failed,
    looking_at,
    outcomes,
    owner_of,
    probe,
    row,
)
from tests.validation.rig import Rig

ROLE: Final = "less_sync_test_role"
FAULTED: Final = frozenset((*SCHEMA_ROWS, "settings", "image-agreement"))
"""Procedures that are seen to fail here."""
HERE: Final = tuple(one for one in LANE if one != "integrity")
"""Of databases without a row, and of the rig's, in which what other tests wrote is theirs."""


@pytest.fixture
async def sound_url(database_url: str) -> str:
    """A database of a server that has been used."""
    await execute(database_url, SOUND)
    return database_url


async def test_a_sound_database_passes_at_every_target(rig: Rig, sound_url: str) -> None:
    assert await outcomes(rig, sound_url) == {}
    assert await outcomes(rig, sound_url, target="production") == {}
    assert await outcomes(rig, sound_url, target="production", stage="after") == {}


@pytest.mark.parametrize(
    ("fault", "red"),
    [
        # Of a history, and of what is missing of the schema, `adoptable` says that `less-sync migrate`
        # would refuse it, in the words of that command.
        (
            "UPDATE _sqlx_migrations SET checksum = repeat('x', 48)::bytea WHERE version = 7",
            {
                "migrations": "checksum:7",
                "adoptable": "refused:migration-7-was-previously-applied-but-has-been-modified",
            },
        ),
        (
            f"INSERT INTO less_sync_migrations (version, name, checksum) VALUES ({LAST + 1}, 'later', 'x')",
            {
                "migrations": f"unknown:{LAST + 1}",
                "adoptable": "refused:migration-"
                f"{LAST + 1}-was-previously-applied-but-is-missing-in-the-resol",
            },
        ),
        (
            "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 9",
            {
                "migrations": "not-succeeded:9",
                "adoptable": "refused:migration-9-is-partially-applied-fix-and-remove-row-from-_sqlx_m",
            },
        ),
        (
            # What it has made is there all the same, and nobody's.
            "DELETE FROM less_sync_migrations WHERE version = 106",
            {
                "migrations": "missing:106",
                "drift": "schema-differs:function:lsync_push_changes_v2",
            },
        ),
        (
            "ALTER TABLE spaces ALTER client_id DROP NOT NULL",
            {"drift": "schema-differs:spaces.client_id", "adoptable": "schema-differs:spaces.client_id"},
        ),
        (
            "DROP INDEX idx_records_sync",
            {
                "drift": "schema-differs:index:records:btree-space_id-cursor-id",
                "adoptable": "schema-differs:index-of-records-btree-space_id-cursor-id",
            },
        ),
        (
            "CREATE OR REPLACE FUNCTION lsync_lock_fed_keys_v1() RETURNS void LANGUAGE sql"
            " SET search_path FROM CURRENT AS $$ SELECT pg_advisory_xact_lock(1) $$",
            {"drift": "schema-differs:function:lsync_lock_fed_keys_v1"},
        ),
        (
            "ALTER TABLE files DROP CONSTRAINT files_record_fk;"
            "ALTER TABLE files ADD CONSTRAINT files_record_fk FOREIGN KEY (record_id)"
            " REFERENCES records NOT VALID",
            {"valid": "not-validated:files_record_fk"},
        ),
        (f"UPDATE records SET cursor = 8 WHERE id = '{RECORD}'", {"integrity": "cursor-above:records"}),
        ("UPDATE members SET cursor = 9 WHERE chain_seq = 2", {"integrity": "cursor-above:members"}),
        (f"UPDATE files SET cursor = 8 WHERE id = '{FILE}'", {"integrity": "cursor-above:files"}),
        ("UPDATE members SET cursor = 0", {"integrity": "without-cursor:members"}),
        (f"UPDATE records SET space_id = '{OTHER}', cursor = 0", {"integrity": "without-cursor:records"}),
        ("UPDATE members SET payload = 'p' WHERE chain_seq = 1", {"integrity": "chain:broken"}),
        ("UPDATE members SET prev_hash = NULL WHERE chain_seq = 2", {"integrity": "chain:broken"}),
        ("UPDATE members SET chain_seq = 3 WHERE chain_seq = 2", {"integrity": "chain:broken"}),
        ("DELETE FROM members WHERE chain_seq = 2", {"integrity": "chain:length"}),
        ("UPDATE spaces SET metadata_version = 0", {"integrity": "chain:length"}),
    ],
)
async def test_a_fault_turns_its_row_red_and_no_other(
    rig: Rig, sound_url: str, fault: str, red: Mapping[str, str]
) -> None:
    await execute(sound_url, fault)
    found = await outcomes(rig, sound_url)
    assert found == {name: failed(reason) for name, reason in red.items()}


async def test_a_file_without_its_record_is_found_though_nothing_forbids_it(rig: Rig, sound_url: str) -> None:
    move = f"UPDATE files SET space_id = '{OTHER}', cursor = 1 WHERE id = '{FILE}'"
    await execute(sound_url, f"UPDATE spaces SET cursor = 7; {move}")
    assert await outcomes(rig, sound_url) == {"integrity": failed("file-without-record")}


async def test_two_rows_of_one_identity_are_found_though_the_index_knows_one(
    rig: Rig, sound_url: str
) -> None:
    async with connected(sound_url) as connection:
        await connection.execute("ALTER TABLE files DROP CONSTRAINT files_record_fk")
        await connection.execute(
            "UPDATE pg_index SET indisready = FALSE WHERE indexrelid = 'records_pkey'::regclass"
        )
        await connection.execute(f"INSERT INTO records SELECT * FROM records WHERE id = '{RECORD}'")
        await connection.execute(
            "UPDATE pg_index SET indisready = TRUE WHERE indexrelid = 'records_pkey'::regclass"
        )
    # Without their constraints there are no such rows, and `drift` misses the one that is gone.
    gone = "schema-differs:constraint:files:FOREIGN-KEY-record_id-REFERENCES-records-id"
    drifted = {"drift": failed(gone)}
    assert await outcomes(rig, sound_url) == {"integrity": failed("twice:records")} | drifted
    await execute(
        sound_url,
        "DELETE FROM records WHERE ctid = (SELECT max(ctid) FROM records);"
        "ALTER TABLE files DROP CONSTRAINT files_pkey; INSERT INTO files SELECT * FROM files",
    )
    found = await outcomes(rig, sound_url)
    assert found.pop("integrity") == failed("twice:files")
    assert found.keys() == {"drift", "adoptable"}


async def test_two_keys_that_sign_are_found(rig: Rig, sound_url: str) -> None:
    async with connected(sound_url) as connection:
        for index in await connection.fetch(
            "SELECT indexrelid::regclass::text AS name FROM pg_index"
            " WHERE indrelid = 'federation_signing_keys'::regclass AND NOT indisprimary"
        ):
            await connection.execute(f"DROP INDEX {index['name']}")
        await connection.execute("UPDATE federation_signing_keys SET is_primary = TRUE")
    found = await outcomes(rig, sound_url)
    assert found.pop("integrity") == failed("primary-keys")
    assert found.keys() == {"drift", "adoptable"}  # the index that forbids it is missed


async def test_of_many_spaces_some_are_looked_at_and_the_same_ones_for_the_same_run(
    rig: Rig, sound_url: str
) -> None:
    await execute(
        sound_url,
        "INSERT INTO spaces (id, client_id, cursor)"
        " SELECT gen_random_uuid(), 'many', 1 FROM generate_series(1, 500);"
        "INSERT INTO records (id, space_id, blob, cursor, wrapped_dek) SELECT gen_random_uuid(), id, 'x', 1,"
        " decode(repeat('01', 44), 'hex') FROM spaces WHERE client_id = 'many'",
    )
    seen = [
        await row(rig, "integrity", sound_url, parameters={"work_limit_rows": 100}, run_id=bytes(16))
        for _ in range(2)
    ]
    assert [one.outcome for one in seen] == [PASSED] * 2
    assert 50 <= seen[0].measured.numbers["spaces"].value <= 100
    await execute(sound_url, "UPDATE records SET cursor = 2 WHERE cursor = 1")
    seen = [
        await row(rig, "integrity", sound_url, parameters={"work_limit_rows": 100}, run_id=bytes(16))
        for _ in range(2)
    ]
    assert [one.outcome for one in seen] == [failed("cursor-above:records")] * 2
    # Equal ids have equal markers within one run alone, and nothing of an id is in the evidence.
    async with connected(sound_url) as connection:
        ids = await connection.fetch("SELECT id FROM spaces")
    for one in seen:
        text = one.evidence + "\n".join(one.lines)
        assert text.count("[row:") >= 50
        assert not [each for each in ids if str(each["id"]) in text or each["id"].hex in text]


async def test_a_database_without_a_space_says_nothing_of_rows(rig: Rig, database_url: str) -> None:
    found = await outcomes(rig, database_url)
    assert found == {"integrity": Outcome(Status.BLOCKED, "no-data")}


async def test_an_index_left_by_a_cancelled_build_is_named(rig: Rig, sound_url: str) -> None:
    async with connected(sound_url) as holder, connected(sound_url) as builder:
        writing = holder.transaction()
        await writing.start()
        await holder.execute("UPDATE spaces SET cursor = cursor")
        await builder.execute("SET lock_timeout = '200ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await builder.execute("CREATE INDEX CONCURRENTLY idx_half ON spaces (client_id)")
        await writing.rollback()
    assert await outcomes(rig, sound_url) == {"valid": failed("invalid:idx_half")}


async def test_databases_of_the_existing_servers(rig: Rig, empty_database_url: str) -> None:
    await as_rust_left_it(empty_database_url, 11)
    names = ("migrations", "drift", "adoptable", "valid")
    assert await outcomes(rig, empty_database_url, names, target="production") == {}
    after = await outcomes(rig, empty_database_url, names, target="production", stage="after")
    assert after == {"migrations": failed("missing:12")}
    staging = await outcomes(rig, empty_database_url, names)
    assert staging == {"migrations": failed("missing:12")}
    seen = await row(rig, "adoptable", empty_database_url, target="production")
    assert seen.measured.numbers["pending_versions"].value == LAST - 100 + 1


async def test_a_database_of_the_go_server_is_taken_over(rig: Rig, empty_database_url: str) -> None:
    await as_go_left_it(empty_database_url, 11)
    names = ("migrations", "drift", "adoptable", "valid")
    assert await outcomes(rig, empty_database_url, names, target="production") == {}
    seen = await row(rig, "adoptable", empty_database_url, target="production")
    assert seen.measured.numbers["adopted_versions"].value == 11
    assert (await row(rig, "migrations", empty_database_url)).outcome == failed("missing:12")


async def test_a_go_history_with_a_gap_cannot_be_taken_over(rig: Rig, empty_database_url: str) -> None:
    await as_go_left_it(empty_database_url, 11, recorded=[1, 2, 3, *range(5, 12)])
    found = await outcomes(rig, empty_database_url, target="production")
    assert found == {
        "adoptable": failed("refused:goose-history-has-gaps"),
        "migrations": failed("missing:4"),  # which is the gap
        "integrity": Outcome(Status.BLOCKED, "no-data"),  # as it is without the gap
    }


async def test_what_would_be_refused_is_told_as_the_migration_tells_it(rig: Rig, sound_url: str) -> None:
    await execute(sound_url, "ALTER TABLE spaces ALTER client_id DROP NOT NULL")
    seen = await row(rig, "adoptable", sound_url, target="production")
    assert seen.outcome == failed("schema-differs:spaces.client_id")
    await execute(
        sound_url, "CREATE TABLE less_sync_restore (digest TEXT, began_at TIMESTAMPTZ DEFAULT now())"
    )
    await execute(sound_url, "INSERT INTO less_sync_restore (digest) VALUES ('aa')")
    seen = await row(rig, "adoptable", sound_url, target="production")
    assert seen.outcome == failed("half-restored")


async def test_dead_rows_are_a_share_of_large_tables(rig: Rig, sound_url: str) -> None:
    await execute(
        sound_url,
        "ALTER TABLE rate_limit_actions SET (autovacuum_enabled = off);"
        "INSERT INTO rate_limit_actions (action, actor_hash)"
        " SELECT 'a', repeat('b', 64) FROM generate_series(1, 20000)",
    )
    assert (await row(rig, "bloat", sound_url)).outcome == PASSED
    # 60 % of all rows that are there, dead ones included.
    await execute(
        sound_url,
        "DELETE FROM rate_limit_actions WHERE ctid IN (SELECT ctid FROM rate_limit_actions LIMIT 12000)",
    )
    seen = await row(rig, "bloat", sound_url)
    assert (seen.outcome, seen.measured.numbers["dead_percent"].value) == (failed("dead-rows"), 60)
    assert await outcomes(rig, sound_url) == {"bloat": failed("dead-rows")}
    assert (await row(rig, "bloat", sound_url, parameters={"table_rows_min": 20_000})).outcome == PASSED


async def test_a_limit_of_age_below_the_databases_is_passed(rig: Rig, sound_url: str) -> None:
    seen = await row(rig, "age", sound_url)
    assert seen.outcome == PASSED
    limit = {"age": {"age_transactions_max": seen.measured.numbers["age_transactions"].value - 1}}
    assert await outcomes(rig, sound_url, parameters=limit) == {"age": failed("age")}


@asynccontextmanager
async def role_of(url: str, *statements: str) -> AsyncIterator[tuple[str, str]]:
    """A role that may what the statements grant to `{role}`, and the URL by which it comes in."""
    role = f"{ROLE}_{secrets.token_hex(4)}"
    async with connected(url) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN")
        try:
            for statement in statements:
                await connection.execute(statement.format(role=role))
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            yield role, urlunsplit(parts._replace(netloc=f"{role}@{host}"))
        finally:
            await connection.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}")
            await connection.execute(f"DROP ROLE {role}")


OWNS: Final = """DO $$ DECLARE t text; BEGIN
FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
  EXECUTE format('ALTER TABLE %I OWNER TO {role}', t); END LOOP; END $$"""
MAY_CREATE: Final = "GRANT CREATE ON SCHEMA public TO {role}"


async def test_the_servers_role_owns_its_tables_and_may_create(rig: Rig, sound_url: str) -> None:
    async def asked(role: str) -> Outcome:
        found = await outcomes(rig, sound_url, inputs={"DATABASE_ROLE": role})
        assert found.keys() <= {"privileges"}
        return found.get("privileges", PASSED)

    async with role_of(sound_url, OWNS, MAY_CREATE) as (role, _):
        assert await asked(role) == PASSED
        await execute(sound_url, f"REVOKE CREATE ON SCHEMA public FROM {role}")
        assert await asked(role) == failed("create")
        await execute(
            sound_url, f"GRANT CREATE ON SCHEMA public TO {role}; ALTER TABLE files OWNER TO CURRENT_USER"
        )
        assert await asked(role) == failed("not-owner:files")
        assert await asked("nobody_of_this_name") == failed("no-such-role")
    assert (await row(rig, "privileges", sound_url)).outcome == Outcome(Status.BLOCKED, "input:DATABASE_ROLE")


async def test_a_role_that_may_only_read_suffices_for_every_row(rig: Rig, sound_url: str) -> None:
    async with role_of(sound_url, "GRANT pg_read_all_data TO {role}") as (role, url):
        owner = await owner_of(sound_url)
        careless = await value(sound_url, "SELECT current_setting('fsync')") == "off"
        for name in (*SCHEMA_ROWS, "settings"):
            seen = await row(rig, name, url, inputs={"DATABASE_ROLE": owner})
            # A Postgres that the tests started does not sync to disk: that this is seen is enough.
            wanted = failed("fsync") if name == "settings" and careless else PASSED
            assert seen.outcome == wanted, (name, role, seen.lines)
    async with role_of(sound_url) as (_, url):
        seen = await row(rig, "integrity", url)
        assert seen.outcome == Outcome(Status.BLOCKED, "privilege")


# A lock may be taken, and whoever owns an index may build it anew: neither changes what is there.
WRITES: Final = (
    "INSERT INTO spaces (id, client_id) VALUES (gen_random_uuid(), 'x')",
    "UPDATE spaces SET cursor = cursor",
    "DELETE FROM spaces",
    "MERGE INTO spaces s USING spaces t ON s.id = t.id WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM spaces RETURNING 1) SELECT * FROM gone",
    "TRUNCATE revocations",
    "SELECT * FROM spaces FOR UPDATE",
    "CREATE TABLE more (id int)",
    "CREATE TEMP TABLE more (id int)",
    "ALTER TABLE spaces ADD COLUMN more int",
    "DROP TABLE revocations",
    "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "COMMENT ON TABLE spaces IS 'x'",
    "GRANT ALL ON spaces TO PUBLIC",
    "COPY spaces FROM PROGRAM 'true'",
    "SELECT lsync_space_v1(gen_random_uuid(), 'x')",
    "DO $$ BEGIN DELETE FROM spaces; END $$",
    "SELECT setval(pg_get_serial_sequence('numbered', 'id'), 5)",
    "SELECT lo_create(0)",
    "EXPLAIN ANALYZE DELETE FROM spaces",
    "PREPARE TRANSACTION 'x'",
    "VACUUM spaces",
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; DELETE FROM spaces",
    "SET default_transaction_read_only = off; DELETE FROM spaces",
    "SET transaction_read_only = off",
)


async def state_of(url: str) -> list[tuple[object, ...]]:
    """All rows and objects, as far as a writer could leave a trace."""
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT to_jsonb(s) FROM spaces s ORDER BY id")
        objects = await connection.fetch("SELECT oid, relname, relacl::text FROM pg_class ORDER BY oid")
        large = await connection.fetch("SELECT oid FROM pg_largeobject_metadata")
        return [tuple(one) for one in (*rows, *objects, *large)]


async def test_no_statement_of_a_procedure_can_write(rig: Rig, sound_url: str) -> None:
    await execute(sound_url, "CREATE TABLE numbered (id serial)")
    before = await state_of(sound_url)
    refused: dict[str, str | None] = {}

    async def tries(context: Context) -> None:
        for statement in WRITES:
            async with context.database() as connection:
                try:
                    await connection.execute(statement)
                except asyncpg.PostgresError as error:
                    refused[statement] = error.sqlstate
        context.measured.same("tried", 1, 1, "tried")

    procedure = Procedure("tries", "database", tries, "tries to write", (Same("tried"),))
    # As the owner, who may do all of it: it is the transaction that may not.
    assert (await row(rig, procedure, sound_url)).outcome == PASSED
    # Before 16 Postgres lets large objects through; with the transaction they are gone all the same.
    assert {one for one in WRITES if one not in refused} <= {"SELECT lo_create(0)"}
    assert set(refused.values()) <= {"25006", "25001", "0A000", "55000"}, refused
    assert await state_of(sound_url) == before


async def test_a_statement_that_takes_too_long_is_ended_by_the_database(rig: Rig, sound_url: str) -> None:
    async def sleeps(context: Context) -> None:
        async with looking(context) as look:
            limits = [
                await look.value(f"SELECT current_setting('{name}')")
                for name in ("statement_timeout", "lock_timeout", "transaction_read_only", "application_name")
            ]
            context.measured.same("limits", ["30s", "1s", "on", "less-sync-validate"], limits, "limits")
            await look.connection.execute("SET LOCAL statement_timeout = '50ms'")
            await look.rows("SELECT pg_sleep(20)")

    procedure = Procedure("sleeps", "database", sleeps, "sleeps", (Same("limits"),))
    seen = await row(rig, procedure, sound_url)
    assert seen.outcome == Outcome(Status.ERROR, "statement-timeout")

    async def waits(context: Context) -> None:
        async with looking(context) as look:
            await look.rows("SELECT count(*) FROM spaces")

    waiting = Procedure("waits", "database", waits, "waits", (Same("limits"),))
    async with connected(sound_url) as holder, holder.transaction():
        await holder.execute("LOCK TABLE spaces IN ACCESS EXCLUSIVE MODE")
        assert (await row(rig, waiting, sound_url)).outcome == Outcome(Status.ERROR, "lock-timeout")


async def test_a_url_cannot_take_the_limits_back(rig: Rig, sound_url: str) -> None:
    more = (
        "default_transaction_read_only=off&statement_timeout=0&options=-cdefault_transaction_read_only%3Doff"
    )

    async def asks(context: Context) -> None:
        async with context.database() as connection:
            seen = await connection.fetchrow(
                "SELECT current_setting('default_transaction_read_only'),"
                " current_setting('statement_timeout'), current_setting('transaction_read_only')"
            )
            context.measured.same("limits", ("on", "30s", "on"), tuple(seen or ()), "limits")

    procedure = Procedure("asks", "database", asks, "asks", (Same("limits"),))
    assert (await row(rig, procedure, with_query(sound_url, more))).outcome == PASSED


async def test_without_a_database_the_row_says_which_input_is_missing(rig: Rig) -> None:
    seen = await rig.outcome("drift", without=("database",))
    assert seen == Outcome(Status.BLOCKED, "input:STAGING_DATABASE_URL")
    run = rig.run()
    run.targets["production"].database_url = "postgresql://nobody@127.0.0.1:1/none"
    assert await rig.outcome("drift", target="production", run=run) == failed("unreachable:connect")


async def test_settings_that_would_lose_what_was_acknowledged(rig: Rig, tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "data") as postgres:
        url = postgres.url
        await migrate_up(url)
        assert (await row(rig, "settings", url)).outcome == PASSED
        database = str(urlsplit(url).path.strip("/"))

        async def after(*statements: str, **of_row: Any) -> Outcome:
            async with connected(url) as connection:
                for statement in statements:
                    await connection.execute(statement)
                await connection.execute("SELECT pg_reload_conf()")
            async with connected(url) as connection:  # a new session has seen the new settings
                await connection.execute("SELECT pg_sleep(0.2)")
            assert await outcomes(rig, url, [one for one in HERE if one != "settings"]) == {}
            return (await row(rig, "settings", url, **of_row)).outcome

        assert await after("ALTER SYSTEM SET fsync = off") == failed("fsync")
        reason = await after("ALTER SYSTEM RESET fsync", "ALTER SYSTEM SET full_page_writes = off")
        assert reason == failed("full-page-writes")
        reason = await after(
            "ALTER SYSTEM RESET full_page_writes", f'ALTER DATABASE "{database}" SET synchronous_commit = off'
        )
        assert reason == failed("synchronous-commit")
        reason = await after(
            f'ALTER DATABASE "{database}" RESET synchronous_commit',
            f'ALTER ROLE "{await owner_of(url)}" SET synchronous_commit = off',
        )
        assert reason == failed("synchronous-commit")
        reset = f'ALTER ROLE "{await owner_of(url)}" RESET synchronous_commit'
        assert await after(reset, parameters={"connections_min": 1000}) == failed("connections")
        assert await after(parameters={"server_version_min": 99}) == failed("server-version")
        # Connections that the server has open count as free: this database is not that server's.
        alone = looking_at(rig, url, "staging")
        alone.targets["staging"].metrics_url = None
        assert await rig.outcome("settings", target="staging", run=alone) == PASSED
        await after(f'ALTER DATABASE "{database}" CONNECTION LIMIT 5')
        assert await rig.outcome("settings", target="staging", run=alone) == failed("connections")


@pytest.mark.parametrize(
    ("changed", "inputs", "outcome"),
    [
        ({}, {}, PASSED),
        ({}, {"CANDIDATE_IMAGE": "sha256:aa"}, PASSED),
        ({}, {"CANDIDATE_IMAGE": "sha256:bb"}, failed("image:service")),
        ({"migrate": '{"image": "sha256:old"}'}, {}, failed("image:migrate")),
        (
            {"last_migration": '{"image": "sha256:aa", "succeeded": false}'},
            {},
            failed("last-migration:failed"),
        ),
        ({"last_migration": '{"image": "sha256:aa"}'}, {}, failed("last-migration:failed")),
        (
            {"last_migration": '{"image": "sha256:old", "succeeded": true}'},
            {},
            failed("last-migration:image"),
        ),
        ({"service": "{}"}, {}, Outcome(Status.ERROR, "no-image")),
        ({"service": "none"}, {}, Outcome(Status.ERROR, "command-output:service")),
    ],
)
async def test_images_of_service_and_migration(
    rig: Rig, tmp_path: Path, changed: Mapping[str, str], inputs: Mapping[str, str], outcome: Outcome
) -> None:
    told = {"service": RUNS, "migrate": RUNS, "last_migration": LAST_RUN} | dict(changed)
    given = probe(tmp_path, **told) | dict(inputs)
    seen = await outcomes(rig, rig.server().database_url, HERE, inputs=given)
    assert seen == ({} if outcome == PASSED else {"image-agreement": outcome})


async def test_production_before_the_switch_runs_the_incumbents_image(rig: Rig, tmp_path: Path) -> None:
    inputs = probe(tmp_path, service=RUNS, migrate=RUNS, last_migration=LAST_RUN)
    inputs |= {"CANDIDATE_IMAGE": "sha256:bb", "INCUMBENT_IMAGE": "sha256:aa"}
    assert await rig.outcome("image-agreement", target="production", inputs=inputs) == PASSED
    after = await rig.outcome("image-agreement", target="production", stage="after", inputs=inputs)
    assert after == failed("image:service")


async def test_one_image_is_a_declaration_that_is_checked(rig: Rig, sound_url: str) -> None:
    missing = await rig.outcome("image-agreement")
    assert missing == Outcome(Status.BLOCKED, "input:IMAGE_PROBE_COMMAND")

    own = {"CANDIDATE_VERSION": await rig.build_version()}

    async def asked(inputs: Mapping[str, str] = own, **of_row: Any) -> Outcome:
        seen = await row(rig, "image-agreement", sound_url, one_image=True, inputs=inputs, **of_row)
        return seen.outcome

    assert await asked() == PASSED
    assert await asked(target="production") == PASSED
    assert await asked(inputs={"CANDIDATE_VERSION": "9.9"}) == failed("version-differs")
    await execute(sound_url, f"DELETE FROM less_sync_migrations WHERE version = {LAST}")
    assert await asked() == failed("versions")
    assert await asked(target="production") == PASSED
    await execute(
        sound_url, "INSERT INTO less_sync_migrations (version, name, checksum) VALUES (999, 'x', 'x')"
    )
    assert await asked(target="production") == failed("versions")


async def test_what_other_rooms_need_of_a_database_is_there(rig: Rig, sound_url: str) -> None:
    run = looking_at(rig, sound_url)

    async def compares(context: Context) -> None:
        async with context.database() as connection:
            context.measured.same(
                "drift", [], await drift(connection, load().keys(), additions=True), "drift"
            )
            raise Broken("ended-early")

    procedure = Procedure("compares", "database", compares, "compares", (Same("drift"),))
    assert await rig.outcome(procedure, run=run) == Outcome(Status.ERROR, "ended-early")
