"""The membership log of a space, and revoking UCANs: `membership.append`, `.list`, `.revoke`."""

import hashlib
from typing import Final

import structlog

from less_sync.storage import AppendStatus, MemberLog, RevokeStatus
from less_sync.sync.access.rules import Access
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import ws_frame
from less_sync.sync.protocol.messages import (
    Empty,
    MemberEntry,
    MembershipAppendParams,
    MembershipAppendResult,
    MembershipListParams,
    MembershipListResult,
    MembershipRevokeParams,
)
from less_sync.sync.protocol.notifications import membership_notification, revoked_notification
from less_sync.sync.rpc.presence import end_subscriptions

warn = structlog.get_logger(__name__)

CID_BYTES_MAX: Final = 256
_HASH_BYTES: Final = 32

_NOT_APPENDED: Final = {
    AppendStatus.VERSION_CONFLICT: RpcError(ErrorCode.CONFLICT),
    AppendStatus.CHAIN_BROKEN: RpcError(ErrorCode.CONFLICT),
    AppendStatus.NO_SPACE: RpcError(ErrorCode.NOT_FOUND, "space not found"),
    AppendStatus.REVOKED: RpcError(ErrorCode.FORBIDDEN),
    AppendStatus.NOT_PERSONAL: RpcError(ErrorCode.FORBIDDEN),
    AppendStatus.REMOTE_HOME: RpcError(ErrorCode.INTERNAL),
}
_NOT_REVOKED: Final = {
    RevokeStatus.NO_SPACE: RpcError(ErrorCode.FORBIDDEN),
    RevokeStatus.REVOKED: RpcError(ErrorCode.FORBIDDEN),
    RevokeStatus.NOT_PERSONAL: RpcError(ErrorCode.FORBIDDEN),
    RevokeStatus.REMOTE_HOME: RpcError(ErrorCode.INTERNAL),
}


async def append(call: Call, params: MembershipAppendParams, access: Access) -> MembershipAppendResult:
    """Append one entry to the log and announce it (protocol 9.6).

    The rate limit comes before the hashes, and these before authorisation.
    """
    access.check_id()
    limits = call.services.limits
    async with call.services.rates.slot(
        "membership_append",
        call.identity,
        max=limits.membership_appends_per_window,
        what="membership appends",
    ):
        _check_entry(params)
        grant = await access.write()
        # `lsync_append_member_v1` checks and writes under the lock of the space's row: of two that race for
        # one place in the log one wins.
        outcome = await call.services.members.append(
            grant.space,
            expected_version=params.expected_version,
            prev_hash=params.prev_hash,
            entry_hash=params.entry_hash,
            payload=params.payload,
            caller=grant.caller,
        )
        if outcome.status is not AppendStatus.APPENDED:
            raise _again(_NOT_APPENDED[outcome.status])
    entry = MemberEntry(
        chain_seq=outcome.chain_seq,
        prev_hash=params.prev_hash,
        entry_hash=params.entry_hash,
        payload=params.payload,
    )
    call.services.broker.publish(
        grant.space,
        lambda space: ws_frame(
            membership_notification(space, outcome.cursor, entry, frame_bytes_max=limits.outbound_frame_bytes)
        ),
        exclude=call.outbound,
    )
    return MembershipAppendResult(outcome.chain_seq, outcome.metadata_version)


def _check_entry(params: MembershipAppendParams) -> None:
    if len(params.entry_hash) != _HASH_BYTES:
        raise RpcError(ErrorCode.BAD_REQUEST, "entry_hash must be 32 bytes")
    if not params.payload:
        raise RpcError(ErrorCode.BAD_REQUEST, "payload must not be empty")
    if hashlib.sha256(params.payload).digest() != params.entry_hash:
        raise RpcError(ErrorCode.BAD_REQUEST, "entry_hash does not match SHA-256 of payload")


async def list_(call: Call, params: MembershipListParams, access: Access) -> MembershipListResult:
    """Every entry above `since_seq`, with the log's version, from one snapshot (protocol 9.7)."""
    space = access.check_id()
    chain = None if access.personal else access.chain()
    log = await call.services.members.list(space, params.since_seq, cids=() if chain is None else chain.cids)
    if log is None:
        grant = await access.admit(None, (), chain)
        # Personal: it comes into being when its owner first reads it (protocol 8).
        row = await call.services.spaces.get_or_create_space(space, grant.client_id or "")
        log = MemberLog(row, frozenset(), ())
    else:
        await access.admit(log.space, log.revoked, chain)
    if sum(len(entry.payload) for entry in log.entries) > call.services.limits.outbound_frame_bytes:
        # Sent whole all the same: there is no paging, and a part would be taken for the whole (protocol G16).
        warn.warning("membership log outgrows a frame", space=str(space), entries=len(log.entries))
    return MembershipListResult(
        entries=[
            MemberEntry(
                chain_seq=entry.chain_seq,
                prev_hash=entry.prev_hash or b"",
                entry_hash=entry.entry_hash,
                payload=entry.payload,
            )
            for entry in log.entries
        ],
        metadata_version=log.space.metadata_version,
    )


async def revoke(call: Call, params: MembershipRevokeParams, access: Access) -> Empty:
    """Revoke a UCAN in a space; tell everyone else, and end the subscriptions that rest on it (protocol 9.8).

    The revoked one hears of it like everybody else, and nothing after that (protocol G7).
    """
    cid = params.ucan_cid
    if not cid or "\x00" in cid or len(cid.encode("utf-8", "surrogatepass")) > CID_BYTES_MAX:
        raise RpcError(ErrorCode.BAD_REQUEST, "invalid ucan cid")
    access.check_id()
    grant = await access.write()
    # `lsync_revoke_v1` takes the lock of the space's row: a push that checked before it is committed before
    # it, and every later one finds the revocation.
    status = await call.services.revocations.revoke(grant.space, cid, caller=grant.caller)
    if status is not RevokeStatus.DONE:
        raise _again(_NOT_REVOKED[status])
    broker = call.services.broker
    broker.publish(grant.space, lambda space: ws_frame(revoked_notification(space)), exclude=call.outbound)
    for subscriber in broker.revoke(grant.space, cid):
        end_subscriptions(call.services, subscriber, [grant.space])
    return Empty()


def _again(error: RpcError) -> RpcError:
    """A fresh exception of the same meaning: one raised twice would carry the first traceback along."""
    return RpcError(error.code, error.message)
