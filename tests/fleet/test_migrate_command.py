"""`less-sync fleet migrate`: its words, the schema it means, and what it says where it can do nothing."""

import asyncio
import re
from pathlib import Path
from typing import Final

import pytest

from less_sync.bins.commands.app import app
from less_sync.bins.commands.fleet import COMMANDS
from less_sync.fleet.line import DEFAULT_SCHEMA, FleetLine
from less_sync.migrations import version

from .databases import value

CATALOG: Final = FleetLine().load()
LABELS: Final = [migration.label for migration in CATALOG.values()]
LAST: Final = len(LABELS)

Outcome = tuple[int, str, str]


class Run:
    """Calls the command in this process; returns exit code, standard output and standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: str) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            app(["fleet", "migrate", *args], prog_name="less-sync")
        out, err = self._capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, re.sub(r" \(\d+ ms\)$", "", err, flags=re.MULTILINE)


@pytest.fixture
def migrate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command, in an environment that names no database."""
    for name in ("DATABASE_URL", "FLEET_SCHEMA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return Run(capsys)


def lines(verb: str, labels: list[str]) -> str:
    """What is noted of migrations on standard error."""
    return "".join(f"{verb} {label}\n" for label in labels)


def test_it_goes_up_says_where_it_stands_and_goes_back(migrate: Run, empty_database_url: str) -> None:
    url = ("--database-url", empty_database_url)
    assert migrate(*url, "--dry-run") == (0, "dry run complete\n", lines("would apply", LABELS))
    assert migrate(*url, "version") == (0, "0\n", "")
    assert migrate(*url) == (0, "migrations complete\n", lines("applied", LABELS))
    assert migrate(*url, "up") == (0, "migrations complete\n", "")
    code, out, err = migrate(*url, "status")
    rows = [re.split(r" {2,}", row) for row in out.splitlines()]
    assert (code, err, rows[0]) == (0, "", ["VERSION", "NAME", "STATE", "APPLIED_AT"])
    assert [f"{row[0]} {row[1]} {row[2]}" for row in rows[1:]] == [f"{label} applied" for label in LABELS]
    loss = "destroys every operator and the audit log; repeat with --yes to do it"
    assert migrate(*url, "down") == (1, "", f"Error: reverting 009 operators {loss}\n")
    assert migrate(*url, "down", "--yes", "--dry-run") == (
        0,
        "dry run complete\n",
        "would revert 009 operators\n",
    )
    assert migrate(*url, "down", "--yes") == (0, "rollback complete\n", "reverted 009 operators\n")
    assert migrate(*url, "version") == (0, f"{LAST - 1}\n", "")


async def test_the_environment_names_database_and_schema(
    migrate: Run, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    monkeypatch.setenv("FLEET_SCHEMA", "plane_2")
    assert await in_a_thread(migrate) == (0, "migrations complete\n", lines("applied", LABELS))
    assert await version(empty_database_url, line=FleetLine("plane_2")) == LAST
    query = "SELECT array_agg(nspname::text) FROM pg_namespace WHERE nspname IN ($1, 'plane_2')"
    assert await value(empty_database_url, query, DEFAULT_SCHEMA) == ["plane_2"]


async def in_a_thread(migrate: Run) -> Outcome:
    """The command has a loop of its own."""
    return await asyncio.to_thread(migrate)


@pytest.mark.parametrize(
    "schema", ["", "pg_fleet", "1st", "Fleet", "a-b", 'a"b', "a.b", "a" * 64, "é", "a\n"]
)
def test_a_schema_whose_name_would_need_quotes_is_refused(
    migrate: Run, monkeypatch: pytest.MonkeyPatch, empty_database_url: str, schema: str
) -> None:
    monkeypatch.setenv("FLEET_SCHEMA", schema)
    told = "FLEET_SCHEMA must be 1 to 63 of a-z, 0-9 and _, and begin with neither a digit nor pg_"
    assert migrate("--database-url", empty_database_url) == (1, "", f"Error: {told}\n")


def test_a_database_with_a_sync_server_keeps_its_own_history(migrate: Run, database_url: str) -> None:
    url = ("--database-url", database_url)
    assert migrate(*url)[:2] == (0, "migrations complete\n")
    assert migrate(*url, "version") == (0, f"{LAST}\n", "")


def test_a_database_of_another_service_is_refused_in_one_line(
    migrate: Run, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("FLEET_SCHEMA", "public")
    told = "migration error: schema public has tables but no migration history"
    for word in ("up", "down", "status", "version"):
        assert migrate("--database-url", database_url, word) == (1, "", f"Error: {told}\n")


def test_without_a_database_it_says_which_variable_names_one(migrate: Run, tmp_path: Path) -> None:
    assert migrate() == (1, "", "Error: DATABASE_URL is not set\n")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_does_not_answer_is_named_without_its_password(migrate: Run) -> None:
    told = "database error: error communicating with database: Connection refused (os error 111)"
    assert migrate("--database-url", "postgres://alice:secret@127.0.0.1:1/plane") == (
        1,
        "",
        f'Error: {told}: database "plane" at 127.0.0.1:1\n',
    )


def test_new_scripts_are_numbered_on_from_the_plane_s(migrate: Run, tmp_path: Path) -> None:
    (tmp_path / "0009_last.up.sql").touch()
    code, out, err = migrate("create", "servers", "--dir", str(tmp_path))
    names = [f"0010_servers.{part}.sql" for part in ("up", "down")]
    assert (code, out, err) == (0, "".join(f"{tmp_path / name}\n" for name in names), "")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("repair-cursors",), "unknown command 'repair-cursors'"),
        (("sideways",), "unknown command 'sideways'"),
        (("create",), "create needs a NAME"),
        (("create", "x", "--dry-run"), "--dry-run is not for create"),
        (("up", "x"), "up takes no argument"),
        (("up", "--dir", "x"), "--dir is for create alone"),
    ],
)
def test_a_line_that_cannot_be_meant_is_a_usage_error(migrate: Run, args: tuple[str, ...], told: str) -> None:
    code, out, err = migrate(*args)
    assert (code, out) == (2, "")
    assert told in err


def test_help_names_each_command(migrate: Run) -> None:
    code, out, _ = migrate("--help")
    assert code == 0
    assert all(re.search(rf"^ +{word}\b", out, re.MULTILINE) for word in COMMANDS)
