"""Another key for the secrets at rest: `less-sync fleet rewrap`, and the start with the new key alone."""

from pathlib import Path
from uuid import UUID

import pytest

from less_sync.bins.errors import CommandError
from less_sync.fleet.database import Database
from less_sync.fleet.line import DEFAULT_SCHEMA
from less_sync.fleet.secrets import SecretBox, Unreadable
from less_sync.fleet.store.sealed import RESEAL, ROWS_AT_ONCE, Rewrapped, rewrap
from tests.bins.commands import run_less_sync
from tests.fleet.databases import connected, execute, fetch
from tests.fleet.process import SECRET, serving

NEW, OLD, LOST = bytes.fromhex(SECRET), b"o" * 32, b"l" * 32
SEALED_COLUMNS = """
SELECT table_name || '.' || column_name AS place FROM information_schema.columns
WHERE table_schema = $1 AND data_type = 'bytea' AND column_name ~ 'secret|private'"""


async def add_webhook(url: str, number: int, key: bytes, *, previous: bytes | None = None) -> str:
    """A webhook whose secret is sealed under a key, and perhaps a previous one under another."""
    webhook = str(UUID(int=number))
    await execute(
        url,
        """INSERT INTO webhooks (id, url, events, secret, previous_secret)
        VALUES ($1, 'https://h', '{*}', $2, $3)""",
        webhook,
        SecretBox(key).seal(b"s%d" % number, f"webhooks.secret:{webhook}"),
        previous and SecretBox(previous).seal(b"p%d" % number, f"webhooks.previous_secret:{webhook}"),
    )
    return webhook


async def opened(url: str, key: bytes) -> list[bytes]:
    """The secrets of webhooks as this key alone opens them."""
    box = SecretBox(key)
    rows = await fetch(url, "SELECT id, secret, previous_secret FROM webhooks ORDER BY id")
    found = [box.open(row["secret"], f"webhooks.secret:{row['id']}") for row in rows]
    return found + [
        box.open(row["previous_secret"], f"webhooks.previous_secret:{row['id']}")
        for row in rows
        if row["previous_secret"] is not None
    ]


async def test_rewrap_leaves_all_secrets_under_the_new_key(fleet_database_url: str, tmp_path: Path) -> None:
    await add_webhook(fleet_database_url, 1, OLD, previous=OLD)
    await add_webhook(fleet_database_url, 2, NEW, previous=OLD)
    await execute(
        fleet_database_url,
        "INSERT INTO signing_keys (kid, purpose, public_key, secret) VALUES ('k1', 'token', $1, $2)",
        bytes(32),
        SecretBox(OLD).seal(b"k", "signing_keys.secret:k1"),
    )
    env = {"DATABASE_URL": fleet_database_url, "FLEET_SECRET_KEY": NEW.hex()}
    both = {**env, "FLEET_SECRET_KEY_PREVIOUS": OLD.hex()}
    done = await run_less_sync("fleet", "rewrap", env=both)
    assert (done.status, done.out, done.err) == (0, "4 secrets rewrapped, 1 had the key, 0 unreadable\n", "")
    assert await opened(fleet_database_url, NEW) == [b"s1", b"s2", b"p1", b"p2"]
    again = await run_less_sync("fleet", "rewrap", env=env)
    assert (again.status, again.out) == (0, "0 secrets rewrapped, 5 had the key, 0 unreadable\n")
    async with serving(fleet_database_url, tmp_path):  # with the new key alone
        pass


async def test_what_no_key_opens_is_named_and_left(fleet_database_url: str, tmp_path: Path) -> None:
    lost = await add_webhook(fleet_database_url, 1, LOST)
    await add_webhook(fleet_database_url, 2, OLD)
    before = await fetch(fleet_database_url, "SELECT secret FROM webhooks WHERE id = $1", UUID(lost))
    env = {"DATABASE_URL": fleet_database_url, "FLEET_SECRET_KEY": NEW.hex()}
    both = {**env, "FLEET_SECRET_KEY_PREVIOUS": OLD.hex()}
    done = await run_less_sync("fleet", "rewrap", env=both)
    assert (done.status, done.out) == (1, "1 secrets rewrapped, 0 had the key, 1 unreadable\n")
    assert done.err == f"Error: webhooks.secret:{lost} opens with neither key\n"
    assert await fetch(fleet_database_url, "SELECT secret FROM webhooks WHERE id = $1", UUID(lost)) == before
    await execute(fleet_database_url, "DELETE FROM webhooks WHERE id <> $1", UUID(lost))
    with pytest.raises(CommandError, match="FLEET_SECRET_KEY does not open the stored secrets"):
        await serving(fleet_database_url, tmp_path).__aenter__()


async def test_a_secret_that_is_exchanged_meanwhile_stays(fleet_database_url: str) -> None:
    webhook = await add_webhook(fleet_database_url, 1, NEW)
    database = await Database.open(fleet_database_url, schema=DEFAULT_SCHEMA, connections_max=1)
    assert await database.value("reseal_webhook", webhook, b"what was read", b"what is written") is None
    await database.aclose(1)
    assert await opened(fleet_database_url, NEW) == [b"s1"]


async def test_more_secrets_than_are_read_at_once(fleet_database_url: str) -> None:
    await add_webhook(fleet_database_url, 1, OLD)
    copies = """INSERT INTO webhooks (id, url, events, secret)
        SELECT gen_random_uuid(), url, events, secret FROM webhooks, generate_series(1, $1::int)"""
    await execute(fleet_database_url, copies, ROWS_AT_ONCE + 1)
    database = await Database.open(fleet_database_url, schema=DEFAULT_SCHEMA, connections_max=1)
    done = await rewrap(database, NEW, OLD)
    await database.aclose(1)
    # A text that was copied to another row does not open there.
    assert done[:2] == (1, 0)
    assert len(done.unreadable) == ROWS_AT_ONCE + 1
    with pytest.raises(Unreadable):
        await opened(fleet_database_url, NEW)


async def test_every_column_that_holds_sealed_secrets_is_known(fleet_database_url: str) -> None:
    async with connected(fleet_database_url) as connection:
        rows = await connection.fetch(SEALED_COLUMNS, DEFAULT_SCHEMA)
    assert {row["place"] for row in rows} == RESEAL.keys()


async def test_an_empty_database_and_no_database(fleet_database_url: str, tmp_path: Path) -> None:
    database = await Database.open(fleet_database_url, schema=DEFAULT_SCHEMA, connections_max=1)
    assert await rewrap(database, NEW, None) == Rewrapped(0, 0, [])
    await database.aclose(1)
    none = await run_less_sync("fleet", "rewrap", env={"DATA_DIR": str(tmp_path)})
    assert (none.status, none.err) == (1, "Error: DATABASE_URL is not set\n")
    wrong = await run_less_sync(
        "fleet", "rewrap", env={"DATABASE_URL": fleet_database_url, "FLEET_SCHEMA": "A"}
    )
    assert wrong.err.count("Error: ") == 2
