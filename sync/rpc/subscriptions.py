"""`subscribe` and `unsubscribe`: which spaces a session hears of."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple
from uuid import UUID

from less_sync.storage import Space, StorageError
from less_sync.sync.access.grants import Access, Grant, Readable, read_each
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.forwarding import Asked, HomeSpace
from less_sync.sync.live.broker import Granted, Hold, Provisional
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import (
    PresenceEntry,
    SubscribedSpace,
    SubscribeError,
    SubscribeParams,
    SubscribeResult,
    SubscribeSpace,
    UnsubscribeParams,
)
from less_sync.sync.protocol.notifications import catch_up_notification
from less_sync.sync.rpc.dispatch import log_storage_fault
from less_sync.sync.rpc.elsewhere import asked_elsewhere

_PEER_BYTES: Final = 64
"""What an entry of presence costs beside its data: pseudonym, keys, heads."""


class _Entered(NamedTuple):
    """A space that may be read, and its row; of a space of another home what that says about it."""

    grant: Grant
    row: Space


Outcome = _Entered | str
"""A space subscribed to, or the code of an error."""


async def subscribe(call: Call, params: SubscribeParams, accesses: list[Access]) -> SubscribeResult:
    """Subscribe to every space the caller may read; the others are listed with the reason (docs/protocol.md
    7.3).

    What is published between registering and reading the rows is held and delivered afterwards, so the
    cursors answered and the notifications leave no gap (docs/protocol.md 6.2). One database round trip when
    the rows exist; then one to each home of spaces that have theirs elsewhere.
    """
    entries = params.spaces
    limits, broker = call.services.limits, call.services.broker
    if len(entries) > limits.spaces_per_subscribe:
        raise RpcError(ErrorCode.BAD_REQUEST, "too many spaces in subscribe request")
    spellings = {access.space: access.text for access in accesses if access.space is not None}
    provisional = broker.prepare(call.outbound, spellings)
    nodes = call.services.nodes
    try:
        if nodes is not None:
            homes = call.services.authority.homes
            await nodes.listen([space for space in spellings if space not in homes])
        outcomes = await _outcomes(call, accesses)
    except BaseException:
        broker.withdraw(provisional)
        raise
    # From here to `confirm` nothing is awaited.
    if provisional.revoked or provisional.doubted:
        _refuse_revoked(provisional, outcomes)
    _cap(call, accesses, outcomes)
    _end_refused(call, accesses, outcomes)
    elsewhere = _elsewhere(call, entries, outcomes)
    granted = [
        one for index, one in enumerate(outcomes) if isinstance(one, _Entered) and index not in elsewhere
    ]
    entered = {one.grant.space: Granted(one.row.cursor, _hold(one.grant)) for one in granted}
    behind = [] if nodes is None else nodes.entering(entered)
    broker.confirm(provisional, entered, behind=behind)
    if nodes is not None:
        nodes.foreign([asked.space for asked in elsewhere.values()])
        rows = {one.row.id: one.row for one in granted}
        for space in behind:
            tell_behind(call, spellings[space], rows[space])
        nodes.entered(entered)
    if elsewhere:
        # Spaces of this server are heard of already: a home that is slow holds up their answer, not more.
        await _subscribe_elsewhere(call, elsewhere, outcomes)
    call.caller.subscriptions_changed()
    return _result(call, entries, outcomes)


def tell_behind(call: Call, text: str, row: Space) -> None:
    """Somebody who was let in first had read a later cursor than this one, from which on all are told."""
    state = HomeSpace(call.services.broker.cursor(row.id), row.key_generation, row.rewrap_epoch)
    call.outbound.notify(catch_up_notification(text, **state._asdict()))


def _result(call: Call, entries: Sequence[SubscribeSpace], outcomes: Sequence[Outcome]) -> SubscribeResult:
    room = _Room(call.services.limits.presence_answer_bytes)
    spaces = [
        _described(call, entry, outcome.row, room)
        for entry, outcome in zip(entries, outcomes, strict=True)
        if isinstance(outcome, _Entered)
    ]
    if room.left_out:
        call.caller.tell_presence(room.left_out)
    return SubscribeResult(
        spaces=spaces,
        errors=[
            SubscribeError(space=entry.id, error=outcome)
            for entry, outcome in zip(entries, outcomes, strict=True)
            if isinstance(outcome, str)
        ],
    )


def _end_refused(call: Call, accesses: Sequence[Access], outcomes: Sequence[Outcome]) -> None:
    """A space that may not be read any more is not heard of any more either (docs/protocol.md 5.3)."""
    refused = [
        access.space
        for access, outcome in zip(accesses, outcomes, strict=True)
        if outcome == ErrorCode.FORBIDDEN and access.space is not None
    ]
    if refused:
        call.services.announce.end_subscriptions(call.outbound, refused)


def _elsewhere(
    call: Call, entries: Sequence[SubscribeSpace], outcomes: Sequence[Outcome]
) -> dict[int, Asked]:
    """The entries whose home is another server, by their place in the request."""
    asked: dict[int, Asked] = {}
    for index, (entry, outcome) in enumerate(zip(entries, outcomes, strict=True)):
        if isinstance(outcome, _Entered):
            readable = Readable(outcome.grant, outcome.row)
            one = asked_elsewhere(call, readable, text=entry.id, since=entry.since, ucan=entry.ucan)
            if one is not None:
                asked[index] = one
    return asked


async def _subscribe_elsewhere(call: Call, asked: Mapping[int, Asked], outcomes: list[Outcome]) -> None:
    """Ask every home at the same time, each for all its spaces; a space named again is asked for apart."""
    groups: dict[tuple[str, int], dict[int, Asked]] = {}
    named: Counter[UUID] = Counter()
    for index, one in asked.items():
        home = call.services.forwarder.home_key(one.home)
        groups.setdefault((home, named[one.space]), {})[index] = one
        named[one.space] += 1
    async with asyncio.TaskGroup() as tasks:
        for group in groups.values():
            tasks.create_task(_subscribe_at(call, group, outcomes))


async def _subscribe_at(call: Call, asked: Mapping[int, Asked], outcomes: list[Outcome]) -> None:
    """Subscribe at one home. What is relayed from there before its answer is held, as for our own spaces.

    That may take seconds, so what is more than what is held closes nobody's session: it is told to pull.
    """
    broker = call.services.broker
    texts = {one.space: one.text for one in asked.values()}
    provisional = broker.prepare(call.outbound, texts, told_to_pull=True)
    try:
        answers = await call.services.forwarder.subscribe(
            call.outbound, list(asked.values()), person=call.caller.person
        )
    except BaseException:
        broker.withdraw(provisional)
        raise
    # From here to `confirm` nothing is awaited.
    granted: dict[UUID, Granted] = {}
    states: dict[UUID, HomeSpace] = {}
    refused: list[UUID] = []
    for (index, one), answer in zip(asked.items(), answers, strict=True):
        entered = outcomes[index]
        if isinstance(answer, str) or isinstance(entered, str):
            outcomes[index] = str(answer)
            if answer == ErrorCode.FORBIDDEN:
                refused.append(one.space)
            continue
        row = replace(entered.row, **answer._asdict())
        outcomes[index] = _Entered(entered.grant, row)
        granted[one.space] = Granted(answer.cursor, _hold(entered.grant))
        states[one.space] = answer
    if refused:
        call.services.announce.end_subscriptions(call.outbound, refused)
    broker.confirm(provisional, granted)
    if call.outbound.closed:
        # It ended in the turn in which the home answered: nothing was here to end then, and this task was not
        # cancelled yet.
        call.services.announce.end_session(call.outbound, present=False)
        return
    for space in provisional.lost:
        if space in states:
            state = states[space]._replace(cursor=broker.cursor(space))
            call.outbound.notify(catch_up_notification(texts[space], **state._asdict()))


class _Room:
    """How many bytes of presence the answer still takes, and which spaces did not fit."""

    def __init__(self, bytes_max: int) -> None:
        self.left_out: list[UUID] = []
        self._bytes_left = bytes_max

    def fits(self, space: UUID, peers: list[PresenceEntry]) -> bool:
        """Count what is present in one space; all of it fits, or none."""
        size = sum(len(peer.data) + _PEER_BYTES for peer in peers)
        if size > self._bytes_left:
            self.left_out.append(space)
            return False
        self._bytes_left -= size
        return True


async def _outcomes(call: Call, accesses: list[Access]) -> list[Outcome]:
    """Decide, and create the personal space if need be; a storage fault refuses nobody for good."""
    try:
        return [await _existing(call, one) for one in await read_each(call.services.spaces, accesses)]
    except StorageError as error:
        log_storage_fault("subscribe", error)
        return [ErrorCode.BAD_REQUEST if access.space is None else ErrorCode.INTERNAL for access in accesses]


async def _existing(call: Call, readable: Readable | ErrorCode) -> Outcome:
    if isinstance(readable, ErrorCode):
        return readable
    grant, row = readable.grant, readable.row
    if row is None:
        # Personal: it comes into being when its owner first reads it (docs/protocol.md 5.1).
        row = await call.services.spaces.get_or_create_space(grant.space, grant.client_id or "")
    return _Entered(grant, row)


def _refuse_revoked(provisional: Provisional, outcomes: list[Outcome]) -> None:
    """Refuse what was granted by a token that has been revoked since the database was asked.

    See docs/protocol.md 5.3.
    """
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, str):
            continue
        grant = outcome.grant
        pairs = [(grant.space, cid) for cid in grant.cids or ()]
        if any(pair in provisional.revoked for pair in pairs):
            outcomes[index] = ErrorCode.FORBIDDEN
        elif any(pair in provisional.doubted for pair in pairs):
            outcomes[index] = ErrorCode.INTERNAL


def _cap(call: Call, accesses: list[Access], outcomes: list[Outcome]) -> None:
    """Refuse what goes beyond the subscriptions one session may have."""
    already = call.services.broker.subscribed(call.outbound)
    room = call.services.limits.spaces_per_session - len(already)
    if len(outcomes) <= room:
        return
    fresh: set[UUID] = set()
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, str) or outcome.grant.space in already:
            continue
        fresh.add(outcome.grant.space)
        if len(fresh) > room:
            outcomes[index] = ErrorCode.RATE_LIMITED


def _hold(grant: Grant) -> Hold | None:
    if grant.cids is None or grant.expires_at is None:
        return None
    return Hold(frozenset(grant.cids), grant.expires_at)


def _described(call: Call, entry: SubscribeSpace, row: Space, room: _Room) -> SubscribedSpace:
    peers = call.services.presence.others(row.id, call.outbound.connection_id) if entry.presence else []
    if entry.presence and call.services.elsewhere is not None:
        peers += call.services.elsewhere.look(row.id)
    if not room.fits(row.id, peers):
        peers = []  # they follow as notifications
    return SubscribedSpace(
        id=entry.id,
        cursor=row.cursor,
        key_generation=row.key_generation,
        rewrap_epoch=row.rewrap_epoch,
        peers=peers,
    )


def unsubscribe(call: Call, params: UnsubscribeParams, spaces: list[UUID]) -> None:
    """Stop hearing of the listed spaces, and be there no more (docs/protocol.md 8.3)."""
    call.services.announce.end_subscriptions(call.outbound, spaces)
