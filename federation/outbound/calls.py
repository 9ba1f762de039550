"""What the rest of this room asks of a link to a peer, and the ways in which that fails."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from less_sync.sync.protocol.frames import Chunk, Notification


class Repeat(Enum):
    """Whether a request is sent a second time, under the same id, when its connection ended."""

    IF_UNWRITTEN = auto()
    """Only one that was never written: a second one may do it twice."""
    ONCE = auto()
    """Also one that was written, after everything wanted was subscribed to again."""


class PeerFault(Exception):
    """The peer has not answered. Whether it did what was asked is unknown, unless `PeerUnreachable`."""


class PeerUnreachable(PeerFault):
    """Nothing was sent: there is no connection, or too much waits already."""


class PeerSilent(PeerFault):
    """No answer within the deadline."""


class PeerLost(PeerFault):
    """The connection ended behind the request, and it was not, or must not be, repeated."""


class PullBroken(PeerFault):
    """Chunks had come already when the rest failed, or the peer sent what no pull looks like."""


class PeerRefused(Exception):
    """The peer answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class LinkState(Enum):
    """Where a link stands."""

    IDLE = "idle"  # nobody wants it
    CONNECTING = "connecting"
    OPEN = "open"
    BACKOFF = "backoff"  # waits before the next attempt
    CLOSED = "closed"  # the server stops


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A peer: who it is, and where it is dialled."""

    host: str
    """Its identity: lower case, without port or brackets."""
    url: str
    """`ws` or `wss`, as it is dialled and, with the scheme exchanged, signed."""
    trusted_by: str = ""
    """The entry of the trusted domains that let it in; "" when there is no list."""


class PeerCalls(Protocol):
    """A link, as far as whoever calls over it is concerned. Params are CBOR, encoded already."""

    @property
    def state(self) -> LinkState: ...

    async def call(self, method: str, params: bytes, *, person: str, repeat: Repeat = Repeat.ONCE) -> object:
        """Send one request and return its result, decoded and not looked at.

        Calls of one person are written in the order in which this is called, also when they wait for a
        connection; people take turns.

        Args:
            person: on whose behalf, as `Caller.person`; "" for the server itself, which takes no turns.

        Raises:
            PeerRefused, PeerUnreachable, PeerSilent, PeerLost.
        """

    def pull(self, params: bytes, *, person: str) -> AsyncGenerator[Chunk, None]:
        """Send one `pull` and yield its chunks; that as many came as the peer says is checked at the end.

        Raises:
            PeerRefused, PeerUnreachable, PeerSilent, PeerLost: before the first chunk.
            PullBroken: after it.
        """

    def notify(self, method: str, params: bytes) -> None:
        """Send a notification if the link is open; dropped otherwise."""

    def wake(self) -> None:
        """Something is wanted of the peer, or nothing any more: connect, or begin to idle."""

    async def aclose(self) -> None:
        """Close with 1001; whoever waits is told, and nothing is dialled any more."""


RestoreCall = Callable[[str, bytes], Awaitable[object]]
"""Sends one request over a connection that is new, ahead of whatever waits for it: as `PeerCalls.call`."""


class LinkOwner(Protocol):
    """Who made a link, as the link sees it."""

    @property
    def wanted(self) -> bool:
        """Whether anything is subscribed to: then the link keeps itself connected."""

    async def restore(self, call: RestoreCall) -> None:
        """Subscribe again to what is wanted. Run for each new connection before any other call is written.

        Raises:
            PeerFault: the connection ended meanwhile, or the peer is silent.
        """

    def heard(self, notification: Notification) -> None:
        """Take one notification of the peer. Called in order of arrival; must not block or raise."""

    def changed(self, state: LinkState) -> None:
        """The link stands elsewhere now. Must not block or raise."""


MakeLink = Callable[[PeerAddress, LinkOwner], PeerCalls]
