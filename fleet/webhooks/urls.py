"""Which URLs webhooks may be sent to: looked at when an endpoint is made or changed, and at each attempt.

Whoever may register an endpoint could otherwise have the plane knock at its own neighbours. What can be told
from the text is told here; the addresses of the host are judged by `auth.is_public_address` once they are
known, which is why no form of a number that a resolver takes for an address needs to be known here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from less_sync.auth import is_public_address
from less_sync.fleet.settings import Network

URL_CHARS_MAX: Final = 2_048
ADDRESSES_MAX: Final = 64
"""Addresses of one name that are judged; a name with more is refused, as some would not be looked at."""

_PORTS: Final = {"https": 443, "http": 80}
_FREE_PORT_MIN: Final = 1_024
_PRINTABLE: Final = re.compile(r"[!-~]+")
_UNWISE: Final = frozenset('"<>\\^`{|}')
"""Printable, but in no URL (RFC 3986 2): parsers differ in what they make of them."""
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class BadUrl(ValueError):
    """The text says what is wrong, without the URL, which may hold a secret."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where one webhook goes. Made by `parse_url` alone."""

    scheme: str
    host: str
    """Lower-case ASCII without a dot at its end; an IPv6 address without brackets."""
    port: int
    path: str
    """With the query; begins with a slash."""

    @property
    def authority(self) -> str:
        """As it stands in `Host`: without the port that the scheme has anyway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The URL without path and query, which may hold a secret."""
        return f"{self.scheme}://{self.authority}"


def parse_url(url: str, *, http: bool) -> Target:
    """Take a URL apart.

    Args:
        http: plain `http` is allowed too.

    Raises:
        BadUrl: it is not absolute, `https` (or `http`), with a host, without user info and fragment, at port
            80, 443 or one from 1,024 on, in at most 2,048 printable ASCII characters.
    """
    if len(url) > URL_CHARS_MAX:
        raise BadUrl(f"must be at most {URL_CHARS_MAX} characters")
    if not _PRINTABLE.fullmatch(url) or _UNWISE & set(url):
        raise BadUrl("must be a URL in ASCII without blanks")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrl("must be an absolute URL") from None
    if parts.scheme not in _PORTS or not parts.netloc:
        raise BadUrl("must be an absolute URL")
    if parts.scheme == "http" and not http:
        raise BadUrl("must begin with https://")
    if "@" in parts.netloc:
        raise BadUrl("must not hold a user name or password")
    if "#" in url:
        raise BadUrl("must not have a fragment")
    if port is None:
        port = _PORTS[parts.scheme]
    if port not in _PORTS.values() and port < _FREE_PORT_MIN:
        raise BadUrl(f"port must be 80, 443 or at least {_FREE_PORT_MIN}")
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, _host(parts), port, (parts.path or "/") + query)


def _host(parts: SplitResult) -> str:
    text = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc:
        try:
            address = IPv6Address(text)
        except AddressValueError:
            raise BadUrl("host must be a name or an address") from None
        if address.scope_id is not None:
            raise BadUrl("host must be a name or an address")
        return address.compressed
    if not text:
        raise BadUrl("must have a host")
    if not _NAME.fullmatch(text):
        raise BadUrl("host must be a name or an address")
    return text


def may_dial(addresses: Iterable[str], allowed: Iterable[Network]) -> bool:
    """Whether a host with these addresses may be dialled: every one is public, or in an allowed network."""
    found, networks = list(addresses), tuple(allowed)
    return len(found) <= ADDRESSES_MAX and all(
        is_public_address(address, wrapped=False, allowed=networks) for address in found
    )
