"""`pull` of a peer: as a client's, by a user's UCAN, several at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from less_sync.federation.inbound.peers import Inbound, domain_of
from less_sync.sync.access.grants import Access
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import ChunkedResult, PullParams
from less_sync.sync.rpc import pulls


@dataclass(slots=True)
class _MeteredCall(Call):
    """A call whose chunks are counted."""

    inbound: Inbound

    async def send(self, parts: Sequence[bytes]) -> None:
        """Send complete frames, given in pieces, and wait while the peer reads slowly."""
        self.inbound.pulled_bytes[domain_of(self.identity)] += sum(map(len, parts))
        await Call.send(self, parts)


async def pull(inbound: Inbound, call: Call, params: PullParams, accesses: list[Access]) -> ChunkedResult:
    """Serve the spaces one after another; one that may not be read is left out.

    Raises:
        RpcError: `internal`, `pull failed`: the peer must not take what it has for the whole.
    """
    metered = _MeteredCall(call.services, call.caller, call.identity, call.outbound, call.request_id, inbound)
    try:
        return await pulls.pull(metered, params, accesses)
    except RpcError as error:
        if error.code is ErrorCode.INTERNAL:
            raise RpcError(ErrorCode.INTERNAL, "pull failed") from error
        raise
