"""Names of servers as operators and clients write them: read strictly, and told apart by host and port.

`canonicalize_domain` (in `fst`) goes into tokens and must not change; it lets through what no server is
called. What is read here is refused instead, and where both take a text they make the same of it but for the
rows that docs/federation.md 2 names.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple

import idna

from less_sync.auth.errors import MalformedText

DEFAULT_PORT: Final = 443

_NAME_CHARS_MAX: Final = 300
"""A host name has 253 at most (RFC 1035 2.3.4); looked at before anything costly is done."""
_HOST_CHARS_MAX: Final = 253
_HOST: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_PORT: Final = re.compile(r"[0-9]{1,5}")


class ServerName(NamedTuple):
    """Where a server is."""

    host: str
    """Lower-case; an IPv6 address without brackets, in its short form."""
    port: int | None
    """None: not said."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def parse_peer_domain(text: str) -> str:
    """A server's name in the one form it is kept and compared in: `host` or `host:port`.

    Blanks around it, a scheme and a path are dropped. Then it is a host name, non-ASCII ones as UTS 46 maps
    them to ASCII, or an IPv6 address with or without brackets; a dot at the end and port 443 are dropped.
    A text that names nothing is empty.

    Raises:
        MalformedText: anything else: user info, a query, an empty label, a second port, one beyond 65535.
    """
    name = parse_server_name(text)
    return "" if name is None else str(name)


def parse_server_name(text: str) -> ServerName | None:
    """The same in two parts, port 443 as None; None for a text that names nothing.

    Raises:
        MalformedText: as `parse_peer_domain`.
    """
    text = text.strip()
    _, scheme, rest = text.partition("://")
    text = (rest if scheme else text).partition("/")[0]
    if not text:
        return None
    if len(text) > _NAME_CHARS_MAX:
        raise MalformedText
    address = ipv6_text(text)
    if address is not None:
        return ServerName(address, None)
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, colon, port = text, "", ""
    return ServerName(_host(host), _port(port) if colon else None)


def ipv6_text(text: str) -> str | None:
    """An IPv6 address in its short form, in lower case; None if that is no address, or has a zone."""
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return None
    return None if address.scope_id is not None else address.compressed


def _host(text: str) -> str:
    if text.startswith("["):
        address = ipv6_text(text[1:-1]) if text.endswith("]") else None
        if address is None:
            raise MalformedText
        return address
    host = text.lower() if text.isascii() else _ascii(text)
    host = host.rstrip(".")
    if len(host) > _HOST_CHARS_MAX or not _HOST.fullmatch(host):
        raise MalformedText
    return host


def _ascii(text: str) -> str:
    try:
        return idna.encode(text.rstrip("."), uts46=True).decode("ascii").lower()
    except ValueError:
        raise MalformedText from None


def _port(text: str) -> int | None:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65_535:
        raise MalformedText
    return None if int(text) == DEFAULT_PORT else int(text)
