"""`subscribe` and `unsubscribe`: which spaces a session hears of."""

from uuid import UUID

import structlog

from less_sync.storage import Space, StorageError
from less_sync.sync.access.rules import Access, Grant, Readable, read_each
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.live.broker import Hold, Provisional
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import (
    SubscribedSpace,
    SubscribeError,
    SubscribeParams,
    SubscribeResult,
    SubscribeSpace,
    UnsubscribeParams,
)
from less_sync.sync.rpc.presence import end_subscriptions

log = structlog.get_logger(__name__)


async def subscribe(call: Call, params: SubscribeParams, accesses: list[Access]) -> SubscribeResult:
    """Subscribe to every space the caller may read; the others are listed with the reason (protocol 9.1).

    What is published between registering and reading the rows is held and delivered afterwards, so the
    cursors answered and the notifications leave no gap (protocol G4). One database round trip when the
    rows exist.
    """
    entries = params.spaces
    limits, broker = call.services.limits, call.services.broker
    if len(entries) > limits.spaces_per_subscribe:
        raise RpcError(ErrorCode.BAD_REQUEST, "too many spaces in subscribe request")
    spellings = {access.space: access.text for access in accesses if access.space is not None}
    provisional = broker.prepare(call.outbound, spellings)
    try:
        outcomes = await _outcomes(call, accesses)
    except BaseException:
        broker.withdraw(provisional)
        raise
    # From here to `confirm` nothing is awaited.
    _refuse_revoked(provisional, outcomes)
    _cap(call, accesses, outcomes)
    # A space that may not be read any more is not heard of any more either (protocol G7).
    refused = [
        access.space
        for access, outcome in zip(accesses, outcomes, strict=True)
        if outcome is ErrorCode.FORBIDDEN and access.space is not None
    ]
    end_subscriptions(call.services, call.outbound, refused)
    broker.confirm(provisional, {grant.space: _hold(grant) for grant, _ in _granted(outcomes)})
    call.caller.subscriptions_changed()
    return SubscribeResult(
        spaces=[
            _described(call, entry, outcome[1])
            for entry, outcome in zip(entries, outcomes, strict=True)
            if not isinstance(outcome, ErrorCode)
        ],
        errors=[
            SubscribeError(space=entry.id, error=outcome)
            for entry, outcome in zip(entries, outcomes, strict=True)
            if isinstance(outcome, ErrorCode)
        ],
    )


Outcome = tuple[Grant, Space] | ErrorCode


def _granted(outcomes: list[Outcome]) -> list[tuple[Grant, Space]]:
    return [outcome for outcome in outcomes if not isinstance(outcome, ErrorCode)]


async def _outcomes(call: Call, accesses: list[Access]) -> list[Outcome]:
    """Decide, and create the personal space if need be; a storage fault refuses nobody for good."""
    try:
        return [await _existing(call, readable) for readable in await read_each(call, accesses)]
    except StorageError as error:
        log.error("storage failed", method="subscribe", error=str(error))
        return [ErrorCode.BAD_REQUEST if access.space is None else ErrorCode.INTERNAL for access in accesses]


async def _existing(call: Call, readable: Readable) -> Outcome:
    if isinstance(readable, ErrorCode):
        return readable
    grant, row = readable
    if row is None:
        # Personal: it comes into being when its owner first reads it (protocol 8).
        row = await call.services.spaces.get_or_create_space(grant.space, grant.client_id or "")
    return grant, row


def _refuse_revoked(provisional: Provisional, outcomes: list[Outcome]) -> None:
    """Refuse what was granted by a token that has been revoked since the database was asked (protocol G7)."""
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ErrorCode):
            continue
        grant = outcome[0]
        if any((grant.space, cid) in provisional.revoked for cid in grant.cids or ()):
            outcomes[index] = ErrorCode.FORBIDDEN


def _cap(call: Call, accesses: list[Access], outcomes: list[Outcome]) -> None:
    """Refuse what goes beyond the subscriptions one session may have."""
    already = call.services.broker.subscribed(call.outbound)
    room = call.services.limits.spaces_per_session - len(already)
    fresh: set[UUID] = set()
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ErrorCode) or outcome[0].space in already:
            continue
        fresh.add(outcome[0].space)
        if len(fresh) > room:
            outcomes[index] = ErrorCode.RATE_LIMITED


def _hold(grant: Grant) -> Hold | None:
    if grant.cids is None or grant.expires_at is None:
        return None
    return Hold(frozenset(grant.cids), grant.expires_at)


def _described(call: Call, entry: SubscribeSpace, row: Space) -> SubscribedSpace:
    peers = call.services.presence.others(row.id, call.outbound.connection_id) if entry.presence else []
    return SubscribedSpace(
        id=entry.id,
        cursor=row.cursor,
        key_generation=row.key_generation,
        rewrap_epoch=row.rewrap_epoch,
        peers=peers,
    )


def unsubscribe(call: Call, params: UnsubscribeParams, spaces: list[UUID]) -> None:
    """Stop hearing of the listed spaces, and be there no more (protocol 10)."""
    end_subscriptions(call.services, call.outbound, spaces)
