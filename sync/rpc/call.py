"""One request as its handler sees it, and the ways it can end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from auth import Identity
from sync.outbound import Outbound
from sync.protocol.codes import ErrorCode
from sync.services import Services


class RpcError(Exception):
    """Ends a request with an error response: `{code, message}`."""

    def __init__(self, code: ErrorCode, message: str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = code.value if message is None else message


class Caller(Protocol):
    """The session behind a call, as far as handlers may touch it."""

    identity: Identity

    def adopt(self, identity: Identity) -> None:
        """Replace the whole identity (protocol 9.4)."""

    def subscriptions_changed(self) -> None:
        """Look anew at when the first subscription's tokens expire."""


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
