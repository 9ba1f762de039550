"""Who called, from what grpcio says of the other end."""

import ipaddress
from urllib.parse import unquote


def peer_ip(peer: str) -> str | None:
    """The address in `ipv4:127.0.0.1:54321` or `ipv6:%5B::1%5D:54321`, without brackets, zone and port.

    An address of IPv4 within IPv6 is IPv4. None when there is no address, as for a socket in the file system.
    """
    scheme, _, rest = unquote(peer).partition(":")
    if scheme not in {"ipv4", "ipv6"}:
        return None
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
