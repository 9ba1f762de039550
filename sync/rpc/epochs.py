"""Key epochs of a space: `epoch.begin` and `epoch.complete`, the two ends of a rotation.

See docs/protocol.md 7.13 and 7.14.
"""

from functools import partial

import structlog

from less_sync.storage import EpochStatus
from less_sync.sync.access.grants import Access
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import (
    EPOCH_CONFLICT,
    Empty,
    EpochBeginParams,
    EpochBegun,
    EpochCompleteParams,
    EpochConflict,
)
from less_sync.sync.rpc.elsewhere import named_ourselves

log = structlog.get_logger(__name__)


async def begin(call: Call, params: EpochBeginParams, access: Access) -> EpochBegun | EpochConflict:
    """Enter the next epoch, unless a re-wrapping is pending; a lost race is a result, not an error."""
    access.check_id()
    grant = await access.grant()
    # `lsync_advance_epoch_v1` compares and sets under the lock of the space's row.
    advance = partial(
        call.services.epochs.advance, grant.space, params.epoch, set_min=params.set_min_key_generation
    )
    outcome = await advance(caller=grant.caller)
    if outcome.status is EpochStatus.REMOTE_HOME:
        outcome = await advance(caller=await named_ourselves(call, grant))
    if outcome.status is EpochStatus.CONFLICT:
        return EpochConflict(EPOCH_CONFLICT, outcome.current_epoch, outcome.rewrap_epoch)
    _check(outcome.status)
    return EpochBegun(params.epoch)


async def complete(call: Call, params: EpochCompleteParams, access: Access) -> Empty:
    """End the pending re-wrapping. DEKs of older epochs that remain are counted in the log, not refused."""
    access.check_id()
    grant = await access.grant()
    # `lsync_complete_rewrap_v1` compares and clears under the lock of the space's row.
    end = partial(call.services.epochs.complete, grant.space, params.epoch)
    outcome = await end(caller=grant.caller)
    if outcome.status is EpochStatus.REMOTE_HOME:
        outcome = await end(caller=await named_ourselves(call, grant))
    if outcome.status is EpochStatus.CONFLICT:
        raise RpcError(ErrorCode.CONFLICT, "epoch mismatch")
    _check(outcome.status)
    if outcome.stale_deks:
        log.warning("epoch completed with stale DEKs", space=str(grant.space), count=outcome.stale_deks)
    return Empty()


def _check(status: EpochStatus) -> None:
    match status:
        case EpochStatus.NO_SPACE:
            raise RpcError(ErrorCode.NOT_FOUND, "space not found")
        case EpochStatus.REVOKED | EpochStatus.NOT_PERSONAL:
            raise RpcError(ErrorCode.FORBIDDEN)
