"""What every session and route works with: all of it always exists."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from less_sync.storage import (
    DekStore,
    EpochStore,
    InvitationStore,
    MemberStore,
    PullStore,
    PushStore,
    RevocationStore,
    SpaceStore,
)
from less_sync.sync.access.authority import Authority
from less_sync.sync.access.hourly_limits import RateLimits
from less_sync.sync.access.sign_in import Authenticator
from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Broker
from less_sync.sync.live.mailboxes import Mailboxes
from less_sync.sync.live.presence import Presence
from less_sync.sync.session.open_sessions import Sessions


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
