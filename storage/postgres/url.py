"""Database URLs as both the existing servers' driver and ours understand them (storage chapter 3)."""

from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_DROPPED: Final = frozenset({"statement-cache-capacity"})
_RENAMED: Final = {
    "ssl-mode": "sslmode",
    "ssl-root-cert": "sslrootcert",
    "ssl-ca": "sslrootcert",
    "ssl-cert": "sslcert",
    "ssl-key": "sslkey",
    "hostaddr": "host",
}


def split_url(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL without what only sqlx understands, and the session settings it asks for itself.

    sqlx's spellings of TLS options become libpq's; `options[key]=value` becomes part of `options`, which is
    kept (`options=-csearch_path=x`); any other key is left for asyncpg, which sends it to the server.
    """
    parts = urlsplit(url)
    kept: list[tuple[str, str]] = []
    settings: dict[str, str] = {}
    options: list[str] = []
    for key, value in parse_qsl(parts.query):
        if key in _DROPPED:
            continue
        if key == "options":
            options.append(value)
        elif key.startswith("options[") and key.endswith("]"):
            options.append(f"-c{key[8:-1]}={value}")
        elif key == "application_name":
            settings[key] = value
        else:
            kept.append((_RENAMED.get(key, key), value))
    if options:
        settings["options"] = " ".join(options)
    return urlunsplit(parts._replace(query=urlencode(kept))), settings
