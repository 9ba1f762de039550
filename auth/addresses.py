"""Which addresses may be dialled for a URL that a stranger chose: those of the public Internet alone.

Whoever lets others name a host can be made to knock at its own neighbours, so every address a name resolves
to is looked at here before a packet leaves. The ranges are those of the IANA registries of special-purpose
addresses (RFC 6890), written down because Python's own idea of them differs from release to release.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # behind carriers' translators (RFC 6598)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, where clouds keep their secrets
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays that are no more (RFC 7526)
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_GLOBAL_UNICAST_6: Final = IPv6Network("2000::/3")
"""All else is local, multicast or unassigned, but for the forms below that hold an IPv4 address."""
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments; tunnels through translators (Teredo)
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_6TO4: Final = IPv6Network("2002::/16")


def is_public_address(address: str, *, wrapped: bool = True, allowed: Iterable[Network] = ()) -> bool:
    """Whether an address is reachable from everywhere; False for what is no address, or has a zone.

    Args:
        wrapped: an IPv6 address that stands for an IPv4 one (mapped, translated, tunnelled) is judged as
            that one, as a server behind a translator needs for its peers (docs/federation.md 4.3);
            otherwise no such address is public, as for receivers of webhooks.
        allowed: networks whose addresses may be dialled although they are not public. An address belongs
            to a network as it is written: a wrapped one never to the network of the address inside.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_4(parsed) or any(parsed in network for network in allowed)
    if parsed.scope_id is not None:
        return False
    return _is_public_6(parsed, wrapped) or any(parsed in network for network in allowed)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_4)


def _is_public_6(address: IPv6Address, wrapped: bool) -> bool:
    value = int(address)
    if address in _MAPPED or address in _NAT64:
        return wrapped and _is_public_4(IPv4Address(value & 0xFFFF_FFFF))
    if address in _6TO4:
        return wrapped and _is_public_4(IPv4Address(value >> 80 & 0xFFFF_FFFF))
    return address in _GLOBAL_UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)
