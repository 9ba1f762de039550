"""All that the simulation takes from federation and what it stands on: beside `tests.simulation.system`."""

from less_sync.auth import FstKeys, derive_fst_key, parse_federation_trust
from less_sync.federation.gate import PeerGate
from less_sync.federation.inbound.peers import Inbound
from less_sync.federation.inbound.sessions import peer_sessions
from less_sync.federation.outbound.addresses import Addresses
from less_sync.federation.outbound.calls import LinkOwner, LinkState, PeerAddress, PeerCalls, RestoreCall
from less_sync.federation.outbound.dial import Dialler
from less_sync.federation.outbound.forwarder import PeerForwarder
from less_sync.federation.outbound.home import UNAVAILABLE, Home
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.federation.outbound.link import PeerLink, request_ids
from less_sync.federation.quotas import QuotaTracker, Usage
from less_sync.federation.settings import FederationSettings, PeerQuotas
from less_sync.federation.signing import Signing
from less_sync.sync.forwarding import HomeFault
from less_sync.sync.http.gate import Answer
from less_sync.sync.http.headers import last_answer
from less_sync.sync.http.socket import GuardedRoute
from less_sync.sync.http.upgrade import Refusal, refusal
from less_sync.sync.live.broker import NO_CURSOR
from less_sync.sync.protocol.frames import encode_chunk, encode_notification, encode_response
from less_sync.sync.protocol.messages import PushResult

__all__ = [
    "NO_CURSOR",
    "UNAVAILABLE",
    "Addresses",
    "Answer",
    "Dialler",
    "FederationSettings",
    "FstKeys",
    "GuardedRoute",
    "Home",
    "HomeFault",
    "Inbound",
    "LinkLimits",
    "LinkOwner",
    "LinkState",
    "PeerAddress",
    "PeerCalls",
    "PeerForwarder",
    "PeerGate",
    "PeerLink",
    "PeerQuotas",
    "PushResult",
    "QuotaTracker",
    "Refusal",
    "RestoreCall",
    "Signing",
    "Usage",
    "derive_fst_key",
    "encode_chunk",
    "encode_notification",
    "encode_response",
    "last_answer",
    "parse_federation_trust",
    "peer_sessions",
    "refusal",
    "request_ids",
]
