"""Settings this room reads (docs/tokens.md 4.1)."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import parse_audiences, parse_trusted_issuers
from tests.auth.vectors import auth_vectors

CONFIG = auth_vectors()["config"]


@pytest.mark.parametrize("case", CONFIG["trusted_issuers"], ids=lambda case: repr(case["value"]))
def test_trusted_issuers_of_the_vectors_read_as_stated(case: dict[str, Any]) -> None:
    if "issuers" in case:
        assert parse_trusted_issuers(case["value"]) == case["issuers"]
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        parse_trusted_issuers(case["value"])
    assert case["error_contains"] in str(caught.value)


@pytest.mark.parametrize("case", CONFIG["audiences"], ids=lambda case: repr(case["value"]))
def test_audiences_of_the_vectors_read_as_stated(case: dict[str, Any]) -> None:
    assert list(parse_audiences(case["value"])) == case["audiences"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("issuer", "relative URL without a base"),
        ("//issuer.example.com", "relative URL without a base"),
        ("1http://issuer.example.com", "relative URL without a base"),
        ("issuer.example.com:443", "must use http or https"),
        ("ws://issuer.example.com", "must use http or https"),
        ("http:", "empty host"),
        ("https:///", "empty host"),
        ("https://?x", "empty host"),
        ("https://user@", "empty host"),
        ("https://:80", "empty host"),
        ("https://a:65536", "invalid port number"),
        ("https://a:99999999999999999999", "invalid port number"),
        ("https://a:8o", "invalid port number"),
        ("https://a:\u0663", "invalid port number"),
        ("https://[::1", "invalid IPv6 address"),
        ("https://[]", "invalid IPv6 address"),
        ("https://[fe80::1%eth0]", "invalid IPv6 address"),
        ("https://[::1]:x", "invalid port number"),
        ("https://[1.2.3.4]", "invalid IPv6 address"),
        ("https://[::1]x", "invalid port number"),
        ("https://a<b", "invalid international domain name"),
        ("https://a%20b", "invalid international domain name"),
        ("https://a\u3002\u3002b", "invalid international domain name"),
    ],
)
def test_issuer_that_is_no_http_url_is_named_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid issuer URL") as caught:
        parse_trusted_issuers(f"https://fine.example.com {url}")
    assert str(caught.value) == f'invalid issuer URL "{url}": {reason}'


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:hunter@a:bad/j", "https://u:***@a:bad/j"),
        ("https://u:hun@t:er/?@a:bad", "https://u:***@a:bad"),
        ("ftp://u:hunter@a", "ftp://u:***@a"),
        ("https://a:bad?v&sig=hunter&x=hunter", "https://a:bad?v&sig=***&x=***"),
    ],
)
def test_passwords_of_a_url_that_cannot_be_used_are_not_repeated(url: str, shown: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid jwks_url URL") as caught:
        parse_trusted_issuers(f"https://fine.example.com={url}")
    assert f'"{shown}"' in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http:a",
        "http:///a",
        "HTTPS://a",
        "https://a:65535/x?y#z",
        "https://a:",
        "http://[::1]:8080/x",
        "http://[::1]",
        "http://user:pass@a/",
        "http:\\\\a\\b",
        "https://b\u00fccher.example",
        "http://127.0.0.1:5377",
    ],
)
def test_issuer_that_is_an_http_url_is_kept_but_for_its_trailing_slashes(url: str) -> None:
    assert parse_trusted_issuers(url) == {url.rstrip("/"): url.rstrip("/") + "/.well-known/jwks.json"}


@given(st.text(max_size=30))
def test_no_setting_raises_anything_but_value_errors(text: str) -> None:
    parse_audiences(text)
    with suppress(ValueError):
        assert parse_trusted_issuers("https:" + text)
