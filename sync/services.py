"""What every session and route works with: all of it always exists, and all of it is handed in."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

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
from less_sync.sync.access.looks import Looks
from less_sync.sync.access.sign_in import Authenticator
from less_sync.sync.announce import Announcer
from less_sync.sync.files.space_files import SpaceFiles
from less_sync.sync.forwarding import Alone, Forwarder, ForwardRoom
from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Broker
from less_sync.sync.live.mailboxes import Mailboxes
from less_sync.sync.live.presence import Presence
from less_sync.sync.metrics import Recorder
from less_sync.sync.protocol.codes import SUBPROTOCOLS
from less_sync.sync.protocol.frames import FrameBounds
from less_sync.sync.session.large_frames import LargeFrames
from less_sync.sync.session.open_sessions import Doors, Sessions
from less_sync.sync.turns import Turns

if TYPE_CHECKING:
    from less_sync.sync.live.elsewhere import PresenceElsewhere
    from less_sync.sync.live.nodes import Nodes


def _random_id() -> str:
    return str(uuid4())


@dataclass(slots=True)
class Services:
    """One per process."""

    spaces: SpaceStore
    pushes: PushStore
    pulls: PullStore
    members: MemberStore
    epochs: EpochStore
    deks: DekStore
    invitations: InvitationStore
    revocations: RevocationStore
    rates: RateLimits
    turns: Turns
    authenticator: Authenticator
    sessions: Sessions
    broker: Broker
    presence: Presence
    mailboxes: Mailboxes
    announce: Announcer
    limits: Limits = field(default_factory=Limits)
    authority: Authority = field(default_factory=Authority)
    metrics: Recorder = field(default_factory=Recorder)
    forwarder: Forwarder = field(default_factory=Alone)
    """Other servers, for spaces whose home they are; set by `federate`."""
    forwards: ForwardRoom = field(default_factory=ForwardRoom)
    """Pushes on their way to them."""
    nodes: "Nodes | None" = None
    """Other processes on the same database; None: there is no bus, and this one knows of none."""
    elsewhere: "PresenceElsewhere | None" = None
    """Who is present at other nodes, if there are any."""
    files: SpaceFiles | None = None
    """None: no file storage is configured, and there is no route for files."""
    subprotocols: tuple[str, ...] = SUBPROTOCOLS
    """Accepted WebSocket subprotocols, preferred first."""
    enforce_token_expiry: bool = False
    """Close a session a minute after its token has expired, unless it was refreshed."""
    node_name: str | None = None
    """What the operator calls this server among those on one database, `NODE_NAME`; told at `/health`."""
    now: Callable[[], float] = time.time
    """Unix seconds, for what tokens say about time."""
    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds, for how long something took."""
    chance: random.Random = field(default_factory=random.Random)
    """Spreads what should not happen everywhere at once. Nothing secret comes from it."""
    new_id: Callable[[], str] = _random_id
    """Names a connection to the presence registry."""
    frame_bounds: FrameBounds = field(init=False)
    """What an inbound frame may have: the limits in the decoder's terms."""
    looks: Looks = field(init=False)
    """What was read a moment ago about spaces of other servers."""
    large_frames: LargeFrames = field(init=False)
    """Whose turn it is to have one decoded."""

    def __post_init__(self) -> None:
        self.frame_bounds = self.limits.frame_bounds
        self.large_frames = LargeFrames(lambda: self.clock())
        self.looks = Looks(lambda: self.clock())
        if self.nodes is not None:
            self._share_presence(self.nodes)

    @property
    def draining(self) -> bool:
        """True while the server drains or shuts down: no upgrade is accepted."""
        return self.sessions.doors is not Doors.OPEN

    def _share_presence(self, nodes: "Nodes") -> None:
        # Loaded where there are other nodes alone.
        from less_sync.sync.live.elsewhere import PresenceElsewhere

        self.elsewhere = self.announce.elsewhere = nodes.people = PresenceElsewhere(
            nodes.node,
            publish=nodes.publish,
            tell=self.announce.publish,
            presence=self.presence,
            limits=self.limits,
            clock=lambda: self.clock(),
        )

    def federate(self, forwarder: Forwarder) -> None:
        """Use spaces of other servers through this one."""
        self.forwarder = forwarder
        self.announce.forwarder = forwarder
