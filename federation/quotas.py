"""What each peer uses of this server, and how much it may (docs/federation.md 5).

Per process and in memory, by the peer's domain, over all its connections. Gauges (connections, spaces) are
given back; windows (records, bytes, invitations) run out after an hour. Of a peer that uses nothing, nothing
is kept: servers may be many where their keys are fetched.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from less_sync.federation.settings import PeerQuotas
from less_sync.sync.metrics import Recorder

WINDOW_S: Final = 3600.0


class Quota(StrEnum):
    """What can be used up."""

    CONNECTIONS = "connections"
    SPACES = "spaces"
    PUSH = "push"  # records and bytes, which are taken together
    INVITATIONS = "invitations"


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

    def give_back(self, count: int, *, taken_since_s: float, now_s: float) -> None:
        """Undo what was counted in the window that began then, if that window still runs."""
        self.rolled(now_s)
        if self.since_s == taken_since_s:
            self.used -= count


@dataclass(slots=True)
class _Peer:
    records: _Window
    bytes: _Window
    invitations: _Window
    connections: int = 0
    spaces: int = 0

    def is_idle(self, now_s: float) -> bool:
        """Whether a new entry would say the same."""
        windows = (self.records, self.bytes, self.invitations)
        return not (self.connections or self.spaces or any(window.rolled(now_s) for window in windows))


class PushCharge(NamedTuple):
    """One push that was counted."""

    domain: str
    records: int
    payload_bytes: int
    records_since_s: float
    bytes_since_s: float


class QuotaTracker:
    """All methods run on the event loop and none awaits: a check and what it counts are one step.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, quotas: PeerQuotas, clock: Callable[[], float] = time.monotonic) -> None:
        self._quotas = quotas
        self._clock = clock
        self._peers: dict[str, _Peer] = {}
        self.refused: Counter[Quota] = Counter()
        """How often each quota was used up when something was asked for, since the start."""

    def __len__(self) -> int:
        """Of how many peers something is kept."""
        return len(self._peers)

    def _peer(self, domain: str) -> _Peer:
        peer = self._peers.get(domain)
        if peer is None:
            now_s = self._clock()
            # Those whose hour has run out meanwhile have had no occasion to be forgotten.
            for idle in [name for name, one in self._peers.items() if one.is_idle(now_s)]:
                del self._peers[idle]
            peer = self._peers[domain] = _Peer(_Window(now_s), _Window(now_s), _Window(now_s))
        return peer

    def _forget_if_idle(self, domain: str) -> None:
        peer = self._peers.get(domain)
        if peer is not None and peer.is_idle(self._clock()):
            del self._peers[domain]

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

    def usages(self) -> dict[str, Usage]:
        """What every peer uses of which something is kept."""
        return {domain: self.usage(domain) for domain in self._peers}

    def take_connection(self, domain: str) -> bool:
        """Count one connection more; False, and nothing counted, when the peer has all it may."""
        peer = self._peer(domain)
        if peer.connections >= self._quotas.connections:
            return self._refuse(Quota.CONNECTIONS)
        peer.connections += 1
        return True

    def give_connection_back(self, domain: str) -> None:
        """A connection has ended."""
        peer = self._peer(domain)
        peer.connections = max(0, peer.connections - 1)
        self._forget_if_idle(domain)

    def take_spaces(self, domain: str, count: int) -> bool:
        """Count subscriptions; False, and none of them counted, when they are too many together."""
        if not count:
            return True
        peer = self._peer(domain)
        if peer.spaces + count > self._quotas.spaces:
            return self._refuse(Quota.SPACES)
        peer.spaces += count
        return True

    def give_spaces_back(self, domain: str, count: int) -> None:
        """Subscriptions have ended."""
        peer = self._peer(domain)
        peer.spaces = max(0, peer.spaces - count)
        self._forget_if_idle(domain)

    def take_push(self, domain: str, *, records: int, payload_bytes: int) -> PushCharge | None:
        """Count a push; None, and neither counted, when records or bytes would be too many."""
        peer, now_s, quotas = self._peer(domain), self._clock(), self._quotas
        if (
            peer.records.rolled(now_s) + records > quotas.records_per_hour
            or peer.bytes.rolled(now_s) + payload_bytes > quotas.bytes_per_hour
        ):
            self._refuse(Quota.PUSH)
            return None
        peer.records.used += records
        peer.bytes.used += payload_bytes
        return PushCharge(domain, records, payload_bytes, peer.records.since_s, peer.bytes.since_s)

    def give_push_back(self, charge: PushCharge) -> None:
        """A push that was counted was not allowed. Once its hour is over nothing is due."""
        peer, now_s = self._peers.get(charge.domain), self._clock()
        if peer is None:
            return
        peer.records.give_back(charge.records, taken_since_s=charge.records_since_s, now_s=now_s)
        peer.bytes.give_back(charge.payload_bytes, taken_since_s=charge.bytes_since_s, now_s=now_s)
        self._forget_if_idle(charge.domain)

    def take_invitation(self, domain: str) -> bool:
        """Count an invitation; False, and not counted, when it is one too many."""
        peer = self._peer(domain)
        if peer.invitations.rolled(self._clock()) >= self._quotas.invitations_per_hour:
            return self._refuse(Quota.INVITATIONS)
        peer.invitations.used += 1
        return True

    def _refuse(self, quota: Quota) -> bool:
        self.refused[quota] += 1
        return False

    def measure(self, recorder: Recorder) -> None:
        """Let whoever listens to `recorder` ask what peers use and how often they were refused."""

        def used(field: str) -> Callable[[], Mapping[str, int]]:
            return lambda: {domain: getattr(usage, field) for domain, usage in self.usages().items()}

        for field in Usage._fields:
            recorder.measure(f"peer_{field}", used(field))
        recorder.measure("peer_refusals", lambda: {str(quota): self.refused[quota] for quota in Quota})
