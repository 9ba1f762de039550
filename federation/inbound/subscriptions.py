"""`subscribe` of a peer: which spaces it hears of, by a user's UCAN or by a token from an earlier time.

A subscription is of the peer, not of a user, whose session the peer tells apart by itself: one that is
refused ends none that stands.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from less_sync.auth import (
    LEAF_TAG_BYTES,
    LEAF_TAG_PREFIX,
    FstClaims,
    FstError,
    fst_expiry,
    fst_leaf_tag,
)
from less_sync.federation.inbound.peers import Inbound, domain_of
from less_sync.storage import Space, StorageError
from less_sync.sync.access.grants import Access, Readable, read_each
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.live.broker import Granted, Hold, Provisional
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import (
    SubscribedSpace,
    SubscribeError,
    SubscribeParams,
    SubscribeResult,
    SubscribeSpace,
)
from less_sync.sync.rpc.dispatch import log_storage_fault
from less_sync.sync.rpc.subscriptions import tell_behind

NEVER: Final = 2**63 - 1
"""No subscription of a peer ends with a UCAN's time; the tokens that restore one do."""
TOKENS_PER_TURN: Final = 64
"""Tokens verified before other sessions get their turn."""
HELD_FRAMES_MAX: Final = 1024
"""Of what is announced while the rows are read: a peer comes back to all its spaces at once."""


class _Entered(NamedTuple):
    """A space that may be read, and what that rests on."""

    row: Space
    hold: Hold
    good_until: int
    """Unix seconds; no token made of this is good for longer."""
    leaf_tag: bytes


_Claim = FstClaims | Access | ErrorCode
_Outcome = _Entered | ErrorCode


async def subscribe(
    inbound: Inbound, call: Call, params: SubscribeParams, accesses: Sequence[Access]
) -> SubscribeResult:
    """Subscribe to every space that may be read; the others are listed with the reason.

    As for clients no notification is lost between the cursor that is answered and the first one.

    Raises:
        RpcError: `bad_request` for too many entries; `rate_limited`, and nothing was subscribed to.
    """
    entries, broker = params.spaces, call.services.broker
    if len(entries) > call.services.limits.spaces_per_subscribe:
        raise RpcError(ErrorCode.BAD_REQUEST, "too many spaces in subscribe request")
    claims = await _claims(inbound, call, entries, accesses)
    spellings = {access.space: access.text for access in accesses if access.space is not None}
    provisional = broker.prepare(call.outbound, spellings, frames_max=HELD_FRAMES_MAX)
    nodes = call.services.nodes
    try:
        if nodes is not None:
            await nodes.listen(list(spellings), counted=any(isinstance(one, FstClaims) for one in claims))
        outcomes = await _outcomes(call, claims)
    except BaseException:
        broker.withdraw(provisional)
        raise
    # From here to `confirm` nothing is awaited: what is counted is subscribed to.
    outcomes = [_unless_revoked(provisional, outcome) for outcome in outcomes]
    entered = {outcome.row.id: outcome for outcome in outcomes if isinstance(outcome, _Entered)}
    fresh = sum(not broker.is_subscribed(call.outbound, space) for space in entered)
    if not inbound.quotas.take_spaces(domain_of(call.identity), fresh):
        broker.withdraw(provisional)
        raise RpcError(ErrorCode.RATE_LIMITED, "space subscription quota exceeded")
    granted = {space: Granted(one.row.cursor, one.hold) for space, one in entered.items()}
    behind = [] if nodes is None else nodes.entering(granted)
    broker.confirm(provisional, granted, behind=behind)
    if nodes is not None:
        for space in behind:
            tell_behind(call, spellings[space], entered[space].row)
        nodes.entered(granted)
    answered = list(zip(entries, outcomes, strict=True))
    return SubscribeResult(
        spaces=[
            _described(inbound, call, entry, outcome)
            for entry, outcome in answered
            if isinstance(outcome, _Entered)
        ],
        errors=[
            SubscribeError(space=entry.id, error=outcome)
            for entry, outcome in answered
            if isinstance(outcome, ErrorCode)
        ],
    )


async def _claims(
    inbound: Inbound, call: Call, entries: Sequence[SubscribeSpace], accesses: Sequence[Access]
) -> list[_Claim]:
    """What each entry rests on: a UCAN, the claims of a valid token, or nothing that is of use."""
    claims: list[_Claim] = []
    verified = 0
    for entry, access in zip(entries, accesses, strict=True):
        if access.space is not None and entry.token and not entry.ucan:
            verified += 1
            if verified % TOKENS_PER_TURN == 0:
                await asyncio.sleep(0)
        claims.append(_claim(inbound, call, entry, access))
    return claims


