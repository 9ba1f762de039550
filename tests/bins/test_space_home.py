"""`less-sync space-home` as a process of its own."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from less_sync.storage import PostgresPool, PostgresSpaceStore
from tests.bins.commands import Finished, run_less_sync
from tests.migrations.support import execute, value
from tests.wire.process import ServerProcess

KEY = f"02{'ab' * 32}"
HOME = "http://127.0.0.1:5379"


async def space_home(url: str, *arguments: str) -> Finished:
    return await run_less_sync("space-home", *arguments, env={"DATABASE_URL": url})


async def make_space(url: str, root_key: bytes | None) -> str:
    pool = await PostgresPool.open(url)
    try:
        return str((await PostgresSpaceStore(pool).create_space(uuid4(), "client", root_key)).id)
    finally:
        await pool.aclose(5)


async def test_a_space_of_another_server_is_made_known_shown_listed_moved_and_taken_over(
    database_url: str,
) -> None:
    space = str(uuid4())
    told = await space_home(database_url, "--space", space.upper(), "--root-key", KEY.upper(), "--home", HOME)
    assert told == Finished(0, f"{space}: made known here, home is {HOME}\n", "")
    assert await value(database_url, "SELECT encode(root_public_key, 'hex') FROM spaces") == KEY
    assert (await space_home(database_url, "--space", space)).out == f"{space}: home is {HOME}\n"
    assert (await space_home(database_url, "--list")).out == f"{space}\t{HOME}\n"
    told = await space_home(database_url, "--space", space, "--root-key", KEY, "--home", "Home.Example.:443")
    assert told.out == f"{space}: home is home.example\n"
    told = await space_home(database_url, "--space", space, "--local")
    assert told == Finished(0, f"{space}: home is this server\n", "")
    assert await space_home(database_url, "--list") == Finished(0, "", "")


async def test_json_is_an_object_per_line(database_url: str) -> None:
    space = str(uuid4())
    arguments = ("--space", space, "--root-key", KEY, "--home", HOME, "--json")
    expected = {"event": "home", "space": space, "home": HOME}
    for line in (arguments, ("--list", "--json"), ("--space", space, "--json")):
        assert json.loads((await space_home(database_url, *line)).out) == expected
    told = await space_home(database_url, "--space", space, "--local", "--json")
    assert json.loads(told.out) == expected | {"home": None}


async def test_a_space_that_holds_something_here_is_refused_unless_forced(database_url: str) -> None:
    space = await make_space(database_url, bytes.fromhex(KEY))
    await execute(
        database_url,
        f"INSERT INTO records (id, space_id, cursor, blob) VALUES (gen_random_uuid(), '{space}', 1, 'x')",
    )
    arguments = ("--space", space, "--root-key", KEY, "--home", HOME)
    told = await space_home(database_url, *arguments)
    assert told == Finished(
        1,
        "",
        f"Error: space {space} holds records, members or files here, which nobody would reach any more; "
        "--force changes its home all the same\n",
    )
    assert await value(database_url, "SELECT home_server FROM spaces") is None
    assert (await space_home(database_url, *arguments, "--force")).out == f"{space}: home is {HOME}\n"


async def test_a_personal_space_and_one_of_another_root_key_are_refused(database_url: str) -> None:
    personal, other = (
        await make_space(database_url, None),
        await make_space(database_url, b"\x03" + bytes(32)),
    )
    for space, reason in (
        (personal, "is a personal space: it has no root key, and its home is here"),
        (other, "has another root key"),
    ):
        told = await space_home(database_url, "--space", space, "--root-key", KEY, "--home", HOME, "--force")
        assert told == Finished(1, "", f"Error: space {space} {reason}\n")


async def test_a_space_that_is_not_known_has_no_home(database_url: str) -> None:
    for more in ((), ("--local",)):
        told = await space_home(database_url, "--space", str(uuid4()), *more)
        assert told == Finished(1, "", "Error: space not found\n")


SPACE = "6e9fe5b0-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give --space, or --list without it"),
        (("--space", SPACE, "--list"), "give --space, or --list without it"),
        (("--space", SPACE, "--local", "--list"), "give one of --home, --local and --list"),
        (("--space", SPACE, "--home", HOME), "--home and --root-key go together"),
        (("--space", SPACE, "--root-key", KEY), "--home and --root-key go together"),
        (("--space", SPACE, "--force"), "--force is for --home alone"),
        (("--space", "x"), "not the id of a space"),
        (("--space", SPACE, "--home", HOME, "--root-key", KEY[2:]), "expected 66 hex digits"),
        (("--space", SPACE, "--home", HOME, "--root-key", f"04{KEY[2:]}"), "expected 66 hex digits"),
        (("--space", SPACE, "--root-key", KEY, "--home", "http://u:secret@h"), "expected a domain"),
        (("--space", SPACE, "--root-key", KEY, "--home", "a b"), "expected a domain"),
        (("--space", SPACE, "--root-key", KEY, "--home", "home.example/path"), "expected a domain"),
        (("--list", "--database-url", "a", "--data-dir", "b"), "give one of --database-url and --data-dir"),
    ],
)
async def test_what_does_not_go_together_is_wrong_usage(arguments: tuple[str, ...], reason: str) -> None:
    told = await space_home("postgres://nobody.invalid/none", *arguments)
    assert (told.status, told.out) == (2, "")
    assert reason in " ".join(told.err.split())
    assert "secret" not in told.err


async def test_without_a_database_it_says_what_is_missing() -> None:
    told = await run_less_sync("space-home", "--list")
    assert told == Finished(1, "", "Error: no database: set --database-url, DATABASE_URL or --data-dir\n")


async def test_the_private_postgres_of_a_data_directory_will_do_beside_its_server(tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"))
    made = await run_less_sync("space-home", "--space", SPACE, "--root-key", KEY, "--home", HOME, *arguments)
    assert made.out == f"{SPACE}: made known here, home is {HOME}\n"
    async with ServerProcess({}, arguments):
        assert (await run_less_sync("space-home", "--list", *arguments)).out == f"{SPACE}\t{HOME}\n"
