"""The `migrate` command: outputs, exit codes, and which database it means."""

import asyncio
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from less_sync.bins.commands.migrate import app
from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.migrations import migrate_up
from less_sync.migrations.catalog import load
from tests.bins.commands import Finished, run_less_sync

ROOT: Final = Path(__file__).parents[2]
CATALOG: Final = load()
DEADLINE_S: Final = 60.0

Outcome = tuple[int, str, str]


@pytest.fixture
def migrate(capsys: pytest.CaptureFixture[str]) -> "Run":
    """Run the command in this process."""
    return Run(capsys)


class Run:
    """Calls the command and returns exit code, standard output and standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: str) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            app(list(args), prog_name="migrate")
        out, err = self._capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err


def in_process(*args: str, **environ: str) -> Outcome:
    """Run the command as a process of its own, with nothing but `environ` said about databases."""
    inherited = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "DATA_DIR"}}
    done = subprocess.run(
        [sys.executable, "-m", "less_sync.bins.commands.main", "migrate", *args],
        cwd=ROOT,
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def execute(url: str, script: str) -> None:
    """Run statements."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(script)
        finally:
            await connection.close()

    asyncio.run(run())


def steps(text: str, verb: str) -> list[str]:
    """The labels of `applied 001 initial (3 ms)` lines; every line must be one."""
    found = [re.fullmatch(rf"{verb} (\d{{3}} \w+) \(\d+ ms\)", line) for line in text.splitlines()]
    return [match[1] for match in found if match] if all(found) else [text]


async def test_migrate_is_a_command_of_less_sync_too(empty_database_url: str, tmp_path: Path) -> None:
    done = await run_less_sync("migrate", "version", env={"DATABASE_URL": empty_database_url})
    assert done == Finished(0, "0\n", "")
    unset = await run_less_sync("migrate", cwd=tmp_path)
    assert unset == Finished(1, "", "Error: DATABASE_URL is not set\n")


async def test_a_database_that_does_not_answer_is_named_without_role_and_password() -> None:
    done = await run_less_sync("migrate", "--database-url", "postgres://alice:secret@127.0.0.1:1/sync")
    told = "error communicating with database: Connection refused (os error 111)"
    assert done == Finished(1, "", f'Error: database error: {told}: database "sync" at 127.0.0.1:1\n')


def test_without_a_command_everything_pending_is_applied(migrate: Run, empty_database_url: str) -> None:
    code, out, err = migrate("--database-url", empty_database_url)
    assert (code, out) == (0, "migrations complete\n")
    assert steps(err, "applied") == [migration.label for migration in CATALOG.values()]
    assert migrate("--database-url", empty_database_url) == (0, "migrations complete\n", "")
    assert migrate("up", "--database-url", empty_database_url) == (0, "migrations complete\n", "")


def test_down_reverts_one_migration_and_says_which(migrate: Run, database_url: str) -> None:
    code, out, err = migrate("--database-url", database_url, "down")
    assert (code, out) == (0, "rollback complete\n")
    assert steps(err, "reverted") == [CATALOG[max(CATALOG)].label]


def test_down_to_the_ground_asks_for_yes_and_ends_with_nothing_to_roll_back(
    migrate: Run, empty_database_url: str
) -> None:
    asyncio.run(migrate_up(empty_database_url, catalog={v: m for v, m in CATALOG.items() if v <= 1}))
    url = ("--database-url", empty_database_url)
    refusal = (
        "Error: reverting 001 initial destroys every space, record, file entry and membership log;"
        " repeat with --yes to do it\n"
    )
    assert migrate(*url, "down") == (1, "", refusal)
    assert migrate(*url, "down", "--dry-run") == (1, "", refusal)
    assert migrate(*url, "down", "--dry-run", "--yes") == (
        0,
        "dry run complete\n",
        "would revert 001 initial\n",
    )
    assert migrate(*url, "down", "--yes")[:2] == (0, "rollback complete\n")
    assert migrate(*url, "down", "--yes") == (1, "", "Error: no migration to roll back\n")


def test_a_dry_run_names_what_is_pending_and_applies_nothing(migrate: Run, empty_database_url: str) -> None:
    expected = "".join(f"would apply {migration.label}\n" for migration in CATALOG.values())
    assert migrate("--database-url", empty_database_url, "--dry-run") == (0, "dry run complete\n", expected)
    assert migrate("--database-url", empty_database_url, "version") == (0, "0\n", "")


def test_status_lists_every_migration_in_columns(migrate: Run, empty_database_url: str) -> None:
    asyncio.run(migrate_up(empty_database_url, catalog={v: m for v, m in CATALOG.items() if v <= 2}))
    code, out, err = migrate("--database-url", empty_database_url, "status")
    assert (code, err) == (0, "")
    lines = [re.split(r" {2,}", line) for line in out.splitlines()]
    assert lines[0] == ["VERSION", "NAME", "STATE", "APPLIED_AT"]
    assert [line[:3] for line in lines[1:]] == [
        [f"{m.version:03d}", m.name, "applied" if m.version <= 2 else "pending"] for m in CATALOG.values()
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line[3]) for line in lines[1:3])
    assert {line[3] for line in lines[3:]} == {"-"}
    assert migrate("--database-url", empty_database_url, "version") == (0, "2\n", "")


