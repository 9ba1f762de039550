"""One request as its handler sees it, and the ways it can end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from less_sync.auth import Identity
from less_sync.storage import DekKind
from less_sync.sync.services import Services
from less_sync.sync.session.outbound import Outbound


class Caller(Protocol):
    """The session behind a call, as far as handlers may touch it."""

    identity: Identity

    @property
    def person(self) -> str:
        """Who this is, as far as turns and bounds are concerned: the same for all connections of a person."""

    def adopt(self, identity: Identity) -> None:
        """Replace the whole identity (docs/protocol.md 7.1)."""

    def subscriptions_changed(self) -> None:
        """Look anew at when the first subscription's tokens expire."""

    def tell_presence(self, spaces: Iterable[UUID]) -> None:
        """Send who is present in these spaces as notifications, once the answer of this request is sent."""

    def may_send(self) -> bool:
        """Count one presence update or event; False when it is one too many (docs/protocol.md 8.1)."""

    def warn_once(self, space: UUID) -> bool:
        """True the first time for this space: what a client can bring about must not fill the log."""

    def note_read(self, kind: DekKind, space: UUID, cursor: int) -> None:
        """Remember up to which cursor this session has read a space's DEKs (docs/protocol.md 7.16)."""

    def read_up_to(self, kind: DekKind, space: UUID) -> int | None:
        """The cursor of the last `note_read`; None when there was none."""


@dataclass(slots=True)
class Call:
    """One request: who asks, under which id, and what the handler may use.

    `identity` is the one the request arrived under, even if the session adopts another meanwhile.
    """

    services: Services
    caller: Caller
    identity: Identity
    outbound: Outbound
    request_id: str
    raw: object = field(default=None, init=False)
    """Params as they came, of a request that may go on to another server, while its handler is first called:
    raw ones are not kept.
    """

    async def send(self, parts: Sequence[bytes]) -> None:
        """Send complete frames, given in pieces, and wait while the peer reads slowly.

        Ends with the session: the write deadline aborts a peer that does not read, which cancels the call.
        """
        self.outbound.send_raw(b"".join(parts))
        if not self.outbound.ready:
            await self.outbound.drained()
