"""Database URLs as both the existing servers' driver and ours understand them (docs/storage.md 8.4)."""

import re
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_SWITCH: Final = re.compile(r"(?:-c\s*|--)((?:\\.|\S)+)")
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

    sqlx's spellings of TLS options become libpq's. `options=-ckey=value` and `options[key]=value` become
    settings, so that they win over those of the session, which the server would otherwise apply last. Any
    other key is left for asyncpg, which sends it to the server.
    """
    parts = urlsplit(url)
    kept: list[tuple[str, str]] = []
    settings: dict[str, str] = {}
    for key, value in parse_qsl(parts.query):
        if key in _DROPPED:
            continue
        if key == "options":
            settings |= _switches(value)
        elif key.startswith("options[") and key.endswith("]"):
            settings[key[8:-1]] = value
        elif key == "application_name":
            settings[key] = value
        else:
            kept.append((_RENAMED.get(key, key), value))
    return urlunsplit(parts._replace(query=urlencode(kept))), settings


def _switches(options: str) -> dict[str, str]:
    """Read `-c key=value`, `-ckey=value` and `--key=value`; a backslash keeps a space within a value."""
    settings: dict[str, str] = {}
    for word in _SWITCH.findall(options):
        key, _, value = re.sub(r"\\(.)", r"\1", word).partition("=")
        settings[key.replace("-", "_")] = value
    return settings
