"""`subscribe` and `unsubscribe`: which spaces a session hears of."""

from uuid import UUID

import structlog

from auth import parse_uuid
from storage import Space, StorageError
from sync.authz import Grant, Refusal
from sync.protocol.codes import ErrorCode
from sync.protocol.errors import ParamsError
from sync.protocol.messages import (
    SubscribedSpace,
    SubscribeError,
    SubscribeParams,
    SubscribeResult,
    UnsubscribeParams,
    decode_params,
)
from sync.rpc.call import Call, RpcError
from sync.rpc.spaces import read_granted

log = structlog.get_logger(__name__)


async def subscribe(call: Call, params: SubscribeParams, grants: list[Grant | Refusal]) -> SubscribeResult:
    """Subscribe to every space the caller may read; the others are listed with the reason (protocol 9.1).

    What is published between registering and reading the rows is held and delivered afterwards, so the
    cursors answered and the notifications leave no gap (protocol G4). One database round trip when the
    rows exist.
    """
    entries = params.spaces
    limits, broker = call.services.limits, call.services.broker
    if len(entries) > limits.spaces_per_subscribe:
        raise RpcError(ErrorCode.BAD_REQUEST, "too many spaces in subscribe request")
    asked = list(zip(entries, grants, strict=True))
    spellings = {grant.space: entry.id for entry, grant in asked if isinstance(grant, Grant)}
    provisional = broker.prepare(call.outbound, spellings)
    try:
        rows = await _rows(call, grants)
    except BaseException:
        broker.withdraw(provisional)
        raise
    already = broker.subscribed(call.outbound)
    fresh = [space for space in spellings if space not in already]
    over = frozenset(fresh[max(0, limits.spaces_per_session - len(already)) :])
    outcomes = [(entry.id, _outcome(grant, rows, over)) for entry, grant in asked]
    # A space that may not be read any more is not heard of any more either (protocol G7).
    refused = (parse_uuid(text) for text, outcome in outcomes if outcome is ErrorCode.FORBIDDEN)
    broker.unsubscribe(call.outbound, [space for space in refused if space is not None])
    broker.confirm(provisional, [row.id for _, row in outcomes if isinstance(row, Space)])
    return SubscribeResult(
        spaces=[_described(text, row) for text, row in outcomes if isinstance(row, Space)],
        errors=[
            SubscribeError(space=text, error=code) for text, code in outcomes if isinstance(code, ErrorCode)
        ],
    )


async def _rows(call: Call, grants: list[Grant | Refusal]) -> dict[UUID, Space] | None:
    """The rows of all granted spaces; None when storage failed."""
    try:
        return await read_granted(
            call.services.spaces, [grant for grant in grants if isinstance(grant, Grant)]
        )
    except StorageError as error:
        log.error("storage failed", method="subscribe", error=str(error))
        return None


def _outcome(
    grant: Grant | Refusal, rows: dict[UUID, Space] | None, over: frozenset[UUID]
) -> Space | ErrorCode:
    if isinstance(grant, ErrorCode):
        return grant
    if rows is None:
        return ErrorCode.INTERNAL
    if grant.space in over:
        return ErrorCode.RATE_LIMITED
    row = rows.get(grant.space)
    if row is None or not grant.opens(shared=row.root_public_key is not None):
        return ErrorCode.FORBIDDEN
    return row


def _described(text: str, row: Space) -> SubscribedSpace:
    return SubscribedSpace(
        id=text, cursor=row.cursor, key_generation=row.key_generation, rewrap_epoch=row.rewrap_epoch
    )


def unsubscribe(call: Call, raw: object) -> None:
    """Stop hearing of the listed spaces; unknown ids and undecodable params are ignored (protocol 10)."""
    try:
        params = decode_params(UnsubscribeParams, raw)
    except ParamsError:
        return
    ids = (parse_uuid(text) for text in params.spaces)
    call.services.broker.unsubscribe(call.outbound, [space for space in ids if space is not None])
