"""The connections that other servers open: sessions like those of clients, with a conduct of their own."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from less_sync.auth import Identity
from less_sync.federation.inbound.peers import CONNECTION_TIMEOUT, Inbound, PeerPlaces
from less_sync.federation.inbound.registry import peer_table
from less_sync.sync.metrics import PEER
from less_sync.sync.services import Services
from less_sync.sync.session.conduct import Conduct
from less_sync.sync.session.patient import PatientOutbound
from less_sync.sync.session.session import Session, SessionWire

QUEUE_FRAMES: Final = 1024
QUEUE_BYTES: Final = 8 * 1024 * 1024
"""Notifications that are kept for a peer that does not read: it speaks for many clients."""
PULLS_AT_ONCE: Final = 4


def peer_conduct(services: Services, inbound: Inbound) -> Conduct:
    """How peers are treated. To be made once: it counts what they use."""
    limits = replace(
        services.limits,
        queue_frames=QUEUE_FRAMES,
        queue_bytes=QUEUE_BYTES,
        # Existing servers answer no ping while no call of theirs is under way.
        silence_timeout_s=math.inf,
    )
    return Conduct(
        peer_table(services, inbound),
        PeerPlaces(inbound.quotas, services.broker, silence_s=services.limits.silence_timeout_s),
        limits,
        outbound=PatientOutbound,
        reads_mailbox=False,
        end_of_life=CONNECTION_TIMEOUT,
        kind=PEER,
        long_answers_at_once=PULLS_AT_ONCE,
    )


def peer_sessions(services: Services, inbound: Inbound) -> Callable[[SessionWire, Identity], Session]:
    """What makes the session of a connection, just upgraded, whose peer is known."""
    conduct = peer_conduct(services, inbound)
    inbound.quotas.measure(services.metrics)
    services.metrics.measure("peer_pulled_bytes", lambda: dict(inbound.pulled_bytes))
    return lambda wire, identity: Session(services, wire, conduct, identity=identity)
