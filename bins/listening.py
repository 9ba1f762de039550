"""The sockets the server listens on."""

import errno
import socket
from contextlib import ExitStack

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
        hint = ""
        if error.errno == errno.EADDRINUSE:
            hint = f"; another program listens there, choose another address with {setting}"
        raise CommandError(f"{os_error_text(error)}: cannot listen on {address}{hint}") from error


def bound_address(listener: socket.socket) -> ListenAddress:
    """Where a socket really listens."""
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
