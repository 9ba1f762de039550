"""`fed.invitation`: a peer leaves a message of one of its users in a mailbox here."""

from less_sync.federation.inbound.peers import Inbound, domain_of
from less_sync.storage import StorageError, Unavailable
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import Params, Result
from less_sync.sync.rpc.dispatch import log_storage_fault
from less_sync.sync.rpc.invitations import check_message


class FedInvitationParams(Params, frozen=True):
    """Who sends it is not told."""

    mailbox_id: str
    payload: str


class FedInvitationResult(Result, frozen=True):
    ok: bool


async def invite(
    inbound: Inbound, call: Call, params: FedInvitationParams, _allowed: None
) -> FedInvitationResult:
    """Leave the message for seven days; whoever listens there is told a little later.

    It is counted once it is known to be one, and stays counted whatever becomes of it.

    Raises:
        RpcError: `bad_request`, `payload_too_large`, `rate_limited` or `internal`.
    """
    services = call.services
    check_message(params.mailbox_id, params.payload, services.limits.invitation_payload_bytes)
    if not inbound.quotas.take_invitation(domain_of(call.identity)):
        raise RpcError(ErrorCode.RATE_LIMITED, "invitation quota exceeded")
    try:
        row = await services.invitations.create(params.mailbox_id, params.payload.encode())
    except StorageError as error:
        if isinstance(error, Unavailable):
            # It may be there: whoever listens looks, and finds it or not.
            services.announce.invited(params.mailbox_id)
        log_storage_fault("fed.invitation", error)
        raise RpcError(ErrorCode.INTERNAL, "internal error") from error
    services.announce.invited(params.mailbox_id, row.id)
    return FedInvitationResult(ok=True)
