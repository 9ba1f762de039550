"""Addresses of peers, as grpcio tells them."""

import pytest

from less_sync.volume.grpc.peers import peer_ip


@pytest.mark.parametrize(
    ("peer", "ip"),
    [
        ("ipv4:127.0.0.1:54321", "127.0.0.1"),
        ("ipv6:%5B::1%5D:54321", "::1"),
        ("ipv6:[::1]:54321", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::1"),
        ("ipv6:%5B::ffff:10.1.2.3%5D:54321", "10.1.2.3"),
        ("unix:/run/a.sock", None),
        ("ipv4:no-address:1", None),
        ("", None),
    ],
)
def test_a_peer_is_told_by_its_bare_address(peer: str, ip: str | None) -> None:
    assert peer_ip(peer) == ip
