"""What all connections that other servers open have in common, and the places they take."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from less_sync.auth import FST_LIFE_S_MAX, FstKeys, Identity, derive_fst_key, peer_identity
from less_sync.federation.quotas import QuotaTracker
from less_sync.federation.settings import FederationSettings, NoticesFrom
from less_sync.sync.live.broker import Broker, Subscriber
from less_sync.sync.protocol.codes import Close, CloseCode
from less_sync.sync.session.outbound import Outbound

CONNECTION_TIMEOUT: Final = Close(CloseCode.TOKEN_EXPIRED, "connection timeout")
"""The end of a connection's life, in the words of the existing servers."""
TOO_MANY_CONNECTIONS: Final = Close(CloseCode.TOO_MANY_CONNECTIONS, "too many federation connections")

_PERSON: Final = peer_identity("").mailbox


def domain_of(identity: Identity) -> str:
    """The peer whose connection this is, as quotas count it and its tokens are bound to it."""
    return identity.mailbox.removeprefix(_PERSON)


@dataclass(slots=True)
class Inbound:
    """What the sessions of peers work with beside `Services`. One per process."""

    quotas: QuotaTracker
    fst_keys: FstKeys | None = None
    """None: no tokens are made, and none is accepted."""
    fst_life_s_max: int = FST_LIFE_S_MAX
    notices_from: NoticesFrom = NoticesFrom.HOME
    random_bytes: Callable[[int], bytes] = field(default=os.urandom, repr=False)
    pulled_bytes: Counter[str] = field(default_factory=Counter)
    """What each peer was sent in chunks since the start."""

    @classmethod
    def of(cls, settings: FederationSettings, quotas: QuotaTracker) -> "Inbound":
        """As an operator has decided."""
        return cls(
            quotas,
            fst_keys=_fst_keys(settings),
            fst_life_s_max=settings.fst_life_s_max,
            notices_from=settings.notices_from,
        )


def _fst_keys(settings: FederationSettings) -> FstKeys | None:
    if settings.fst_secret is None:
        return None
    previous = settings.fst_previous_secret
    return FstKeys(
        derive_fst_key(settings.fst_secret), None if previous is None else derive_fst_key(previous)
    )


class PeerPlaces:
    """Connections and subscriptions, counted by peer: each is given back once, however it ends.

    A connection that was lost without a word looks like one of an existing server, which reads nothing while
    it waits for nothing. So a peer that has all it may and comes anew gives up what has been silent longest:
    else a network lost twice would keep it out until TCP gives up, a quarter of an hour later.

    Args:
        broker: tells of every subscription that has ended.
        silence_s: from when on a connection may be given up for a new one of the same peer.
    """

    def __init__(self, quotas: QuotaTracker, broker: Broker, *, silence_s: float) -> None:
        self._quotas = quotas
        self._silence_s = silence_s
        self._domains: dict[Outbound, str] = {}
        """Whose connection it is, of those that hold a place or held one."""
        self._given_up: dict[Subscriber, None] = {}
        """Those whose place another one has already, and that are just being closed."""
        broker.watch(self._left)

    def take(self, person: str, out: Outbound) -> Close | None:
        """Count one connection more, or say how it is refused."""
        domain = person.removeprefix(_PERSON)
        if not self._quotas.take_connection(domain) and not self._give_one_up(domain):
            return TOO_MANY_CONNECTIONS
        self._domains[out] = domain
        return None

    def give_back(self, person: str, out: Outbound) -> None:
        """Count one connection less, unless another one has its place."""
        domain = self._domains.pop(out)
        if out in self._given_up:
            del self._given_up[out]
        else:
            self._quotas.give_connection_back(domain)

    def _give_one_up(self, domain: str) -> bool:
        """Close what has been silent longest of a peer, if for long enough: its place may be taken."""
        own = [out for out, peer in self._domains.items() if peer == domain and out not in self._given_up]
        longest = max(own, key=lambda out: out.silent_s, default=None)
        if longest is None or longest.silent_s < self._silence_s:
            return False
        self._given_up[longest] = None
        longest.end(TOO_MANY_CONNECTIONS)
        return True

    def _left(self, subscriber: Subscriber, space: object) -> None:
        domain = self._domains.get(cast("Outbound", subscriber))  # others are not among them
        if domain is not None:
            self._quotas.give_spaces_back(domain, 1)
