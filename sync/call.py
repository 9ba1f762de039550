"""One request as its handler sees it, and the ways it can end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from less_sync.auth import Identity
from less_sync.storage import DekKind
from less_sync.sync.services import Services
from less_sync.sync.session.outbound import Outbound


class Caller(Protocol):
    """The session behind a call, as far as handlers may touch it."""

    identity: Identity

    def adopt(self, identity: Identity) -> None:
        """Replace the whole identity (protocol 9.4)."""

    def subscriptions_changed(self) -> None:
        """Look anew at when the first subscription's tokens expire."""

    def may_send(self) -> bool:
        """Count one presence update or event; False when it is one too many (protocol G22)."""

    def note_read(self, kind: DekKind, space: UUID, cursor: int) -> None:
        """Remember up to which cursor this session has read a space's DEKs (protocol G32)."""

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

    async def send(self, parts: Sequence[bytes]) -> None:
        """Send complete WebSocket frames, given in pieces, and wait while the peer reads slowly.

        Ends with the session: the write deadline aborts a peer that does not read, which cancels the call.
        """
        self.outbound.send(b"".join(parts))
        if not self.outbound.ready:
            await self.outbound.drained()


def connection_key(identity: Identity) -> str:
    """What connections are counted under: the mailbox, or the user where the token names none (G24)."""
    if identity.mailbox_id:
        return identity.mailbox_id
    return f"{identity.client_id}\x00{identity.issuer}\x00{identity.user_id}"
