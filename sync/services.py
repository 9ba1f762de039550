"""What every session and route works with: all of it always exists."""

from dataclasses import dataclass, field

from storage import PullStore, PushStore, SpaceStore
from sync.authenticator import Authenticator
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
    limits: Limits = field(default_factory=Limits)
    subprotocols: tuple[str, ...] = ("betterbase-rpc-v1", "less-rpc-v1")
    """Accepted WebSocket subprotocols, preferred first."""
    draining: bool = False
    """True once the server is shutting down: no upgrade is accepted any more."""