def _claim(inbound: Inbound, call: Call, entry: SubscribeSpace, access: Access) -> _Claim:
    if access.space is None:
        return ErrorCode.BAD_REQUEST
    if entry.ucan:
        return access
    if not entry.token:
        return ErrorCode.BAD_REQUEST
    if inbound.fst_keys is None:
        return ErrorCode.INTERNAL
    try:
        claims = inbound.fst_keys.verify(
            entry.token, peer_domain=domain_of(call.identity), now=call.services.now()
        )
    except FstError:
        return ErrorCode.FORBIDDEN
    return claims if claims.space_id == access.space else ErrorCode.FORBIDDEN


async def _outcomes(call: Call, claims: Sequence[_Claim]) -> list[_Outcome]:
    """Decide in the order of the entries; a fault of the database refuses nobody for good."""
    try:
        by_ucan = iter(
            await read_each(call.services.spaces, [claim for claim in claims if isinstance(claim, Access)])
        )
        by_token = iter(await _restored(call, [claim for claim in claims if isinstance(claim, FstClaims)]))
    except StorageError as error:
        log_storage_fault("subscribe", error)
        return [claim if isinstance(claim, ErrorCode) else ErrorCode.INTERNAL for claim in claims]
    return [
        claim
        if isinstance(claim, ErrorCode)
        else next(by_token)
        if isinstance(claim, FstClaims)
        else _entered(next(by_ucan))
        for claim in claims
    ]


def _entered(readable: Readable | ErrorCode) -> _Outcome:
    if isinstance(readable, ErrorCode):
        return readable
    chain, until = readable.grant.chain, readable.grant.expires_at
    if readable.row is None or chain is None or until is None:
        return ErrorCode.INTERNAL
    return _Entered(readable.row, Hold(frozenset(chain.cids), NEVER), until, fst_leaf_tag(chain.leaf.cid))


async def _restored(call: Call, claims: Sequence[FstClaims]) -> list[_Outcome]:
    """What tokens give back, unless the UCAN behind one has been revoked since.

    Raises:
        StorageError: the database could not be asked.
    """
    if not claims:
        return []
    tags = [(claim.space_id, claim.leaf_tag) for claim in claims]
    # The rows are read last: a cursor that is older than the check would promise what was not checked.
    revoked = await call.services.revocations.tagged(tags, LEAF_TAG_PREFIX)
    rows = await call.services.spaces.get_spaces([claim.space_id for claim in claims])
    outcomes: list[_Outcome] = []
    for claim, tag in zip(claims, tags, strict=True):
        row = rows.get(claim.space_id)
        if row is None:
            outcomes.append(ErrorCode.NOT_FOUND)
        elif call.services.forwarder.is_foreign(row.home_server) or tag in revoked:
            outcomes.append(ErrorCode.FORBIDDEN)
        elif row.root_public_key is None:
            outcomes.append(ErrorCode.NOT_FOUND)
        else:
            # A token does not tell its chain: any revocation in the space may concern it.
            hold = Hold(frozenset(), NEVER, unnamed=True)
            outcomes.append(_Entered(row, hold, claim.expires_at, claim.leaf_tag))
    return outcomes


def _unless_revoked(provisional: Provisional, outcome: _Outcome) -> _Outcome:
    """Refuse what may rest on a token that has been revoked since the database was asked."""
    if isinstance(outcome, ErrorCode):
        return outcome
    space, hold = outcome.row.id, outcome.hold
    if any(where == space and hold.rests_on(cid) for where, cid in provisional.revoked):
        return ErrorCode.FORBIDDEN
    if any(where == space and hold.rests_on(cid) for where, cid in provisional.doubted):
        return ErrorCode.INTERNAL
    return outcome


def _described(inbound: Inbound, call: Call, entry: SubscribeSpace, entered: _Entered) -> SubscribedSpace:
    row = entered.row
    return SubscribedSpace(
        id=entry.id,
        cursor=row.cursor,
        key_generation=row.key_generation,
        rewrap_epoch=row.rewrap_epoch,
        token=_token(inbound, call, entered),
    )


def _token(inbound: Inbound, call: Call, entered: _Entered) -> str:
    """What the peer restores this subscription with; "" where no secret is configured."""
    if inbound.fst_keys is None:
        return ""
    return inbound.fst_keys.make(
        space_id=entered.row.id,
        peer_domain=domain_of(call.identity),
        expires_at=fst_expiry(
            now=call.services.now(), cap=entered.good_until, life_s_max=inbound.fst_life_s_max
        ),
        nonce=inbound.random_bytes(LEAF_TAG_BYTES),
        leaf_tag=entered.leaf_tag,
    )
