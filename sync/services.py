"""What every session and route works with: all of it always exists."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from storage import PullStore, PushStore, SpaceStore
from sync.authenticator import Authenticator
from sync.authority import Authority
from sync.broker import Broker
from sync.limits import Limits
from sync.sessions import Sessions


@dataclass(slots=True)
class Services:
    spaces: SpaceStore
    pushes: PushStore
    pulls: PullStore
    authenticator: Authenticator
    broker: Broker = field(default_factory=Broker)
    sessions: Sessions = field(default_factory=Sessions)
    authority: Authority = field(default_factory=Authority)
    limits: Limits = field(default_factory=Limits)
    now: Callable[[], float] = time.time
    """Unix seconds, for what tokens say about time."""
    enforce_token_expiry: bool = False
    """Close a session a minute after its token has expired, unless it was refreshed."""
    subprotocols: tuple[str, ...] = ("betterbase-rpc-v1", "less-rpc-v1")
    """Accepted WebSocket subprotocols, preferred first."""
    draining: bool = False
    """True once the server is shutting down: no upgrade is accepted any more."""
