"""Where a peer is dialled: by what operators wrote, never by what a client sent (docs/federation.md 9.1).

    FEDERATION_PEER_URLS has the host    its URL
    the row's `home_server` is a URL     that, its scheme made `ws` or `wss`, `/` made the route's path
    it is a name                         `wss://` the name, `ws://` for this machine itself

A client names a server too, in `invitation.create` and `space.create`. It chooses among the trusted domains
and no more: what is kept of its text is the entry that it matches.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from less_sync.auth import FederationTrust, MalformedText, ServerName, parse_server_name
from less_sync.federation.outbound.calls import PeerAddress
from less_sync.federation.peer_urls import PEER_PATH, websocket_url
from less_sync.federation.settings import FederationSettings
from less_sync.sync.forwarding import NAMES_MAX, NotTrusted, names_another

_PORTS: Final = {"ws": 80, "wss": 443}
_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")


class NoAddress(Exception):
    """A home that is not dialled: its name cannot be read, or nobody trusts it."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Answers from settings alone; looks nothing up.

    Args:
        own: our public names, asked for each time, because keys are reloaded.
    """

    settings: FederationSettings
    own: Callable[[], Collection[str]]

    def is_foreign(self, home: str | None) -> bool:
        """Whether a `home_server` is another server."""
        return names_another(home, self.own())

    def of_home(self, home: str) -> PeerAddress:
        """Where a row's home is dialled.

        Raises:
            NoAddress: a user name in it, no known scheme, no host; or it is not trusted.
        """
        written = _url(home)
        name = _server_of(written)
        url = self.settings.peer_urls.get(name.host, written)
        return PeerAddress(name.host, url, self._trusted_by(name, url))

    def trusted_name(self, server: str) -> str | None:
        """The trusted entry that a client's text names; None when that is this server.

        Raises:
            NotTrusted: no entry matches. A port that was named must be the entry's, or the configured URL's.
        """
        try:
            name = parse_server_name(server)
        except MalformedText:
            raise NotTrusted from None
        if name is None:
            raise NotTrusted
        if not self.is_foreign(server):
            return None
        url = self.settings.peer_urls.get(name.host)
        configured = url is not None and _port(url) == (name.port or 443)
        entry = _named_entry(self.settings.trust, name, any_port=name.port is None or configured)
        if entry is None:
            raise NotTrusted
        return entry

    def _trusted_by(self, name: ServerName, url: str) -> str:
        """By its host alone, preferably with the port that is dialled: operators wrote both."""
        trust = self.settings.trust
        if not trust.domains:
            return ""
        entry = trust.entry_for(name.host, _port(url)) or trust.entry_for(name.host, None)
        if entry is None:
            raise NoAddress(f"{name.host} is no trusted domain")
        return entry


def _named_entry(trust: FederationTrust, name: ServerName, *, any_port: bool) -> str | None:
    """The entry for a client's text; one without port is for the usual port, or clients would choose it."""
    if any_port:
        return trust.entry_for(name.host, name.port) or trust.entry_for(name.host, None)
    entry = trust.entry_for(name.host, name.port)
    named = None if entry is None else parse_server_name(entry)
    return entry if named is not None and named.port == name.port else None


@lru_cache(NAMES_MAX)
def link_key(url: str) -> tuple[str, int]:
    """What a link is kept under: host and port of the URL it dials, so two homes on a host stay apart."""
    return _server_of(url).host, _port(url)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or _PORTS[parts.scheme]


def _server_of(url: str) -> ServerName:
    try:
        name = parse_server_name(url)
    except MalformedText:
        name = None
    if name is None:
        raise NoAddress("no server's name")
    return name


def _url(home: str) -> str:
    """The URL that an operator's text means."""
    text = home.strip()
    if "://" not in text:
        return _url_of_name(text)
    try:
        return websocket_url(text)
    except MalformedText:
        raise NoAddress("no ws, wss, http or https URL, or one with a user name") from None


def _url_of_name(text: str) -> str:
    name = _server_of(text)
    scheme = "ws" if name.host in _THIS_MACHINE else "wss"
    return f"{scheme}://{name}{PEER_PATH}"
