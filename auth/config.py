"""Reading the settings this room gives a meaning to: trusted issuers and audiences (docs/tokens.md 4.1)."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from less_sync.auth.encoding import split_white_space
from less_sync.auth.issuers import normalize_issuer

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY: Final = re.compile(r"[/\\]*([^/\\?#]*)")
_PASSWORD: Final = re.compile(r"(^[^/]*//[^:]*:).*", re.DOTALL)
_QUERY_VALUE: Final = re.compile(r"=[^&]*")
_DIGITS: Final = re.compile(r"0{0,100}[0-9]{0,5}")
_BAD_HOST_CHARS: Final = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")


def parse_trusted_issuers(text: str | None) -> dict[str, str]:
    """Read `TRUSTED_ISSUERS`: entries `issuer` or `issuer=jwks_url` between white space.

    Returns:
        Normalised issuer to the URL of its key set; of a repeated issuer the last entry.

    Raises:
        ValueError: worded for the operator.
    """
    issuers: dict[str, str] = {}
    for entry in split_white_space(text or ""):
        issuer, has_url, url = entry.partition("=")
        _check_http_url("issuer", issuer)
        normalized = normalize_issuer(issuer)
        if has_url:
            _check_http_url("jwks_url", url)
        issuers[normalized] = url if has_url else f"{normalized}/.well-known/jwks.json"
    if not issuers:
        raise ValueError("TRUSTED_ISSUERS must be set")
    return issuers


def parse_audiences(text: str | None) -> tuple[str, ...]:
    """Read `AUDIENCES`: items between commas, trimmed, empty ones dropped."""
    items = (item.strip() for item in (text or "").split(","))
    return tuple(item for item in items if item)


def _check_http_url(what: str, raw: str) -> None:
    reason = url_fault(raw)
    if reason:
        raise ValueError(f'invalid {what} URL "{_without_secrets(raw)}": {reason}')


def _without_secrets(raw: str) -> str:
    """A text that is no URL, without what would be a password or the value of a query's key."""
    before, at, rest = raw.rpartition("@")
    path, mark, query = rest.partition("?")
    return _PASSWORD.sub(r"\1***", before) + at + path + mark + _QUERY_VALUE.sub("=***", query)


def url_fault(raw: str) -> str | None:
    """Why a text is no absolute http or https URL by WHATWG rules, or None.

    Any number of slashes, even none, may follow the scheme.
    """
    scheme = _SCHEME.match(raw)
    if scheme is None:
        return "relative URL without a base"
    if scheme[1].lower() not in ("http", "https"):
        return "must use http or https"
    authority = _AUTHORITY.match(raw, scheme.end())
    assert authority is not None, "matches the empty text"
    return _host_fault(authority[1].rpartition("@")[2])


def _host_fault(host_port: str) -> str | None:
    if host_port.startswith("["):
        host, bracket, rest = host_port.rpartition("]")
        if not bracket or not _is_ipv6(host[1:]):
            return "invalid IPv6 address"
        return None if not rest or (rest.startswith(":") and _is_port(rest[1:])) else "invalid port number"
    host, _, port = host_port.partition(":")
    if not host:
        return "empty host"
    if not _is_domain(host):
        return "invalid international domain name"
    return None if _is_port(port) else "invalid port number"


def _is_port(text: str) -> bool:
    return _DIGITS.fullmatch(text) is not None and int(text or "0") <= 65_535


def _is_ipv6(text: str) -> bool:
    try:
        # A zone, which the class takes, has no place in a URL.
        return IPv6Address(text).scope_id is None
    except AddressValueError:
        return False


def _is_domain(host: str) -> bool:
    try:
        ascii_host = host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError:
        return False
    return not _BAD_HOST_CHARS.search(ascii_host)
