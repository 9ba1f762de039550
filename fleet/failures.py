"""Failed attempts per client address; in memory, per instance."""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

PER_MINUTE: Final = 10
ADDRESSES_MAX: Final = 10_000
"""That failures are counted of, least recently failed forgotten first."""
_WINDOW_S: Final = 60.0


class Failures:
    """Counts them in windows of a minute that begin with the first. An IPv6 client's are those of its /64."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._by_address: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, address: str | None) -> int:
        """Count one more, and say for how many seconds the address has failed too often; 0: it has not."""
        key = _neighbourhood(address)
        now = self._now()
        began, failed = self._by_address.pop(key, (now, 0))
        if now - began >= _WINDOW_S:
            began, failed = now, 0
        self._by_address[key] = (began, failed + 1)
        if len(self._by_address) > ADDRESSES_MAX:
            self._by_address.popitem(last=False)
        return 0 if failed < PER_MINUTE else max(1, round(began + _WINDOW_S - now))

    def __len__(self) -> int:
        """Addresses that failures are counted of."""
        return len(self._by_address)

    def forgive(self, address: str | None) -> None:
        """Take back one that was counted before it was known to be none."""
        key = _neighbourhood(address)
        began, failed = self._by_address.get(key, (0.0, 0))
        if failed > 1:
            self._by_address[key] = (began, failed - 1)
        else:
            self._by_address.pop(key, None)


def _neighbourhood(address: str | None) -> str:
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return ""
    return parsed.packed[:8].hex() if isinstance(parsed, IPv6Address) else str(parsed)
