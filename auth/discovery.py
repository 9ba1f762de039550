"""What an issuer says of itself (OpenID Connect Discovery 1.0, RFC 8414): where its key set is."""

from typing import Final
from urllib.parse import urlsplit

from less_sync.auth.config import url_fault
from less_sync.auth.encoding import parse_json_object, text_member
from less_sync.auth.errors import DiscoveryRefused, MalformedText
from less_sync.auth.issuers import normalize_issuer

DISCOVERY_BYTES_MAX: Final = 1_048_576
"""A document may have this many decoded bytes and no more."""


def parse_discovery(document: bytes, issuer: str) -> str:
    """The URL of the key set of `issuer`, which is normalised.

    The document's own `issuer` must be the same but for slashes at its end, or it speaks of somebody else
    (Discovery 4.3). The key set may be on another host, but not by http when the issuer is reached by https.

    Raises:
        MalformedText: too large, no JSON object, or without one of the two members.
        DiscoveryRefused: of another issuer, or with a key set that may not be asked for.
    """
    if len(document) > DISCOVERY_BYTES_MAX:
        raise MalformedText
    members = parse_json_object(document)
    named, url = text_member(members, "issuer"), text_member(members, "jwks_uri")
    if not named or not url:
        raise MalformedText
    if normalize_issuer(named) != issuer:
        raise DiscoveryRefused("the discovery document is of another issuer")
    if url_fault(url) is not None:
        raise DiscoveryRefused("jwks_uri of the discovery document is no URL")
    if urlsplit(issuer).scheme.lower() == "https" and not url.lower().startswith("https:"):
        raise DiscoveryRefused("jwks_uri of the discovery document is not https")
    return url
