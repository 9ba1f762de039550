"""Which URLs webhooks may be sent to, as far as their text tells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.fleet.webhooks.urls import ADDRESSES_MAX, URL_CHARS_MAX, BadUrl, Target, may_dial, parse_url
from tests.fleet.receivers import LOOPBACK


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/"), "example.com"),
        ("https://EXAMPLE.com.:443/a?b=c", Target("https", "example.com", 443, "/a?b=c"), "example.com"),
        ("https://example.com:8443/", Target("https", "example.com", 8443, "/"), "example.com:8443"),
        ("https://example.com:80/", Target("https", "example.com", 80, "/"), "example.com:80"),
        ("https://a_b.example.com?q", Target("https", "a_b.example.com", 443, "/?q"), "a_b.example.com"),
        ("http://10.0.0.1:1024/x", Target("http", "10.0.0.1", 1024, "/x"), "10.0.0.1:1024"),
        ("https://[2A00::1]:65535/", Target("https", "2a00::1", 65535, "/"), "[2a00::1]:65535"),
        ("https://0x7f.1/", Target("https", "0x7f.1", 443, "/"), "0x7f.1"),
    ],
)
def test_url_that_may_be_called(url: str, target: Target, authority: str) -> None:
    assert parse_url(url, http=True) == target
    assert target.authority == authority


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "must be a URL in ASCII without blanks"),
        ("https://example.com/a b", "must be a URL in ASCII without blanks"),
        ("https://example.com/\n", "must be a URL in ASCII without blanks"),
        ("https://exa\tmple.com/", "must be a URL in ASCII without blanks"),
        ("https://bücher.example/", "must be a URL in ASCII without blanks"),
        ("https://example.com\\@10.0.0.1/", "must be a URL in ASCII without blanks"),
        ("example.com/hook", "must be an absolute URL"),
        ("//example.com/hook", "must be an absolute URL"),
        ("/hook", "must be an absolute URL"),
        ("https:/example.com", "must be an absolute URL"),
        ("https:///hook", "must be an absolute URL"),
        ("ftp://example.com/", "must be an absolute URL"),
        ("file:///etc/passwd", "must be an absolute URL"),
        ("https://example.com:port/", "must be an absolute URL"),
        ("https://example.com:65536/", "must be an absolute URL"),
        ("https://[::1/", "must be an absolute URL"),
        ("http://example.com/", "must begin with https://"),
        ("https://user@example.com/", "must not hold a user name or password"),
        ("https://user:secret@example.com/", "must not hold a user name or password"),
        ("https://@example.com/", "must not hold a user name or password"),
        ("https://example.com/#part", "must not have a fragment"),
        ("https://example.com/#", "must not have a fragment"),
        ("https://example.com:22/", "port must be 80, 443 or at least 1024"),
        ("https://example.com:0/", "port must be 80, 443 or at least 1024"),
        ("https://example.com:1023/", "port must be 80, 443 or at least 1024"),
        ("https://:443/", "must have a host"),
        ("https://./", "must have a host"),
        ("https://a..b/", "host must be a name or an address"),
        ("https://a%2eb/", "host must be a name or an address"),
        ("https://[fe80::1%25eth0]/", "host must be a name or an address"),
        (f"https://{'a' * 64}.example/", "host must be a name or an address"),
        (f"https://{'a.' * 127}aa/", "host must be a name or an address"),
        ("https://example.com/" + "a" * URL_CHARS_MAX, "must be at most 2048 characters"),
    ],
)
def test_any_other_is_refused_and_told_why(url: str, problem: str) -> None:
    with pytest.raises(BadUrl) as refused:
        parse_url(url, http=False)
    assert str(refused.value) == problem


@given(st.text(max_size=60).map("https://".__add__) | st.text(max_size=60))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        target = parse_url(text, http=True)
    except BadUrl:
        return
    assert parse_url(target.origin + target.path, http=True) == target


def test_every_address_of_a_host_has_to_be_public_or_allowed() -> None:
    public = ["93.184.215.14", "2606:4700::1111"]
    assert may_dial(public, ())
    assert not may_dial([*public, "10.0.0.1"], ())
    assert not may_dial(["127.0.0.1", "::1"], LOOPBACK)
    assert may_dial(["127.0.0.1", "93.184.215.14"], LOOPBACK)
    assert not may_dial(["::ffff:93.184.215.14"], ())
    assert not may_dial(["93.184.215.14"] * (ADDRESSES_MAX + 1), ())
