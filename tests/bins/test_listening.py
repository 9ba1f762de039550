"""The sockets of each form of a listen address."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from less_sync.bins.errors import CommandError
from less_sync.bins.listening import bound_address, listen, open_listeners, open_shares
from less_sync.bins.settings.parts import ListenAddress


@contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    listeners = open_listeners(ListenAddress(host, port))
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def test_one_address_is_one_socket_with_the_port_really_bound() -> None:
    with listening("127.0.0.1") as listeners:
        (address,) = map(bound_address, listeners)
        assert address.host == "127.0.0.1"
        assert reaches("127.0.0.1", address.port)
        assert str(address) == f"127.0.0.1:{address.port}"


def test_all_interfaces_are_reached_over_ipv4() -> None:
    with listening("") as listeners:
        assert len(listeners) == 1
        assert reaches("127.0.0.1", bound_address(listeners[0]).port)


def test_all_addresses_of_a_name_get_the_same_port() -> None:
    with listening("localhost") as listeners:
        addresses = [bound_address(listener) for listener in listeners]
        assert addresses[0].host == "127.0.0.1"
        assert len({address.port for address in addresses}) == 1
        assert all(reaches(address.host, address.port) for address in addresses)


def test_a_port_that_is_taken_leaves_no_socket_open() -> None:
    with listening("127.0.0.1") as (taken,):
        port = bound_address(taken).port
        with pytest.raises(CommandError, match=r"^Address already in use \(os error 98\)"):
            open_listeners(ListenAddress("127.0.0.1", port))


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert str(ListenAddress("::1", 5379)) == "[::1]:5379"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_several_processes_share_all_addresses_at_one_port(host: str) -> None:
    shares, claims = open_shares(ListenAddress(host, 0), 3)
    with claims:
        addresses = [[bound_address(one) for one in share] for share in shares]
        assert addresses == [addresses[0]] * 3
        (port,) = {address.port for share in addresses for address in share}
        # Nobody is let in before the first of them listens.
        assert not reaches("127.0.0.1", port)
        for share in shares:
            listen(share)
        assert all(reaches(one.host or "127.0.0.1", port) for one in addresses[0])
        with pytest.raises(CommandError, match="Address already in use"):
            open_listeners(ListenAddress(host, port))
        with pytest.raises(CommandError, match="Address already in use"):
            open_shares(ListenAddress(host, port), 2)
    with listening(host, port):  # all is given back
        pass


def test_two_that_start_at_the_same_time_do_not_join_each_other() -> None:
    # The first one does not listen yet, so the kernel has nothing against another who shares.
    shares, claims = open_shares(ListenAddress("127.0.0.1", 0), 2)
    with claims:
        port = bound_address(shares[0][0]).port
        with pytest.raises(CommandError, match=r"Address already in use .* choose another address"):
            open_shares(ListenAddress("127.0.0.1", port), 2)
