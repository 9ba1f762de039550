"""Messages left in mailboxes: `invitation.create`, `.list`, `.get`, `.delete`.

See docs/protocol.md 7.9 to 7.12.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from less_sync import storage
from less_sync.auth import parse_uuid
from less_sync.storage import Unavailable
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.forwarding import HomeFault, HomeRefused
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import (
    Empty,
    Invitation,
    InvitationCreateParams,
    InvitationDeleteParams,
    InvitationGetParams,
    InvitationListParams,
    InvitationListResult,
)
from less_sync.sync.protocol.times import time_text
from less_sync.sync.rpc.elsewhere import server_named

_MAILBOX: Final = re.compile("[0-9a-f]{64}").fullmatch
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def create(call: Call, params: InvitationCreateParams, _grant: None) -> Invitation:
    """Leave a message in any mailbox, also at another server, for seven days; whoever listens there is told a
    little later.

    The rate limit comes before validation.
    """
    limits = call.services.limits
    async with call.services.rates.slot(
        "invitation", call.identity, slots_max=limits.invitations_per_window, what="invitations"
    ):
        check_message(params.mailbox_id, params.payload, limits.invitation_payload_bytes)
        server = server_named(call, params.server, "target server is not a trusted federation peer")
        if server is not None:
            return await _forwarded(call, params, server)
        try:
            row = await call.services.invitations.create(params.mailbox_id, params.payload.encode())
        except Unavailable:
            # It may be there: whoever listens looks, and finds it or not.
            call.services.announce.invited(params.mailbox_id)
            raise
        call.services.announce.invited(params.mailbox_id, row.id)
    return _described(row)


def check_message(mailbox: str, payload: str, payload_bytes_max: int) -> None:
    """What a message left in a mailbox must be, whoever brings it.

    Raises:
        RpcError: `bad_request` or `payload_too_large`.
    """
    if not mailbox:
        raise RpcError(ErrorCode.BAD_REQUEST, "missing mailbox_id")
    if not _MAILBOX(mailbox):
        raise RpcError(ErrorCode.BAD_REQUEST, "mailbox_id must be 64-char hex string")
    if not payload:
        raise RpcError(ErrorCode.BAD_REQUEST, "missing payload")
    if len(payload.encode()) > payload_bytes_max:
        raise RpcError(ErrorCode.PAYLOAD_TOO_LARGE, "payload too large")


async def _forwarded(call: Call, params: InvitationCreateParams, server: str) -> Invitation:
    """Leave it at another server, which does not tell under what id."""
    try:
        await call.services.forwarder.invite(
            server, params.mailbox_id, params.payload, person=call.caller.person
        )
    except (HomeFault, HomeRefused):
        raise RpcError(ErrorCode.INTERNAL, "failed to deliver invitation to remote server") from None
    return Invitation(id="forwarded", payload=params.payload, created_at="", expires_at="")


async def list_(call: Call, params: InvitationListParams, _grant: None) -> InvitationListResult:
    """A page of the caller's own mailbox, oldest first; it ends early before it outgrows a frame.

    See docs/protocol.md 3.3.
    """
    after = parse_uuid(params.after) if params.after else None
    if params.after and after is None:
        raise RpcError(ErrorCode.BAD_REQUEST, "invalid invitation cursor")
    limits = call.services.limits
    limit = limits.invitation_list_default if params.limit <= 0 else params.limit
    rows = await call.services.invitations.list(
        call.identity.mailbox,
        limit=min(limit, limits.invitation_list_max),
        after=after,
        bytes_max=limits.invitation_list_bytes,
    )
    return InvitationListResult([_described(row) for row in rows])


async def get(call: Call, params: InvitationGetParams, _grant: None) -> Invitation:
    """One message of the caller's own mailbox."""
    row = await call.services.invitations.get(_id(params.id), call.identity.mailbox)
    if row is None:
        raise RpcError(ErrorCode.NOT_FOUND, "not found")
    return _described(row)


async def delete(call: Call, params: InvitationDeleteParams, _grant: None) -> Empty:
    """Delete one message of the caller's own mailbox, expired or not."""
    # One DELETE: of two that race one finds the row.
    if not await call.services.invitations.delete(_id(params.id), call.identity.mailbox):
        raise RpcError(ErrorCode.NOT_FOUND, "not found")
    return Empty()


def _id(text: str) -> UUID:
    invitation = parse_uuid(text)
    if invitation is None:
        raise RpcError(ErrorCode.BAD_REQUEST, "invalid invitation id")
    return invitation


def _described(row: storage.Invitation) -> Invitation:
    return Invitation(
        id=str(row.id),
        payload=row.payload.decode(errors="replace"),
        created_at=time_text(_microseconds(row.created_at)),
        expires_at=time_text(_microseconds(row.expires_at)),
    )


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
