"""Database URLs as the drivers of the existing servers understand them, made into what asyncpg takes.

This is done once, where a URL enters: in the settings and in the commands. Everything behind hands it on.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,5}\Z", re.ASCII)
_SWITCH: Final = re.compile(r"(?<!\S)(?:-c\s*|--)((?:\\.|[^\s=])+=(?:\\.|\S)*)")

_RENAMED: Final = {
    "ssl-mode": "sslmode",
    "ssl-root-cert": "sslrootcert",
    "ssl-ca": "sslrootcert",
    "ssl-cert": "sslcert",
    "ssl-key": "sslkey",
    "hostaddr": "host",
}
"""sqlx's spellings of what libpq and asyncpg call otherwise."""
_TUNING: Final = frozenset(
    {
        "statement-cache-capacity",
        "statement_cache_capacity",
        "statement_cache_mode",
        "default_query_exec_mode",
        "description_cache_capacity",
        "connect_timeout",
        "pool_max_conns",
        "pool_min_conns",
        "pool_max_conn_lifetime",
        "pool_max_conn_lifetime_jitter",
        "pool_max_conn_idle_time",
        "pool_health_check_period",
    }
)
"""What tunes the caches and pools of sqlx and pgx: nothing to us, and a setting Postgres would refuse."""


class DatabaseUrlError(ValueError):
    """Not the URL of a Postgres. The text never repeats the URL, which may hold a password."""


def driver_url(url: str) -> str:
    """Make a URL written for an existing server one that asyncpg takes; one it takes already stays as it is.

    asyncpg hands query keys it does not know to Postgres as settings of the session. So sqlx's spellings of
    the TLS options become libpq's, what tunes another driver is dropped, and what `options=-ckey=value` and
    `options[key]=value` set becomes a key of its own. What else `options` holds is passed on.

    Raises:
        DatabaseUrlError: as its text says, in the words of the existing server where it has some.
    """
    fault = _fault(url)
    if fault is not None:
        raise DatabaseUrlError(f"database error: error with configuration: {fault}")
    address = url.partition("?")[0]
    kept = list(_translated(urlsplit(url).query))
    return f"{address}?{urlencode(kept)}" if kept else address


def _fault(url: str) -> str | None:
    scheme = _SCHEME.match(url)
    if scheme is None:
        return "relative URL without a base"
    if scheme[1].lower() not in ("postgres", "postgresql"):
        return "the URL of a database starts with postgres:// or postgresql://"
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    except ValueError:
        return "invalid IPv6 address"
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
    if any(port and not (_PORT.match(port) and int(port) <= 65_535) for port in ports):
        return "invalid port number"
    return None


def _translated(query: str) -> Iterator[tuple[str, str]]:
    """The keys of a query, without those that have no value: asyncpg refuses them."""
    rest: list[str] = []
    for key, value in parse_qsl(query):
        if key == "options":
            settings, other = _switches(value)
            yield from settings
            rest += other
        elif key.startswith("options[") and key.endswith("]"):
            yield key[8:-1], value
        elif key not in _TUNING:
            yield _RENAMED.get(key, key), value
    if rest:
        yield "options", " ".join(rest)


def _switches(options: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Read `-c key=value`, `-ckey=value` and `--key=value`; a backslash keeps a blank within a value.

    Settings of the session would win over those in `options`, but not over keys of their own. What is none of
    these switches is returned beside them as it stands.
    """
    settings, rest, at = [], [], 0
    for found in _SWITCH.finditer(options):
        rest.append(options[at : found.start()].strip())
        at = found.end()
        key, _, value = re.sub(r"\\(.)", r"\1", found[1]).partition("=")
        settings.append((key.replace("-", "_"), value))
    rest.append(options[at:].strip())
    return settings, [piece for piece in rest if piece]
