"""Discovery documents (docs/tokens.md 4.2)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import DISCOVERY_BYTES_MAX, AuthError, DiscoveryRefused, MalformedText, parse_discovery
from tests.auth.test_tokens import JSON_VALUES

ISSUER = "https://login.example.com/realms/apps"
KEYS = "https://keys.example.com/v3/certs?x=1"


def document(**members: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": KEYS, "scopes_supported": ["openid"]} | members).encode()


def test_the_key_set_may_be_on_another_host() -> None:
    assert parse_discovery(document(), ISSUER) == KEYS


@pytest.mark.parametrize("issuer", [ISSUER + "/", ISSUER + "//"])
def test_slashes_at_the_issuers_end_do_not_count(issuer: str) -> None:
    assert parse_discovery(document(issuer=issuer), ISSUER) == KEYS


@pytest.mark.parametrize(
    "issuer",
    [
        "https://evil.example",
        "http://login.example.com/realms/apps",
        ISSUER.upper(),
        ISSUER[:-1],
        f" {ISSUER}",
    ],
)
def test_a_document_of_another_issuer_is_refused(issuer: str) -> None:
    with pytest.raises(DiscoveryRefused, match="of another issuer"):
        parse_discovery(document(issuer=issuer), ISSUER)


@pytest.mark.parametrize("url", ["http://login.example.com/keys", "HTTP://login.example.com/keys"])
def test_https_does_not_lead_to_http(url: str) -> None:
    with pytest.raises(DiscoveryRefused, match="not https"):
        parse_discovery(document(jwks_uri=url), ISSUER)
    plain = "http://login.example.com"
    assert parse_discovery(document(issuer=plain, jwks_uri=url), plain) == url


@pytest.mark.parametrize("url", ["/keys", "ftp://a/keys", "file:///etc/passwd", "https://", "javascript:1"])
def test_a_key_set_that_cannot_be_asked_for_is_refused(url: str) -> None:
    with pytest.raises(DiscoveryRefused, match="is no URL"):
        parse_discovery(document(jwks_uri=url), ISSUER)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b"\xff",
        b'{"issuer":"a","issuer":"a"}',
        document(issuer=None),
        document(issuer=1),
        document(jwks_uri=None),
        document(jwks_uri=""),
        document(jwks_uri=[KEYS]),
    ],
)
def test_what_is_no_discovery_document_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedText):
        parse_discovery(body, ISSUER)


def test_a_document_may_have_a_mebibyte_and_not_a_byte_more() -> None:
    assert parse_discovery(document().ljust(DISCOVERY_BYTES_MAX), ISSUER) == KEYS
    with pytest.raises(MalformedText):
        parse_discovery(document().ljust(DISCOVERY_BYTES_MAX + 1), ISSUER)


@given(st.dictionaries(st.sampled_from(["issuer", "jwks_uri"]), JSON_VALUES, min_size=1))
def test_no_document_raises_anything_but_auth_errors(members: dict[str, Any]) -> None:
    with pytest.raises(AuthError):
        parse_discovery(document(**members), ISSUER)
