"""The sockets the server listens on."""

import errno
import socket
import sys
from contextlib import ExitStack
from typing import NamedTuple, Self

from less_sync.bins.errors import CommandError, os_error_text
from less_sync.bins.settings.parts import ListenAddress

BACKLOG = 2048


def open_listeners(address: ListenAddress, setting: str = "--listen or LISTEN_ADDR") -> list[socket.socket]:
    """Bind and listen on every address the host stands for.

    Port 0 becomes one free port, the same for all. All interfaces means IPv4 and, where there is any, IPv6.

    Args:
        setting: what chooses another address.

    Raises:
        CommandError: with the operating system's message, such as `Address already in use (os error 98)`.
    """
    try:
        if not address.host:
            return [_listen_on_all(address.port)]
        return _listen_on_each(address)
    except OSError as error:
        raise _refused(error, address, setting) from error


def _refused(error: OSError, address: ListenAddress, setting: str) -> CommandError:
    hint = ""
    if error.errno == errno.EADDRINUSE:
        hint = f"; another program listens there, choose another address with {setting}"
    return CommandError(f"{os_error_text(error)}: cannot listen on {address}{hint}")


def open_shares(
    address: ListenAddress, number: int, setting: str = "--listen or LISTEN_ADDR"
) -> tuple[list[list[socket.socket]], ExitStack]:
    """Bind the same addresses for each of several processes, without listening yet.

    Each has sockets of its own, among which the kernel spreads connections. Another server of the same user
    could join them unnoticed: so the addresses are tried for oneself first, and a name of the abstract
    namespace, which belongs to the network as ports do, says that they are taken.

    Returns:
        The sockets of each process; and what keeps others away until it is closed.

    Raises:
        CommandError: as `open_listeners`.
    """
    alone = open_listeners(address, setting)
    try:
        with ExitStack() as claims:
            places = [_Place.of(one) for one in alone]
            for place in places:
                place.claim(claims)
            for one in alone:
                one.close()
            shares = [[place.share(claims) for place in places] for _ in range(number)]
            return shares, claims.pop_all()
    except OSError as error:
        raise _refused(error, address, setting) from error
    finally:
        for one in alone:
            one.close()


class _Place(NamedTuple):
    """Where a socket is bound."""

    family: int
    name: tuple[str, int]
    """With two more parts for IPv6."""
    v6_only: int

    @classmethod
    def of(cls, bound: socket.socket) -> Self:
        v6 = bound.family == socket.AF_INET6
        v6_only = bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) if v6 else 0
        return cls(bound.family, bound.getsockname(), v6_only)

    def claim(self, claims: ExitStack) -> None:
        """Say to servers that do as this one that the address is taken."""
        if sys.platform == "linux":
            claim = claims.enter_context(socket.socket(socket.AF_UNIX))
            claim.bind(f"\0less-sync/{ListenAddress(*self.name[:2])}")

    def share(self, shares: ExitStack) -> socket.socket:
        """Another socket that is bound there."""
        share = shares.enter_context(socket.socket(self.family))
        if self.family == socket.AF_INET6:
            share.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self.v6_only)
        share.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        share.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        share.bind(self.name)
        return share


def listen(shares: list[socket.socket]) -> list[socket.socket]:
    """Listen at bound sockets.

    Raises:
        CommandError: as `open_listeners`.
    """
    for one in shares:
        try:
            one.listen(BACKLOG)
        except OSError as error:
            raise _refused(error, bound_address(one), "--listen or LISTEN_ADDR") from error
    return shares


def bound_address(listener: socket.socket) -> ListenAddress:
    """Where a socket really listens; a Unix socket at its path, which has no port."""
    if listener.family == socket.AF_UNIX:
        return ListenAddress(listener.getsockname(), 0)
    host, port = listener.getsockname()[:2]
    return ListenAddress(host, port)


def _listen_on_all(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
        )
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)


def _listen_on_each(address: ListenAddress) -> list[socket.socket]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # IPv4 first: it is what a reader of the printed address expects of a name.
    places = sorted({(family, place) for family, _, _, _, place in found})
    port = address.port
    listeners: list[socket.socket] = []
    with ExitStack() as opened:
        for family, place in places:
            try:
                listener = socket.create_server((place[0], port, *place[2:]), family=family, backlog=BACKLOG)
            except OSError as error:
                # A name may stand for an address of a family this machine has no interface for.
                if error.errno != errno.EADDRNOTAVAIL or (place == places[-1][1] and not listeners):
                    raise
                continue
            listeners.append(opened.enter_context(listener))
            port = port or listener.getsockname()[1]
        opened.pop_all()
    return listeners
