"""Where an operator says a server is dialled (docs/settings.md): URLs of WebSockets, or of sites."""

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from less_sync.auth import MalformedText, parse_server_name

PEER_PATH: Final = "/api/v1/federation/ws"
URL_CHARS_MAX: Final = 2048

_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}


def websocket_url(url: str) -> str:
    """Make what is dialled of an operator's URL: `http` is `ws`, and no path is the route between servers.

    Any other path, a query and the port stay; the scheme's own port is left out.

    Raises:
        MalformedText: no such URL, or one with user info, which would be sent to nobody, or a fragment.
    """
    if len(url) > URL_CHARS_MAX or not url.isprintable() or " " in url:
        raise MalformedText
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise MalformedText from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or "@" in parts.netloc or "#" in url or port == 0:
        raise MalformedText
    server = parse_server_name(_bracketed(parts.hostname or ""))
    if server is None:
        raise MalformedText
    place = str(server._replace(port=None if port == _DEFAULT_PORTS[scheme] else port))
    path = PEER_PATH if parts.path in ("", "/") else parts.path
    return f"{scheme}://{place}{path}{f'?{parts.query}' if parts.query else ''}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def parse_peer_urls(entries: Iterable[str]) -> Mapping[str, str]:
    """Read entries `domain=url` into a peer's host and the URL that is dialled.

    Raises:
        ValueError: worded for the operator; of the URL only what comes before an `@` could be private, so
            the entry is named by its domain.
    """
    found: dict[str, str] = {}
    for entry in entries:
        domain, separator, url = entry.partition("=")
        try:
            server = parse_server_name(domain) if separator else None
        except MalformedText:
            server = None
        if server is None:
            raise ValueError("invalid FEDERATION_PEER_URLS entry: expected domain=url")
        if server.host in found:
            raise ValueError(f'FEDERATION_PEER_URLS names "{server.host}" twice')
        try:
            found[server.host] = websocket_url(url)
        except MalformedText:
            raise ValueError(
                f'invalid FEDERATION_PEER_URLS entry for "{domain}": expected a ws, wss, http or https URL'
            ) from None
    return found
