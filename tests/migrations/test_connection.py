"""URLs written for the existing servers, and what is said when they lead nowhere."""

import socket
from collections.abc import AsyncIterator

import pytest

from less_sync.migrations import DatabaseUnreachable, migrate_up, version
from less_sync.migrations.connection import connect, driver_url, lock_key

from .support import with_query


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("postgres://u:p@h:1/d", "postgres://u:p@h:1/d"),
        ("postgresql://h/d?sslmode=disable", "postgresql://h/d?sslmode=disable"),
        ("postgres://h/d?statement-cache-capacity=9&sslmode=require", "postgres://h/d?sslmode=require"),
        ("postgres://h/d?ssl-mode=prefer&ssl-ca=x", "postgres://h/d?sslmode=prefer&sslrootcert=x"),
        ("postgres://h/d?options=-csearch_path%3Da%2Cb", "postgres://h/d?options=-csearch_path%3Da%2Cb"),
        ("postgres://h/d?options=-csearch_path=a", "postgres://h/d?options=-csearch_path%3Da"),
        ("postgres://h/d?options[search_path]=a", "postgres://h/d?options=-c+search_path%3Da"),
        ("postgres://h/d?pool_max_conns=5&search_path=a", "postgres://h/d?search_path=a"),
        ("postgres:///d?host=/run/pg", "postgres:///d?host=%2Frun%2Fpg"),
    ],
)
def test_query_keys_of_the_existing_servers_drivers_are_translated_or_dropped(
    given: str, wanted: str
) -> None:
    assert driver_url(given) == wanted


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("", "error with configuration: relative URL without a base"),
        ("localhost/d", "error with configuration: relative URL without a base"),
        ("mysql://h/d", "error with configuration: the scheme must be postgres or postgresql"),
        ("postgres://u:se/cret@h:1/d", "error with configuration: invalid connection parameters"),
        ("postgres://h:port/d", "error with configuration: invalid connection parameters"),
        ("postgres://h/d?sslmode=maybe", "error with configuration: invalid connection parameters"),
    ],
)
async def test_an_unusable_url_is_an_error_that_does_not_repeat_it(url: str, detail: str) -> None:
    with pytest.raises(DatabaseUnreachable) as caught:
        await connect(url)
    assert str(caught.value) == f"database error: {detail}"


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
    connection = await connect(with_query(empty_database_url, "lock_timeout=3s&statement-cache-capacity=7"))
    try:
        assert await connection.fetchval("SHOW lock_timeout") == "3s"
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
