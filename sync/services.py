"""What every session and route works with: all of it always exists."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from storage import (
    DekStore,
    EpochStore,
    InvitationStore,
    MemberStore,
    PullStore,
    PushStore,
    RevocationStore,
    SpaceStore,
)
from sync.authenticator import Authenticator
from sync.authority import Authority
from sync.broker import Broker
from sync.limits import Limits
from sync.mailboxes import Mailboxes
from sync.presence import Presence
from sync.rates import RateLimits
from sync.sessions import Sessions


@dataclass(slots=True)
class Services:
    spaces: SpaceStore
    pushes: PushStore
    pulls: PullStore
    members: MemberStore
    epochs: EpochStore
    deks: DekStore
    invitations: InvitationStore
    revocations: RevocationStore
    rates: RateLimits
    authenticator: Authenticator
    limits: Limits = field(default_factory=Limits)
    authority: Authority = field(default_factory=Authority)
    subprotocols: tuple[str, ...] = ("betterbase-rpc-v1", "less-rpc-v1")
    """Accepted WebSocket subprotocols, preferred first."""
    enforce_token_expiry: bool = False
    """Close a session a minute after its token has expired, unless it was refreshed."""
    now: Callable[[], float] = time.time
    """Unix seconds, for what tokens say about time."""
    draining: bool = False
    """True once the server is shutting down: no upgrade is accepted any more."""
    sessions: Sessions = field(init=False)
    broker: Broker = field(init=False)
    presence: Presence = field(init=False)
    mailboxes: Mailboxes = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = Sessions()
        self.broker = Broker(held_frames_max=self.limits.queue_frames)
        self.presence = Presence(self.limits)
        self.mailboxes = Mailboxes(self.limits)