def test_rows_without_cursor_are_counted_by_status_and_repaired(migrate: Run, database_url: str) -> None:
    space = "00000000-0000-0000-0000-00000000000a"
    execute(
        database_url,
        f"INSERT INTO spaces (id, client_id, cursor) VALUES ('{space}', 'c', 4);"
        "INSERT INTO members (space_id, chain_seq, entry_hash, payload)"
        f" VALUES ('{space}', 1, 'h', 'p'), ('{space}', 2, 'h', 'p')",
    )
    url = ("--database-url", database_url)
    hint = "2 member entries and 0 files without cursor; `migrate repair-cursors` gives them one\n"
    assert migrate(*url, "status")[2] == hint
    assert migrate(*url, "repair-cursors", "--dry-run") == (
        0,
        "dry run complete\n",
        "would repair 2 member entries and 0 files\n",
    )
    assert migrate(*url, "repair-cursors") == (
        0,
        "repair complete\n",
        f"repaired 2 member entries and 0 files of space {space}, now at cursor 6\n",
    )
    assert migrate(*url, "repair-cursors") == (0, "repair complete\n", "")
    assert migrate(*url, "status")[2] == ""


def test_a_refused_database_ends_with_status_1_and_the_reason(migrate: Run, empty_database_url: str) -> None:
    execute(empty_database_url, "CREATE TABLE spaces (id UUID)")
    reason = "Error: migration error: database has tables but no migration history\n"
    for command in ("up", "down", "status", "version", "repair-cursors"):
        assert migrate("--database-url", empty_database_url, command) == (1, "", reason)


def test_create_writes_two_scripts_and_prints_their_paths(migrate: Run, tmp_path: Path) -> None:
    code, out, err = migrate("--dir", str(tmp_path), "create", "Add Index")
    assert (code, err) == (0, "")
    paths = [tmp_path / "0101_add_index.up.sql", tmp_path / "0101_add_index.down.sql"]
    assert out == "".join(f"{path}\n" for path in paths)
    assert all(path.is_file() for path in paths)
    assert migrate("--dir", str(tmp_path), "create", "!") == (
        1,
        "",
        "Error: a migration's name needs a letter or a digit\n",
    )


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["sideways"], "unknown command 'sideways'"),
        (["up", "x"], "up takes no argument"),
        (["status", "x"], "status takes no argument"),
        (["up", "x", "y"], "unexpected extra argument"),
        (["create"], "create needs a NAME"),
        (["create", "x", "--dry-run"], "--dry-run is not for create"),
        (["--dir", "x", "up"], "--dir is for create alone"),
        (["--sideways"], "No such option: --sideways"),
    ],
)
def test_a_usage_error_ends_with_status_2_and_the_usage(migrate: Run, args: list[str], reason: str) -> None:
    code, out, err = migrate(*args)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: migrate [OPTIONS] [COMMAND] [ARG]\n")
    assert reason in err


def test_help_names_every_command_and_touches_no_database(migrate: Run) -> None:
    code, out, err = migrate("--help")
    assert (code, err) == (0, "")
    for word in ("up", "down", "status", "version", "create NAME", "repair-cursors", "--yes", "--dry-run"):
        assert word in out
    assert "Without a COMMAND it does `up`, at once." in out
    assert "default" not in out
    assert migrate("-h") == (0, out, "")


def test_the_version_is_told_by_the_option_and_that_of_the_database_by_the_word(migrate: Run) -> None:
    told = f"less-sync {metadata.version('less-sync')}\n"
    assert migrate("--version") == (0, told, "")
    assert in_process("--version") == (0, told, "")


def test_the_process_takes_its_database_from_the_environment(empty_database_url: str) -> None:
    code, out, err = in_process(DATABASE_URL=empty_database_url)
    assert (code, out) == (0, "migrations complete\n"), err
    assert in_process("version", DATABASE_URL=empty_database_url) == (0, f"{max(CATALOG)}\n", "")


def test_without_any_database_the_process_says_what_is_missing(tmp_path: Path) -> None:
    assert in_process(DATA_DIR=str(tmp_path)) == (1, "", "Error: DATABASE_URL is not set\n")
    assert in_process("status", DATA_DIR=str(tmp_path)) == (1, "", "Error: DATABASE_URL is not set\n")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_url_is_not_an_unset_one(tmp_path: Path) -> None:
    assert in_process(DATABASE_URL="", DATA_DIR=str(tmp_path)) == (
        1,
        "",
        "Error: database error: error with configuration: relative URL without a base\n",
    )


def test_without_url_the_private_postgres_of_the_data_directory_is_migrated(tmp_path: Path) -> None:
    async def make_cluster() -> None:
        async with EmbeddedPostgres(tmp_path / "data", settings={"fsync": "off"}):
            pass

    asyncio.run(make_cluster())
    code, out, err = in_process(DATA_DIR=str(tmp_path / "data"))
    assert (code, out) == (0, "migrations complete\n"), err
    assert in_process("version", DATA_DIR=str(tmp_path / "data")) == (0, f"{max(CATALOG)}\n", "")
