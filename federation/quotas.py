"""What each peer uses of this server, and how much it may (docs/federation.md 5).

Per process and in memory, by the peer's domain, over all its connections. Gauges (connections, spaces) are
given back; windows (records, bytes, invitations) run out after an hour.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from less_sync.federation.settings import PeerQuotas

WINDOW_S: Final = 3600.0


class Usage(NamedTuple):
    """What a peer uses just now."""

    connections: int = 0
    spaces: int = 0
    records_this_hour: int = 0
    bytes_this_hour: int = 0
    invitations_this_hour: int = 0


@dataclass(slots=True)
class _Window:
    """A count that begins anew at the first use an hour or more after its beginning."""

    since_s: float
    used: int = 0

    def rolled(self, now_s: float) -> int:
        if now_s - self.since_s >= WINDOW_S:
            self.since_s, self.used = now_s, 0
        return self.used


class _Peer:
    __slots__ = ("bytes", "connections", "invitations", "records", "spaces")

    def __init__(self, now_s: float) -> None:
        self.connections = 0
        self.spaces = 0
        self.records = _Window(now_s)
        self.bytes = _Window(now_s)
        self.invitations = _Window(now_s)


class QuotaTracker:
    """All methods run on the event loop and none awaits: a check and what it counts are one step.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, quotas: PeerQuotas, clock: Callable[[], float] = time.monotonic) -> None:
        self._quotas = quotas
        self._clock = clock
        self._peers: dict[str, _Peer] = {}

    def _peer(self, domain: str) -> _Peer:
        peer = self._peers.get(domain)
        if peer is None:
            peer = self._peers[domain] = _Peer(self._clock())
        return peer

    @property
    def connections(self) -> int:
        """Open connections of all peers."""
        return sum(peer.connections for peer in self._peers.values())

    def usage(self, domain: str) -> Usage:
        """What a peer uses; zeros for one never seen, of whom nothing is noted."""
        peer = self._peers.get(domain)
        if peer is None:
            return Usage()
        now_s = self._clock()
        return Usage(
            peer.connections,
            peer.spaces,
            peer.records.rolled(now_s),
            peer.bytes.rolled(now_s),
            peer.invitations.rolled(now_s),
        )

    def take_connection(self, domain: str) -> bool:
        """Count one connection more; False, and nothing counted, when the peer has all it may."""
        peer = self._peer(domain)
        if peer.connections >= self._quotas.connections:
            return False
        peer.connections += 1
        return True

    def give_connection_back(self, domain: str) -> None:
        """A connection has ended."""
        peer = self._peer(domain)
        peer.connections = max(0, peer.connections - 1)

    def take_spaces(self, domain: str, count: int) -> bool:
        """Count subscriptions; False, and none of them counted, when they are too many together."""
        peer = self._peer(domain)
        if count and peer.spaces + count > self._quotas.spaces:
            return False
        peer.spaces += count
        return True

    def give_spaces_back(self, domain: str, count: int) -> None:
        """Subscriptions have ended."""
        peer = self._peer(domain)
        peer.spaces = max(0, peer.spaces - count)

    def take_push(self, domain: str, *, records: int, payload_bytes: int) -> bool:
        """Count a push; False, and neither counted, when records or bytes would be too many."""
        peer, now_s, quotas = self._peer(domain), self._clock(), self._quotas
        if peer.records.rolled(now_s) + records > quotas.records_per_hour:
            return False
        if peer.bytes.rolled(now_s) + payload_bytes > quotas.bytes_per_hour:
            return False
        peer.records.used += records
        peer.bytes.used += payload_bytes
        return True

    def give_push_back(self, domain: str, *, records: int, payload_bytes: int) -> None:
        """A push that was counted turned out not to be allowed."""
        peer, now_s = self._peer(domain), self._clock()
        peer.records.used = max(0, peer.records.rolled(now_s) - records)
        peer.bytes.used = max(0, peer.bytes.rolled(now_s) - payload_bytes)

    def take_invitation(self, domain: str) -> bool:
        """Count an invitation; False, and not counted, when it is one too many."""
        peer = self._peer(domain)
        if peer.invitations.rolled(self._clock()) >= self._quotas.invitations_per_hour:
            return False
        peer.invitations.used += 1
        return True
