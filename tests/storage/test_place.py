"""Errors of connecting say where to and why not, and nothing about who."""

import errno
import ssl
from urllib.parse import urlsplit

import asyncpg
import pytest

from less_sync.storage import PostgresPool, StorageError, Unavailable
from less_sync.storage.postgres.place import place_of, reason_of
from tests.storage.gate import Gate
from tests.storage.support import opened, started


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgres://role:secret@db.example:6000/sync", 'database "sync" at db.example:6000'),
        (
            "postgres://role:secret@db.example/my%20sync?sslmode=disable",
            'database "my sync" at db.example:5432',
        ),
        ("postgres://role:p%40ss%3A1@[::1]:5433/sync", 'database "sync" at [::1]:5433'),
        ("postgres://role@[::1]/sync", 'database "sync" at [::1]:5432'),
        ("postgres://role@/sync?host=/run/pg&port=5444", 'database "sync" at /run/pg:5444'),
        ("postgres://role@one:1,two:2/sync", 'database "sync" at one:1,two:2'),
        ("postgres://one/?dbname=sync&password=secret&user=role", 'database "sync" at one:5432'),
        ("postgres://role:secret@one", "the database at one:5432"),
        ("postgres:///sync", 'database "sync" at localhost:5432'),
        ("postgres://role:secret@[one/sync", "the database"),
    ],
)
def test_a_place_names_host_port_and_database_and_never_the_role(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connect call failed"),
        (OSError("Multiple exceptions: [Errno 111] ..."), "Errno 111"),
        (ConnectionResetError(), "ConnectionResetError"),
        (TimeoutError(), "no answer in time"),
        (ssl.SSLError(1, "[SSL] certificate verify failed"), "certificate verify failed"),
        (asyncpg.InvalidPasswordError.new({"C": "28P01", "M": 'role "alice"'}), "SQLSTATE 28P01"),
        (asyncpg.InterfaceError("closed by alice"), "InterfaceError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_reason_quotes_the_operating_system_and_never_the_server(error: Exception, reason: str) -> None:
    assert reason in reason_of(error)
    assert "alice" not in reason_of(error)


async def test_a_refused_connection_is_told_with_its_place_and_reason(database_url: str) -> None:
    async with Gate.before(database_url) as gate, opened(gate.url) as pool:
        await gate.shut()
        parts = urlsplit(gate.url)
        expected = f'cannot connect to database "{parts.path[1:]}" at 127.0.0.1:{parts.port}: '
        with pytest.raises(Unavailable):  # the connection that was open is lost
            await pool.fetch("ping")
        with pytest.raises(Unavailable) as at_use:
            await pool.fetch("ping")
        assert str(at_use.value).startswith(expected)
        with pytest.raises(Unavailable) as at_start:
            await PostgresPool.open(gate.url, connect_timeout_s=0.0)
        assert str(at_start.value).startswith(expected)
        with pytest.raises(Unavailable) as of_a_lane:
            async with started(pool):
                pass
        assert str(of_a_lane.value).startswith(expected)
        assert str(of_a_lane.value).removeprefix(expected)
        await gate.unlock()


async def test_a_database_that_is_not_there_is_told_for_good(database_url: str) -> None:
    missing = urlsplit(database_url)._replace(path="/not_there").geturl()
    with pytest.raises(StorageError) as caught:
        await PostgresPool.open(missing)
    assert not isinstance(caught.value, Unavailable)
    assert caught.value.sqlstate == "3D000"
    assert str(caught.value).startswith('cannot connect to database "not_there" at ')


async def test_a_pool_without_a_free_connection_says_so(database_url: str) -> None:
    pool = await PostgresPool.open(database_url, max_connections=1, acquire_timeout_s=0.05)
    try:
        async with pool.connection():
            with pytest.raises(Unavailable, match=r"no connection to database .* became free within 0.05 s"):
                await pool.fetch("ping")
    finally:
        await pool.aclose(5.0)
