"""`federation-keygen` as a process of its own: its line, what it prints, and what it does to a database."""

import asyncio
import base64
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from less_sync.auth import parse_federation_trust
from less_sync.federation.keys import check_keys
from less_sync.migrations import version
from less_sync.storage import FederationKey, PostgresFederationKeyStore, PostgresPool
from tests.bins.commands import Finished, run_less_sync
from tests.migrations.support import execute, fetch
from tests.wire.process import ServerProcess

BASE = "https://sync.example/.well-known/jwks.json"
HIDDEN = "private_seed_base64url=<hidden> (pass --print-private to show)"
FRAGMENT = re.compile(r"fed-[0-9]{10}-[0-9]{1,9}")


async def keygen(*arguments: str, env: Mapping[str, str] | None = None) -> Finished:
    return await run_less_sync(*arguments, env=env, command="federation-keygen")


async def lines(*arguments: str, env: Mapping[str, str] | None = None) -> list[str]:
    """What it prints when it succeeds."""
    done = await keygen(*arguments, env=env)
    assert (done.status, done.err) == (0, "")
    assert done.out.endswith("\n")
    return done.out.splitlines()


async def error(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What it says when it fails."""
    done = await keygen(*arguments, env=env)
    assert (done.status, done.out) == (1, "")
    return done.err.removesuffix("\n")


async def rows(url: str) -> list[FederationKey]:
    pool = await PostgresPool.open(url)
    try:
        return list(await PostgresFederationKeyStore(pool).all())
    finally:
        await pool.aclose(5)


async def flags(url: str) -> dict[str, tuple[bool, bool]]:
    """Of each key, by its fragment: active, primary."""
    return {row.kid.rpartition("#")[2]: (row.is_active, row.is_primary) for row in await rows(url)}


def bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(f"{text}=")


async def test_without_a_database_a_key_is_only_printed() -> None:
    printed = await lines("--domain", "sync.example", "--kid", "fed-1")
    public = printed[2].removeprefix("public_key_base64url=")
    assert len(bytes_of(public)) == 32
    assert printed == [
        "Generated federation signing key",
        f"key_id={BASE}#fed-1",
        f"public_key_base64url={public}",
        f"trusted_keys_entry={BASE}#fed-1={public}",
        HIDDEN,
        "stored_in_database=false",
        "hint=set --database-url or DATABASE_URL to persist this key",
    ]
    entry = printed[3].removeprefix("trusted_keys_entry=")
    assert parse_federation_trust(domains=None, keys=entry).domains == ("sync.example",)


async def test_the_seed_is_shown_when_asked_for_and_belongs_to_the_public_key() -> None:
    printed = await lines("--print-private", "--domain=Sync.Example.:8443")
    seed = bytes_of(printed[4].removeprefix("private_seed_base64url="))
    public = bytes_of(printed[2].removeprefix("public_key_base64url="))
    assert bytes(SigningKey(seed).verify_key) == public
    key_id, _, fragment = printed[1].partition("#")
    assert key_id == "key_id=https://sync.example:8443/.well-known/jwks.json"
    assert FRAGMENT.fullmatch(fragment)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--domain is required"),
        (["--domain"], "--domain requires a value"),
        (["--domain", "a", "--kid"], "--kid requires a value"),
        (["--domain", "a", "--database-url"], "--database-url requires a value"),
        (["--data-dir"], "--data-dir requires a value"),
        (["--promote-kid"], "--promote-kid requires a value"),
        (["--domain", "--no-promote"], "--domain requires a value"),
        (["--what"], 'unknown argument "--what"'),
        (["a.example"], 'unknown argument "a.example"'),
        (["--no-promote=1"], 'unknown argument "--no-promote=1"'),
        (["--what", "--help"], 'unknown argument "--what"'),
        (["--domain", ""], "domain must not be empty"),
        (["--domain="], "domain must not be empty"),
        (["--domain", "  "], "domain must not be empty"),
        (["--domain", "https://"], "domain must not be empty"),
        (["--domain", "user@h"], 'invalid domain "user@h"'),
        (["--domain", "a", "--kid", "x=y"], 'invalid key fragment "x=y"'),
        (["--domain", "a", "--kid="], 'invalid key fragment ""'),
        (["--list"], "--list needs a database: set --database-url, DATABASE_URL or --data-dir"),
        (
            ["--domain", "a", "--if-missing"],
            "--if-missing needs a database: set --database-url, DATABASE_URL or --data-dir",
        ),
        (["--list", "--promote-kid", "a"], "--list and --promote-kid exclude each other"),
        (["--database-url", "a", "--data-dir", "b"], "--database-url and --data-dir exclude each other"),
        (["--no-promote", "--if-missing"], "--if-missing and --no-promote exclude each other"),
        (
            ["--domain", "a", "--database-url", ""],
            "database error: error with configuration: relative URL without a base",
        ),
    ],
)
async def test_a_line_that_cannot_be_meant_is_refused_with_status_1(
    arguments: list[str], message: str
) -> None:
    assert await error(*arguments) == f"Error: {message}"


async def test_an_empty_database_url_in_the_environment_is_not_an_unset_one() -> None:
    told = await error("--domain", "a", env={"DATABASE_URL": ""})
    assert told == "Error: database error: error with configuration: relative URL without a base"


@pytest.mark.parametrize("flag", ["--help", "-h"])
async def test_help_is_shown_at_once(flag: str) -> None:
    printed = await lines("--domain", "a", flag, "--what")
    assert printed[0] == (
        "Usage: federation-keygen --domain <domain> [--kid <key-fragment>] [--database-url <url>]"
        " [--print-private] [--no-promote]"
    )
    assert all(line.startswith("  -") for line in printed[1:])
    assert len(printed) == 13


async def test_it_is_a_command_of_less_sync_too() -> None:
    done = await run_less_sync("federation-keygen", "--domain", "a", "--kid=x", "--domain", "b.example")
    assert done.status == 0
    assert "key_id=https://b.example/.well-known/jwks.json#x\n" in done.out
    shown = await run_less_sync("federation-keygen", "--help")
    assert shown.out == (await keygen("--help")).out
    failed = await run_less_sync("federation-keygen", "--what")
    assert (failed.status, failed.out, failed.err) == (1, "", 'Error: unknown argument "--what"\n')


async def test_the_domain_may_come_from_the_environment() -> None:
    printed = await lines("--kid", "x", env={"FEDERATION_DOMAIN": " Sync.Example "})
    assert printed[1] == f"key_id={BASE}#x"
    assert await error(env={"FEDERATION_DOMAIN": " "}) == "Error: --domain is required"


async def test_a_new_key_is_stored_and_signs_and_the_one_before_stays_in_use(database_url: str) -> None:
    env = {"DATABASE_URL": database_url}
    first = await lines("--domain", "sync.example", "--kid", "one", env=env)
    assert first[4:] == [HIDDEN, "stored_in_database=true", "promoted_for_signing=true"]
    second = await lines(
        "--domain", "sync.example", "--kid", "two", "--print-private", "--database-url", database_url
    )
    assert second[5:] == ["stored_in_database=true", "promoted_for_signing=true"]
    assert await flags(database_url) == {"one": (True, False), "two": (True, True)}
    [row] = await fetch(database_url, "SELECT kid, private_key FROM federation_signing_keys WHERE is_primary")
    assert second[4] == f"private_seed_base64url={base64.urlsafe_b64encode(row[1]).decode().rstrip('=')}"
    assert row[0] == f"{BASE}#two"


async def test_without_promotion_the_old_key_goes_on_signing_and_the_output_tells_the_truth(
    database_url: str,
) -> None:
    arguments = ("--domain", "sync.example", "--no-promote", "--database-url", database_url)
    assert (await lines(*arguments, "--kid", "one"))[-1] == "promoted_for_signing=true"
    assert (await lines(*arguments, "--kid", "two"))[-1] == "promoted_for_signing=false"
    assert await flags(database_url) == {"one": (True, True), "two": (True, False)}


async def test_a_key_id_that_exists_is_an_error_and_nothing_changes(database_url: str) -> None:
    arguments = ("--domain", "sync.example", "--database-url", database_url, "--kid")
    await lines(*arguments, "one")
    await lines(*arguments, "two")
    before = await rows(database_url)
    assert await error(*arguments, "one") == f"Error: key id already exists: {BASE}#one"
    assert await rows(database_url) == before


async def test_a_missing_key_is_made_once_and_then_told(database_url: str) -> None:
    arguments = ("--domain", "sync.example", "--if-missing", "--database-url", database_url)
    made = await lines(*arguments)
    assert made[0] == "Generated federation signing key"
    assert made[-1] == "promoted_for_signing=true"
    for shown in ((), ("--print-private",), ("--kid", "other")):
        assert await lines(*arguments, *shown) == [
            "Federation signing key already present",
            *made[1:4],
            "stored_in_database=true",
            "promoted_for_signing=true",
            "already_present=true",
        ]
    assert len(await rows(database_url)) == 1


async def test_the_key_of_another_domain_is_not_the_missing_one(database_url: str) -> None:
    arguments = ("--if-missing", "--database-url", database_url, "--kid", "k", "--domain")
    await lines(*arguments, "old.example")
    assert (await lines(*arguments, "old.example:8443"))[0] == "Generated federation signing key"
    assert (await lines(*arguments, "OLD.example.:8443"))[0] == "Federation signing key already present"
    assert [row.is_primary for row in await rows(database_url)] == [False, True]


async def test_a_row_of_the_existing_go_server_counts_as_one_of_this_domain(database_url: str) -> None:
    key = SigningKey(b"1" * 32)
    seed, public = bytes(key).hex(), bytes(key.verify_key).hex()
    await execute(
        database_url,
        "INSERT INTO federation_signing_keys (kid, private_key, public_key, is_primary)"
        f" VALUES ('fed-1', '\\x{seed}{public}', '\\x{public}', true)",
    )
    arguments = ("--domain", "sync.example:8443", "--if-missing", "--database-url", database_url)
    printed = await lines(*arguments)
    assert printed[1] == "key_id=https://sync.example:8443/.well-known/jwks.json#fed-1"
    pool = await PostgresPool.open(database_url)
    active = await PostgresFederationKeyStore(pool).active()
    await pool.aclose(5)
    signer = check_keys(active, "sync.example:8443").signer
    assert signer is not None
    assert printed[1] == f"key_id={signer.key_id}"
    assert (await lines("--promote-kid", "fed-1", "--database-url", database_url))[0] == "key_id=fed-1"


async def test_of_five_that_ask_for_a_missing_key_at_once_one_makes_it(database_url: str) -> None:
    arguments = ("--domain", "sync.example", "--if-missing", "--database-url", database_url)
    printed = await asyncio.gather(*(lines(*arguments) for _ in range(5)))
    assert sorted(one[0] for one in printed) == [
        *["Federation signing key already present"] * 4,
        "Generated federation signing key",
    ]
    assert len({one[1] for one in printed}) == 1
    assert len(await rows(database_url)) == 1


async def test_of_five_first_keys_at_once_all_are_stored_and_one_signs(database_url: str) -> None:
    arguments = ("--domain", "sync.example", "--no-promote", "--database-url", database_url)
    printed = await asyncio.gather(*(lines(*arguments, "--kid", f"k{n}") for n in range(5)))
    assert sorted(one[-1] for one in printed) == [
        *["promoted_for_signing=false"] * 4,
        "promoted_for_signing=true",
    ]
    stored = await rows(database_url)
    assert (len(stored), sum(row.is_primary for row in stored)) == (5, 1)


async def test_a_rollover_is_made_of_listing_promoting_and_deactivating(database_url: str) -> None:
    env = {"DATABASE_URL": database_url}
    assert await keygen("--list", env=env) == Finished(0, "", "")
    await lines("--domain", "sync.example", "--kid", "one", env=env)
    await lines("--domain", "sync.example", "--kid", "two", "--no-promote", env=env)
    assert await lines("--promote-kid", "two", env=env) == [f"key_id={BASE}#two", "promoted_for_signing=true"]
    assert await flags(database_url) == {"one": (True, False), "two": (True, True)}
    assert await lines(f"--deactivate-kid={BASE}#one", env=env) == [f"key_id={BASE}#one", "active=false"]
    one, two = (line.split("\t") for line in await lines("--list", env=env))
    assert (one[:3], two[:3]) == ([f"{BASE}#one", "false", "false"], [f"{BASE}#two", "true", "true"])
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z", one[3])
    assert one[4] > one[3]
    assert two[4] == "-"
    assert len(bytes_of(two[5])) == 32
    assert len(two) == 6


async def test_the_key_that_signs_goes_by_force_alone(database_url: str) -> None:
    env = {"DATABASE_URL": database_url}
    await lines("--domain", "sync.example", "--kid", "one", env=env)
    told = await error("--deactivate-kid", "one", env=env)
    assert told == (
        f'Error: federation key "{BASE}#one" is the one that signs: promote another one, or add --force'
    )
    assert await flags(database_url) == {"one": (True, True)}
    await lines("--deactivate-kid", "one", "--force", env=env)
    assert await flags(database_url) == {"one": (False, False)}


async def test_a_key_that_is_not_there_or_not_one_is_told(database_url: str) -> None:
    env = {"DATABASE_URL": database_url}
    for domain in ("a.example", "b.example"):
        await lines("--domain", domain, "--kid", "one", env=env)
    before = await rows(database_url)
    for verb in ("--promote-kid", "--deactivate-kid"):
        assert await error(verb, "two", env=env) == "Error: federation key not found"
        assert await error(verb, "e", env=env) == "Error: federation key not found"
        assert (
            await error(verb, "one", env=env) == 'Error: "one" is the name of 2 keys: give the whole key id'
        )
    assert await rows(database_url) == before


async def test_a_database_that_is_not_migrated_is_left_as_it_is(empty_database_url: str) -> None:
    told = await error("--domain", "a", "--database-url", empty_database_url)
    assert told == (
        "Error: database error: its schema is not that of this release; `less-sync migrate` makes it so"
    )
    assert await version(empty_database_url) == 0


async def test_no_password_is_in_what_is_told_of_a_database_that_refuses(database_url: str) -> None:
    address, _, query = database_url.partition("?")
    url = f"{address.rpartition('/')[0]}/no_such_database?{query}"
    url = f"{url}&user=nobody&password=hunter2"
    told = await error("--domain", "a", env={"DATABASE_URL": url})
    assert told.startswith("Error: database error: ")
    assert "hunter2" not in told
    assert "nobody" not in told


async def test_a_data_directory_brings_its_own_database_whether_or_not_a_server_uses_it(
    tmp_path: Path,
) -> None:
    place = ("--data-dir", str(tmp_path / "data"))
    made = await lines("--domain", "sync.example", "--kid", "one", *place, env={"DATABASE_URL": "unused"})
    assert made[5:] == ["stored_in_database=true", "promoted_for_signing=true"]
    async with ServerProcess({}, ["--data-dir", str(tmp_path / "data")]):
        again = await lines("--domain", "sync.example", "--if-missing", *place)
        assert again[1:4] == made[1:4]
        await lines("--domain", "sync.example", "--kid", "two", *place)
        assert len(await lines("--list", *place)) == 2
    assert len(await lines("--list", *place)) == 2
