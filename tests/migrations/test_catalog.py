"""The scripts on disk: complete, named as they should be, and new ones made without harm."""

import hashlib
from pathlib import Path

import pytest

from less_sync.migrations import MigrationError, create
from less_sync.migrations.catalog import SCRIPTS, load

from .support import CATALOG, OWN


def write(folder: Path, name: str, text: str = "SELECT 1") -> None:
    (folder / name).write_text(text)


def test_every_version_has_an_up_and_a_down_script_that_says_why() -> None:
    assert list(CATALOG) == [*range(1, 13), *range(101, 101 + len(OWN))]
    for migration in CATALOG.values():
        for script in (migration.up, migration.down):
            assert script.startswith("-- "), migration.label


def test_the_folder_holds_no_other_scripts() -> None:
    names = {f"{m.version:04d}_{m.name}.{part}.sql" for m in CATALOG.values() for part in ("up", "down")}
    assert {path.name for path in SCRIPTS.glob("*.sql")} == names


def test_an_own_migration_is_known_by_the_digest_of_its_file(tmp_path: Path) -> None:
    write(tmp_path, "0101_one.up.sql", "SELECT 'é'")
    write(tmp_path, "0101_one.down.sql")
    assert load(tmp_path)[101].checksum == hashlib.sha384("SELECT 'é'".encode()).digest()


def test_an_up_script_without_down_script_is_not_loaded(tmp_path: Path) -> None:
    write(tmp_path, "0101_one.up.sql")
    with pytest.raises(FileNotFoundError):
        load(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0101_one", "101_two"], "two migrations of version 101"),
        (["0013_one"], "version 13 belongs to the existing servers"),
        (["0100_one"], "version 100 belongs to the existing servers"),
        (["0101_One"], "not a migration's file name: 0101_One.up.sql"),
    ],
)
def test_scripts_that_cannot_be_right_are_not_loaded(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        write(tmp_path, f"{name}.up.sql")
        write(tmp_path, f"{name}.down.sql")
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_create_numbers_on_from_the_highest_and_its_scripts_can_be_loaded(tmp_path: Path) -> None:
    first = create("Add  Königs-Index!", folder=tmp_path)
    second = create("two", folder=tmp_path)
    assert [path.name for path in (*first, *second)] == [
        "0101_add_k_nigs_index_.up.sql",
        "0101_add_k_nigs_index_.down.sql",
        "0102_two.up.sql",
        "0102_two.down.sql",
    ]
    assert [(m.version, m.name) for m in load(tmp_path).values()] == [
        (101, "add_k_nigs_index_"),
        (102, "two"),
    ]


def test_create_numbers_past_the_existing_servers_versions(tmp_path: Path) -> None:
    write(tmp_path, "0012_one.up.sql")
    write(tmp_path, "0012_one.down.sql")
    assert create("x", folder=tmp_path)[0].name == "0101_x.up.sql"


@pytest.mark.parametrize("name", ["", "--", "ß"])
def test_create_refuses_a_name_of_which_nothing_is_left(tmp_path: Path, name: str) -> None:
    with pytest.raises(MigrationError, match="a migration's name needs a letter or a digit"):
        create(name, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_create_writes_among_the_scripts_of_a_checkout_but_not_of_an_installed_package(
    tmp_path: Path,
) -> None:
    own = tmp_path / "migrations"
    own.mkdir()
    with pytest.raises(MigrationError, match=r"belongs to an installed package: .* --dir"):
        create("x", folder=own, own=own)
    with pytest.raises(MigrationError, match="belongs to an installed package"):
        create("x", folder=tmp_path / "migrations" / ".." / "migrations", own=own)
    assert list(own.iterdir()) == []

    (tmp_path / "pyproject.toml").touch()
    assert [path.parent for path in create("x", folder=own, own=own)] == [own, own]


def test_create_says_where_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match=r"^cannot write .*missing/0101_x\.up\.sql: No such file"):
        create("x", folder=tmp_path / "missing")
