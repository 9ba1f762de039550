"""Names of servers as they are read, and which of them an entry trusts (docs/federation.md 2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import (
    FederationTrust,
    InvalidKeyId,
    MalformedText,
    ServerName,
    UntrustedPeer,
    canonicalize_domain,
    key_id_server,
    parse_federation_trust,
    parse_peer_domain,
    parse_server_name,
    trusted_peer,
)
from tests.auth.test_peers import KEY_TEXT

SAME = [
    *(
        (text, "example.com")
        for text in (
            "example.com",
            "EXAMPLE.COM",
            "example.com.",
            "example.com..",
            "example.com:443",
            "https://example.com",
            "https://EXAMPLE.COM:443/path",
        )
    ),
    ("example.com:8443", "example.com:8443"),
    ("http://example.com:8080/foo", "example.com:8080"),
    ("http://h:80", "h:80"),
    ("[::1]:443", "[::1]"),
    ("[::1]:5379", "[::1]:5379"),
    ("", ""),
    ("https://", ""),
]
"""What both forms make the same of."""

DIFFERENT = [
    ("::1", "::1", "[::1]"),
    ("example.com.:443", "example.com.", "example.com"),
    ("fe80::443", "fe80:", "[fe80::443]"),
    ("example.com:443:443", "example.com", None),
    ("https://user@h/x", "user@h", None),
    (" h ", " h ", "h"),
    ("h?x=1", "h?x=1", None),
    ("https://h#f", "h#f", None),
    ("b\u00fccher.example", "b\u00fccher.example", "xn--bcher-kva.example"),
]
"""Text, its form in tokens, and the name read from it; None: refused."""


@pytest.mark.parametrize(("text", "name"), SAME)
def test_usual_spellings_read_as_they_enter_tokens(text: str, name: str) -> None:
    assert parse_peer_domain(text) == canonicalize_domain(text) == name


@pytest.mark.parametrize(("text", "in_tokens", "name"), DIFFERENT)
def test_odd_spellings_are_read_strictly_and_hashed_as_ever(
    text: str, in_tokens: str, name: str | None
) -> None:
    assert canonicalize_domain(text) == in_tokens
    if name is not None:
        assert parse_peer_domain(text) == name
        return
    with pytest.raises(MalformedText):
        parse_peer_domain(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a..b",
            ".a",
            ".",
            "a_b",
            "a b",
            "a:",
            "a:0",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:1:2",
            "a:\u0661",
            ":80",
        ),
        *("[::1", "[::1]x", "[::1]:", "[fe80::1%eth0]", "[1.2.3.4]", "a%20b", "a\tb", "a\x00"),
        *("a" * 254, "a" * 400, "\u00fc" * 200, "xn--\u00fc", "\u200d.example"),
    ],
)
def test_what_no_server_is_called_is_refused(text: str) -> None:
    with pytest.raises(MalformedText):
        parse_peer_domain(text)


def test_name_of_non_ascii_letters_is_mapped_before_it_is_encoded() -> None:
    assert parse_peer_domain("https://B\u00dcCHER\u3002example.:5379/x") == "xn--bcher-kva.example:5379"
    assert parse_peer_domain("\uff45xample.com") == "example.com"


def test_address_is_read_in_its_short_form() -> None:
    assert parse_peer_domain("[0:0::0:1]:80") == "[::1]:80"
    assert parse_server_name("2001:DB8::1") == ServerName("2001:db8::1", None)
    assert parse_server_name("  ") is None
    assert key_id_server("https://[0:0::1]:5379/k#1") == ServerName("::1", 5379)
    assert key_id_server("http://h/k#1") == ServerName("h", 80)


@given(st.text(max_size=40) | st.from_regex(r"[a-zA-Z0-9.:\[\]@/-]{0,30}", fullmatch=True))
def test_reading_is_stable_and_raises_one_error_alone(text: str) -> None:
    try:
        name = parse_peer_domain(text)
    except MalformedText:
        return
    assert parse_peer_domain(name) == name
    assert name.isascii()
    assert name == name.strip()


TRUST = FederationTrust(("[::1]", "any.example", "both.example", "both.example:81", "one.example:8443"))


@pytest.mark.parametrize(
    ("host", "port", "entry"),
    [
        ("any.example", 443, "any.example"),
        ("any.example", 5379, "any.example"),
        ("ANY.example", None, "any.example"),
        ("one.example", 8443, "one.example:8443"),
        ("one.example", 443, None),
        ("one.example", None, "one.example:8443"),
        ("both.example", 81, "both.example:81"),
        ("both.example", 82, "both.example"),
        ("both.example", None, "both.example"),
        ("::1", 5379, "[::1]"),
        ("[::1]", None, "[::1]"),
        ("0:0::1", 1, "[::1]"),
        ("other.example", None, None),
        ("any.example:443", None, None),
        ("", None, None),
    ],
)
def test_entry_without_port_is_good_for_all_and_one_with_a_port_for_that(
    host: str, port: int | None, entry: str | None
) -> None:
    assert TRUST.entry_for(host, port) == entry


@pytest.mark.parametrize(
    ("key_id", "peer"),
    [
        ("https://any.example:5379/k#1", "any.example"),
        ("https://ANY.example./k#1", "any.example"),
        ("https://one.example:8443/k#1", "one.example"),
        ("https://[::1]:5379/k#1", "::1"),
    ],
)
def test_peer_is_the_host_of_its_key_id(key_id: str, peer: str) -> None:
    assert trusted_peer(key_id, TRUST) == peer


def test_peer_at_another_port_than_the_one_listed_is_not_trusted() -> None:
    with pytest.raises(UntrustedPeer):
        trusted_peer("https://one.example/k#1", TRUST)
    with pytest.raises(InvalidKeyId):
        trusted_peer("https://../k#1", TRUST)


def test_key_may_have_the_port_of_its_domain_or_its_domain_none() -> None:
    keys = f"https://a.example:5379/k#1={KEY_TEXT}"
    for domains in ("a.example:5379", "a.example", "a.example:5379,b.example"):
        assert parse_federation_trust(domains=domains, keys=keys).keys
    with pytest.raises(ValueError, match=r'domain "a\.example" is not listed'):
        parse_federation_trust(domains="a.example:5380", keys=keys)


def test_listed_domains_are_read_as_names_and_the_rest_kept_as_it_is() -> None:
    trust = parse_federation_trust(
        domains="::1, b\u00fccher.example, fe80::443, https://u@h/x, https://", keys=""
    )
    assert trust.domains == ("[::1]", "[fe80::443]", "u@h", "xn--bcher-kva.example")
    assert trust.entry_for("h", None) is None


def test_domain_of_a_key_at_an_address_is_listed_in_brackets() -> None:
    trust = parse_federation_trust(domains=None, keys=f"http://[::1]:5379/k#1={KEY_TEXT}")
    assert trust.domains == ("[::1]",)
