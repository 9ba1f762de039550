"""The membership log of a space, and revoking UCANs: `membership.append`, `.list`, `.revoke`."""

import asyncio
import hashlib
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from less_sync.storage import AppendOutcome, AppendStatus, Caller, MemberLog, RevokeStatus, Unavailable
from less_sync.sync.access.grants import Access, Seen
from less_sync.sync.announce import Change, Notice
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import (
    Empty,
    MemberEntry,
    MembershipAppendParams,
    MembershipAppendResult,
    MembershipListParams,
    MembershipListResult,
    MembershipRevokeParams,
)
from less_sync.sync.protocol.notifications import membership_notification
from less_sync.sync.rpc.edge_pulls import members_elsewhere
from less_sync.sync.rpc.elsewhere import confirmed, named_ourselves

warn = structlog.get_logger(__name__)

CID_BYTES_MAX: Final = 256
_HASH_BYTES: Final = 32

_NOT_APPENDED: Final = {
    AppendStatus.VERSION_CONFLICT: RpcError(ErrorCode.CONFLICT),
    AppendStatus.CHAIN_BROKEN: RpcError(ErrorCode.CONFLICT),
    AppendStatus.NO_SPACE: RpcError(ErrorCode.NOT_FOUND, "space not found"),
    AppendStatus.REVOKED: RpcError(ErrorCode.FORBIDDEN),
    AppendStatus.NOT_PERSONAL: RpcError(ErrorCode.FORBIDDEN),
}
_NOT_REVOKED: Final = {
    RevokeStatus.NO_SPACE: RpcError(ErrorCode.FORBIDDEN),
    RevokeStatus.REVOKED: RpcError(ErrorCode.FORBIDDEN),
    RevokeStatus.NOT_PERSONAL: RpcError(ErrorCode.FORBIDDEN),
}


async def append(call: Call, params: MembershipAppendParams, access: Access) -> MembershipAppendResult:
    """Append one entry to the log and announce it (docs/protocol.md 7.6).

    The rate limit comes before the hashes, and these before authorisation.
    """
    access.check_id()
    limits = call.services.limits
    async with call.services.rates.slot(
        "membership_append",
        call.identity,
        slots_max=limits.membership_appends_per_window,
        what="membership appends",
    ):
        _check_entry(params)
        grant = await access.grant()
        # `lsync_append_member_v1` checks and writes under the lock of the space's row: of two that race for
        # one place in the log one wins.
        outcome = await _append(call, params, grant.space, grant.caller)
        if outcome.status is AppendStatus.REMOTE_HOME:
            outcome = await _append(call, params, grant.space, await named_ourselves(call, grant))
        if outcome.status is not AppendStatus.APPENDED:
            raise _again(_NOT_APPENDED[outcome.status])
    return MembershipAppendResult(outcome.chain_seq, outcome.metadata_version)


async def _append(call: Call, params: MembershipAppendParams, space: UUID, caller: Caller) -> AppendOutcome:
    statement = call.services.members.append(
        space,
        expected_version=params.expected_version,
        prev_hash=params.prev_hash,
        entry_hash=params.entry_hash,
        payload=params.payload,
        caller=caller,
    )
    return await call.services.announce.write(
        space, statement, lambda outcome: _appended(call, params, outcome)
    )


def _appended(call: Call, params: MembershipAppendParams, outcome: AppendOutcome) -> Change | None:
    """What an append is announced as."""
    if outcome.status is not AppendStatus.APPENDED:
        return None
    entry = MemberEntry(
        chain_seq=outcome.chain_seq,
        prev_hash=params.prev_hash,
        entry_hash=params.entry_hash,
        payload=params.payload,
    )
    frame_bytes_max = call.services.limits.outbound_frame_bytes

    def build(space: str) -> bytes:
        return membership_notification(space, outcome.cursor, entry, frame_bytes_max=frame_bytes_max)

    return Change(outcome.cursor, (Notice(build, call.outbound),), len(params.payload))


def _check_entry(params: MembershipAppendParams) -> None:
    if len(params.entry_hash) != _HASH_BYTES:
        raise RpcError(ErrorCode.BAD_REQUEST, "entry_hash must be 32 bytes")
    if not params.payload:
        raise RpcError(ErrorCode.BAD_REQUEST, "payload must not be empty")
    if hashlib.sha256(params.payload).digest() != params.entry_hash:
        raise RpcError(ErrorCode.BAD_REQUEST, "entry_hash does not match SHA-256 of payload")


async def list_(call: Call, params: MembershipListParams, access: Access) -> MembershipListResult:
    """Every entry above `since_seq`, with the log's version, from one snapshot (docs/protocol.md 7.7)."""
    space, pairs = access.check_id(), access.pairs
    log = await call.services.members.list(space, params.since_seq, cids=access.cids)
    if log is None:
        grant = await access.grant(Seen(None, (), pairs))
        # Personal: it comes into being when its owner first reads it (docs/protocol.md 5.1).
        row = await call.services.spaces.get_or_create_space(space, grant.client_id or "")
        log = MemberLog(row, frozenset(), ())
    else:
        await access.grant(Seen(log.space, log.revoked, pairs))
        if await confirmed(call, access, log.space):
            return await members_elsewhere(call, access, log.space, params.since_seq)
    too_long = sum(len(entry.payload) for entry in log.entries) > call.services.limits.outbound_frame_bytes
    # Sent whole all the same: there is no paging, and a part would be taken for the whole (docs/protocol.md
    # 7.7).
    if too_long and call.caller.warn_once(space):
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
    """Revoke a UCAN in a space; tell everyone else, and end the subscriptions that rest on it
    (docs/protocol.md 7.8).

    The revoked one hears of it like everybody else, and nothing after that (docs/protocol.md 5.3).
    """
    cid = params.ucan_cid
    if not cid or "\x00" in cid or len(cid.encode("utf-8", "surrogatepass")) > CID_BYTES_MAX:
        raise RpcError(ErrorCode.BAD_REQUEST, "invalid ucan cid")
    access.check_id()
    grant = await access.grant()
    revoke_it = partial(call.services.revocations.revoke, grant.space, cid)
    # `lsync_revoke_v1` takes the lock of the space's row: a push that checked before it is committed before
    # it, and every later one finds the revocation.
    try:
        status = await revoke_it(caller=grant.caller)
        if status is RevokeStatus.REMOTE_HOME:
            status = await revoke_it(caller=await named_ourselves(call, grant))
    except (Unavailable, asyncio.CancelledError):
        call.services.announce.maybe_revoked(grant.space, cid)
        raise
    if status is not RevokeStatus.DONE:
        raise _again(_NOT_REVOKED[status])
    call.services.announce.revoked(grant.space, cid, exclude=call.outbound)
    return Empty()


def _again(error: RpcError) -> RpcError:
    """A fresh exception of the same meaning: one raised twice would carry the first traceback along."""
    return RpcError(error.code, error.message)
