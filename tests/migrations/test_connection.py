"""The one connection of a migration: its settings, and what is said when its URL leads nowhere."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from less_sync.migrations import DatabaseUnreachable, migrate_up, version
from less_sync.migrations.connection import connect, lock_key

from .support import with_query


@pytest.mark.parametrize(
    "url",
    ["mysql://h/d", "postgres://u:se/cret@h:1/d", "postgres://h:port/d", "postgres://h/d?sslmode=maybe"],
)
async def test_an_unusable_url_is_an_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(DatabaseUnreachable) as caught:
        await connect(url)
    assert str(caught.value) == "database error: error with configuration: invalid connection parameters"


@pytest.fixture
async def free_port() -> AsyncIterator[int]:
    """A port nobody listens on: it stays bound, without listening, while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_a_refused_connection_says_so_in_the_operating_systems_words(free_port: int) -> None:
    with pytest.raises(DatabaseUnreachable) as caught:
        await migrate_up(f"postgres://u@127.0.0.1:{free_port}/d?sslmode=disable")
    assert str(caught.value) == (
        "database error: error communicating with database: Connection refused (os error 111)"
    )


@asynccontextmanager
async def refusing(sqlstate: str, message: str) -> AsyncIterator[str]:
    """The URL of a server that refuses every connection with this error."""
    fields = b"".join(key + value.encode() + b"\0" for key, value in ((b"C", sqlstate), (b"M", message)))

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(size - 4)
        body = b"SFATAL\0" + fields + b"\0"
        writer.write(b"E" + (len(body) + 4).to_bytes(4, "big") + body)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"postgres://alice:secret@127.0.0.1:{port}/d?sslmode=disable"


@pytest.mark.parametrize(
    ("sqlstate", "message", "told"),
    [
        ("28P01", 'password failed for user "alice"', "InvalidPasswordError (SQLSTATE 28P01)"),
        ("53300", 'too many connections for role "alice"', "TooManyConnectionsError (SQLSTATE 53300)"),
        ("57P03", "the database system is starting up", "the database system is starting up"),
    ],
)
async def test_a_refusal_is_told_without_the_name_of_who_asked(
    sqlstate: str, message: str, told: str
) -> None:
    async with refusing(sqlstate, message) as url:
        with pytest.raises(DatabaseUnreachable) as caught:
            await connect(url)
    assert str(caught.value) == f"database error: error returned from database: {told}"


async def test_a_missing_database_is_reported_in_its_servers_words(empty_database_url: str) -> None:
    missing = empty_database_url.replace("/less_sync_test_", "/no_such_database_")
    with pytest.raises(DatabaseUnreachable) as caught:
        await migrate_up(missing)
    assert str(caught.value).startswith("database error: error returned from database: database ")
    assert str(caught.value).endswith(" does not exist")


async def test_the_session_is_in_utc_and_does_not_wait_long_for_locks(empty_database_url: str) -> None:
    connection = await connect(empty_database_url)
    try:
        assert await connection.fetchval("SHOW timezone") == "UTC"
        assert await connection.fetchval("SHOW lock_timeout") == "10s"
        assert await connection.fetchval("SHOW statement_timeout") == "0"
    finally:
        await connection.close()


async def test_a_setting_in_the_url_wins(empty_database_url: str) -> None:
    connection = await connect(with_query(empty_database_url, "lock_timeout=3s&timezone=Asia/Tokyo"))
    try:
        assert await connection.fetchval("SHOW lock_timeout") == "3s"
        assert await connection.fetchval("SHOW timezone") == "Asia/Tokyo"
    finally:
        await connection.close()


async def test_a_search_path_without_schema_is_refused_in_the_databases_words(
    empty_database_url: str,
) -> None:
    nowhere = with_query(empty_database_url, "search_path=nowhere")
    assert await version(nowhere) == 0
    with pytest.raises(Exception, match=r"^migration error: .*no schema has been selected to create in$"):
        await migrate_up(nowhere)


@pytest.mark.parametrize(
    ("database", "key"),
    [
        ("sync", 760888473285096268),
        ("less_sync", 608219106519946168),
        ("postgres", 368907709894077238),
    ],
)
def test_the_lock_key_is_the_existing_servers(database: str, key: int) -> None:
    assert lock_key(database) == key
