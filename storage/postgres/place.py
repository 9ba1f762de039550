"""Where a database is, in words for error texts: never who connects, nor with what password."""

from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

_HOST: Final = "localhost"
_PORT: Final = "5432"


def place_of(url: str) -> str:
    """Name host, port and database of a URL: `database "sync" at db.example:5432`.

    A Unix socket is named by its directory. Several hosts are named as the URL lists them. A URL that does
    not say which database it means is left without one: the server takes the role's name, which is private.
    """
    try:
        parts = urlsplit(url)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    except ValueError:
        return "the database"
    name = unquote(parts.path.lstrip("/")) or query.get("dbname") or query.get("database")
    hosts = unquote(parts.netloc.rpartition("@")[2]) or query.get("host") or query.get("hostaddr") or _HOST
    port = query.get("port", _PORT)
    named = ",".join(host if _has_port(host) else f"{host}:{port}" for host in hosts.split(","))
    return f'database "{name}" at {named}' if name else f"the database at {named}"


def reason_of(error: BaseException) -> str:
    """Say why a connection was not made, in words of the operating system or by SQLSTATE.

    The server's own text is left out: it is localised and names the role.
    """
    if isinstance(error, asyncpg.PostgresError):
        return f"{type(error).__name__} (SQLSTATE {error.sqlstate})"
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return error.strerror or str(error) or type(error).__name__
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


def _has_port(host: str) -> bool:
    return not host.startswith("/") and host.rpartition(":")[2].isdigit()
