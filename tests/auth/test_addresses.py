"""Which addresses may be dialled for strangers (docs/federation.md 4.3)."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import is_public_address


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1"),
        *("172.32.0.1", "192.0.1.0", "192.169.0.1", "198.17.0.1", "198.20.0.1", "223.255.255.255"),
        *("2606:4700::1111", "2a00:1450::1", "2001:4860::8888", "3ffe::1"),
        *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ],
)
def test_address_of_the_public_internet_may_be_dialled(address: str) -> None:
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1"),
        *("192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1"),
        *("239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::2", "::8.8.8.8", "fe80::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1"),
        *("100::1", "2001::1", "2001:1ff::1", "2001:db8::1", "3fff::1", "5f00::1", "64:ff9b:1::808:808"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
        *("2002:7f00:1::1", "2002:c0a8:101::1", "2606:4700::1%eth0", "fe80::1%1"),
        *("", "localhost", "1.1.1", "01.1.1.1", "0x7f000001", "2130706433", "1.1.1.1:80", "[::1]"),
    ],
)
def test_any_other_address_may_not(address: str) -> None:
    assert not is_public_address(address)


WRAPPINGS = {
    "mapped": "::ffff:{dotted}",
    "compatible": "::{dotted}",
    "translated without state": "::ffff:0:{dotted}",
    "NAT64": "64:ff9b::{dotted}",
    "NAT64 of a network's own": "64:ff9b:1::{dotted}",
    "6to4": "2002:{hex}::1",
    "Teredo server": "2001:0:{hex}::1",
    "Teredo client": "2001::{inverted}",
}
"""How an IPv4 address is put into an IPv6 one (RFC 4291, 6052, 8215, 3056, 4380)."""


def wrap(form: str, inside: str) -> str:
    value = int(ip_address(inside))
    inverted = value ^ 0xFFFF_FFFF
    return WRAPPINGS[form].format(
        dotted=inside,
        hex=f"{value >> 16:x}:{value & 0xFFFF:x}",
        inverted=f"{inverted >> 16:x}:{inverted & 0xFFFF:x}",
    )


@pytest.mark.parametrize("form", WRAPPINGS)
@pytest.mark.parametrize("inside", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_wrapping_hides_no_address(form: str, inside: str, wrapped: bool) -> None:
    assert not is_public_address(wrap(form, inside), wrapped=wrapped)


@pytest.mark.parametrize("form", WRAPPINGS)
def test_public_address_in_any_wrapping_is_refused_where_none_may_be_wrapped(form: str) -> None:
    assert not is_public_address(wrap(form, "8.8.8.8"), wrapped=False)


@given(st.ip_addresses())
def test_of_addresses_without_wrapping_only_pythons_global_ones_may_be_dialled(address: object) -> None:
    """`is_global` says yes to more, multicast for one, but what it says no to may never be dialled."""
    parsed = ip_address(str(address))
    if is_public_address(str(parsed), wrapped=False):
        assert parsed.is_global
        assert not parsed.is_multicast


@pytest.mark.parametrize(
    ("address", "network", "may"),
    [
        ("127.0.0.1", "127.0.0.0/8", True),
        ("127.0.0.1", "10.0.0.0/8", False),
        ("10.9.8.7", "10.9.8.7/32", True),
        ("fd00::5", "fd00::/8", True),
        ("::1", "127.0.0.0/8", False),
        ("::ffff:127.0.0.1", "127.0.0.0/8", False),
        ("64:ff9b::7f00:1", "127.0.0.0/8", False),
        ("64:ff9b::808:808", "64:ff9b::/96", True),
        ("fe80::1%eth0", "fe80::/10", False),
        ("8.8.8.8", "10.0.0.0/8", True),
        ("localhost", "0.0.0.0/0", False),
    ],
)
def test_allowed_network_opens_its_own_addresses_alone(address: str, network: str, may: bool) -> None:
    assert is_public_address(address, wrapped=False, allowed=[ip_network(network)]) is may
