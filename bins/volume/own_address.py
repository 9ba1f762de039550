"""The address that a server tells others when it is told none."""

import socket
import struct
import sys
from typing import Final

_INTERFACE_ADDRESS: Final = 0x8915
_INTERFACE_FLAGS: Final = 0x8913
_UP: Final = 1
_LOOPBACK: Final = 8
_SOMEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation (RFC 5737, RFC 3849): nothing is ever sent to them."""


def own_address() -> str:
    """The first IPv4 address of an interface that is up and no loopback, else IPv6, else `localhost`."""
    return _of_interfaces() or _of_routes() or "localhost"


def _of_interfaces() -> str:
    if sys.platform != "linux":
        return ""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            request = struct.pack("16s240x", name.encode()[:15])
            try:
                flags = struct.unpack("16xH", fcntl.ioctl(asked, _INTERFACE_FLAGS, request)[:18])[0]
                if flags & _UP and not flags & _LOOPBACK:
                    return socket.inet_ntoa(fcntl.ioctl(asked, _INTERFACE_ADDRESS, request)[20:24])
            except OSError:  # an interface without an IPv4 address
                continue
    return ""


def _of_routes() -> str:
    """The address that a packet would leave from."""
    for family, address in _SOMEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asked:
                asked.connect((address, 9))
                own = asked.getsockname()[0]
        except OSError:
            continue
        if own not in ("127.0.0.1", "::1"):
            return str(own)
    return ""
