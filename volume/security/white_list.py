"""Which addresses may write: single ones, compared as text, and networks (RFC 4632)."""

import ipaddress
from collections.abc import Iterable
from typing import Final

from less_sync.volume.logs import Logger

_log = Logger(__name__)
_KNOWN_MAX: Final = 1024


class WhiteList:
    """An empty list lets everybody through."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._single: Final[set[str]] = set()
        self._networks: Final[list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = []
        self._known: Final[dict[str, bool]] = {}
        self._open = True
        for entry in filter(None, (one.strip() for one in entries)):
            self._open = False
            if "/" not in entry:
                self._single.add(entry)
                continue
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                _log.warning("entry of the white list is no network and is left out", entry=entry)

    def lists(self, ip: str) -> bool:
        """Whether the peer at `ip` (no port, no brackets) is listed. IPv4 within IPv6 is IPv4."""
        if self._open:
            return True
        known = self._known.get(ip)
        if known is None:
            known = self._looked_up(ip.removeprefix("::ffff:") if "." in ip else ip)
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[ip] = known
        return known

    def _looked_up(self, ip: str) -> bool:
        if ip in self._single:
            return True
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return False
        return any(address in network for network in self._networks)
