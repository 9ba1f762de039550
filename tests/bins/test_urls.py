"""Database URLs written for the existing servers."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest

from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.bins.settings.config import Settings
from tests.bins.commands import run_less_sync

URL = "postgres://u:p%40@h:1/d"


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", []),
        ("sslmode=require", [("sslmode", "require")]),
        (
            "ssl-mode=verify-full&ssl-ca=/ca.pem&ssl-cert=c&ssl-key=k",
            [("sslmode", "verify-full"), ("sslrootcert", "/ca.pem"), ("sslcert", "c"), ("sslkey", "k")],
        ),
        ("hostaddr=10.0.0.1&port=6000", [("host", "10.0.0.1"), ("port", "6000")]),
        ("host=/run/pg", [("host", "/run/pg")]),
        ("application_name=mine&search_path=x", [("application_name", "mine"), ("search_path", "x")]),
        ("statement-cache-capacity=9&sslmode=disable", [("sslmode", "disable")]),
        ("pool_max_conns=5&pool_min_conns=1&pool_max_conn_lifetime=1h&pool_max_conn_lifetime_jitter=1m", []),
        ("pool_max_conn_idle_time=1m&pool_health_check_period=1m&connect_timeout=5", []),
        ("statement_cache_capacity=0&statement_cache_mode=describe&default_query_exec_mode=exec", []),
        ("description_cache_capacity=0&lock_timeout=1s", [("lock_timeout", "1s")]),
        ("options=-csearch_path%3Da%2Cb", [("search_path", "a,b")]),
        ("options=-csearch_path=a", [("search_path", "a")]),
        (
            "options=-c%20a%3D1%20--work-mem%3D2%20%20-cb%3Dx%5C%20y%3D",
            [("a", "1"), ("work_mem", "2"), ("b", "x y=")],
        ),
        ("options=-B%205%20-c%20a%3D1%20-e", [("a", "1"), ("options", "-B 5 -e")]),
        ("options=-a-c%20b%3D1", [("options", "-a-c b=1")]),
        ("options[search_path]=x&options[jit]=on", [("search_path", "x"), ("jit", "on")]),
        ("sslmode=&search_path=x", [("search_path", "x")]),
    ],
)
def test_what_only_another_driver_knows_is_translated_or_dropped(
    query: str, keys: list[tuple[str, str]]
) -> None:
    made = driver_url(f"{URL}?{query}")
    assert made.partition("?")[0] == URL
    assert parse_qsl(urlsplit(made).query) == keys
    assert driver_url(made) == made


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "relative URL without a base"),
        ("localhost/d", "relative URL without a base"),
        ("mysql://h/d", "the URL of a database starts with postgres:// or postgresql://"),
        ("postgres://h:port/d", "invalid port number"),
        ("postgres://u:se/cret@h:1/d", "invalid port number"),
        ("postgres://[::1/d", "invalid IPv6 address"),
    ],
)
def test_an_unusable_url_is_told_and_never_repeated(url: str, fault: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        driver_url(url)
    assert str(caught.value) == f"database error: error with configuration: {fault}"


async def test_the_server_and_migrate_refuse_the_same_url_in_the_same_words(tmp_path: Path) -> None:
    url = "postgres://alice:se/cret@h:1/d"
    expected = (1, "Error: database error: error with configuration: invalid port number\n")
    serve = await run_less_sync("serve", "--dev", "--database-url", url, cwd=tmp_path)
    migrate = await run_less_sync("migrate", "version", "--database-url", url, cwd=tmp_path)
    assert [(done.status, done.err) for done in (serve, migrate)] == [expected, expected]


async def test_postgres_takes_what_is_left(database_url: str) -> None:
    more = "statement-cache-capacity=9&pool_max_conns=5&options=-csearch_path%3Dpublic%20-cjit%3Doff"
    separator = "&" if "?" in database_url else "?"
    url = f"{database_url}{separator}{more}&default_query_exec_mode=exec&connect_timeout=5"
    settings = Settings.from_env({"DATABASE_URL": url}, dev=True)
    assert settings.database.url is not None
    connection = await asyncpg.connect(settings.database.url)
    try:
        assert await connection.fetchval("SHOW search_path") == "public"
        assert await connection.fetchval("SHOW jit") == "off"
    finally:
        await connection.close()
    done = await run_less_sync("migrate", "version", "--database-url", url)
    assert (done.status, done.out, done.err) == (0, "106\n", "")
