"""`push`, as clients send it: written here, or by the server that is the space's home.

A space that is known to name a home has its row read again, together with the revocations, before anything is
sent, unless that was done within the last second; reads come back in the order in which they were asked for,
and nothing overtakes one, so the pushes of a session keep theirs. Any
other push goes to its lane at once, as if there were no other servers: the statement refuses a space whose
home is elsewhere, and only then is it looked at (docs/federation.md 9.3).

What is on its way to other servers counts against its person. Whoever has too much of it waits: his session
looks at nothing more meanwhile, and his socket fills.
"""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from less_sync.storage import PushStatus, Space, StorageError
from less_sync.sync.access.grants import Access, Refused, Unread
from less_sync.sync.announce import Change, Notice
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.forwarding import HomeFault, HomeRefused, HomeUnreachable
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import encode_value
from less_sync.sync.protocol.ids import parse_record_ids
from less_sync.sync.protocol.messages import PushParams, PushResult
from less_sync.sync.protocol.notifications import catch_up_notification, sync_notification
from less_sync.sync.rpc.dispatch import Work, as_sent, log_storage_fault
from less_sync.sync.rpc.records import PushInFlight, refuse_push, submit_push


def push(call: Call, params: PushParams, access: Access, reply: Callable[[bytes], None]) -> Work | None:
    """Take one push on its way; `reply` is called with the encoded response once its fate is known
    (docs/protocol.md 7.4).

    Returns:
        What must run first, alone: the space's root key has to be read, or the person has too much on its way
        to other servers. None when the push is on its way.

    Raises:
        RpcError: the caller may not write there.
    """
    if access.space is not None and access.space in call.services.authority.homes:
        # Its row is read anyway, so who may write is decided then, once.
        pushing = _ClientPush(call, params, access.space, reply, access)
        return _begin_elsewhere(pushing, as_sent(call.raw, params))
    decision = access.decide()
    if isinstance(decision, Refused):
        raise RpcError(decision.code)
    if isinstance(decision, Unread):
        return partial(_push_once_granted, call, params, access, reply, as_sent(call.raw, params))
    pushing = _ClientPush(call, params, decision.space, reply, access)
    submit_push(pushing, decision, local_only=decision.chain is not None)
    return None


async def _push_once_granted(
    call: Call, params: PushParams, access: Access, reply: Callable[[bytes], None], sent: bytes
) -> None:
    try:
        grant = await access.grant()
    except RpcError as error:
        refuse_push(call, error.code, reply)
        return
    except StorageError as error:
        log_storage_fault("push", error)
        refuse_push(call, ErrorCode.INTERNAL, reply)
        return
    pushing = _ClientPush(call, params, grant.space, reply, access)
    if grant.space not in call.services.authority.homes:
        submit_push(pushing, grant, local_only=grant.chain is not None)
    elif (waits := _begin_elsewhere(pushing, sent)) is not None:
        await waits()


class _ClientPush(PushInFlight):
    """A push that may have to go on to another server."""

    __slots__ = ("access",)

    def __init__(
        self,
        call: Call,
        params: PushParams,
        space: UUID,
        reply: Callable[[bytes], None],
        access: Access,
    ) -> None:
        super().__init__(call, params, space, reply)
        self.access = access

    def refused(self, status: PushStatus) -> None:
        """Answer, or go on to the home, which the row did not name when it was read.

        The members that are unknown here were not kept for that.
        """
        if status is PushStatus.REMOTE_HOME:
            _begin(self, encode_value(self.params))
        else:
            super().refused(status)


def _begin_elsewhere(pushing: _ClientPush, params: bytes) -> Work | None:
    """Begin now, or return what waits until the person has room for it."""
    room, person = pushing.call.services.forwards, pushing.call.caller.person
    if room.has(person):
        _begin(pushing, params)
        return None

    async def wait() -> None:
        await room.wait(person)
        _begin(pushing, params)

    return wait


def _begin(pushing: _ClientPush, params: bytes) -> None:
    room, person = pushing.call.services.forwards, pushing.call.caller.person
    pushing.payload_bytes = len(params)
    room.take(person, len(params))

    async def go_on() -> None:
        try:
            await _look_again(pushing, params)
        finally:
            room.give_back(person, len(params))

    # Not the session's: it comes to its end, and to its announcement, whoever hangs up meanwhile.
    pushing.call.services.announce.own(go_on)


async def _look_again(pushing: _ClientPush, params: bytes) -> None:
    """Read where the home is, and whether the caller may still write; then write there."""
    services, access = pushing.call.services, pushing.access
    try:
        grant, row = services.looks.recent(access) or await services.looks.look(access, services.spaces)
    except RpcError as error:
        pushing.answer(error.code)
    except StorageError as error:
        log_storage_fault("push", error)
        pushing.answer(ErrorCode.INTERNAL)
    else:
        if row is not None and services.forwarder.is_foreign(row.home_server):
            await _forward(pushing, row, params)
        else:
            # Its home is here: the row names nobody, or this server.
            submit_push(pushing, grant, local_only=row is None or row.home_server is None)


async def _forward(pushing: _ClientPush, row: Space, params: bytes) -> None:
    services, person = pushing.call.services, pushing.call.caller.person
    statement = services.forwarder.push(row.id, row.home_server or "", params, person=person)
    try:
        result = await services.announce.write(row.id, statement, partial(_change, pushing))
    except HomeRefused as refused:
        pushing.answer(refused.code)
    except HomeUnreachable:
        pushing.answer(ErrorCode.INTERNAL)
    except HomeFault:
        services.forwarder.doubt(row.id)
        pushing.answer(ErrorCode.INTERNAL)
    else:
        pushing.answer(None if result.ok else result.error, result.cursor)


def _change(pushing: _ClientPush, result: PushResult) -> Change | None:
    """`sync` to the other clients of this server: the home tells everybody but the server that pushed.

    The epoch is not known here, which 0 says.
    """
    changes = pushing.params.changes
    services = pushing.call.services
    if not (result.ok and result.cursor > 0 and changes and services.broker.listened_to(pushing.space)):
        return None
    usual = parse_record_ids([change.id for change in changes]) is not None

    def build(space: str) -> bytes:
        if not usual:  # the home takes ids that we would not
            return catch_up_notification(space, cursor=result.cursor, key_generation=0, rewrap_epoch=None)
        return sync_notification(
            space,
            cursor=result.cursor,
            key_generation=0,
            rewrap_epoch=None,
            changes=changes,
            frame_bytes_max=services.limits.outbound_frame_bytes,
        )

    notices = (Notice(build, pushing.call.outbound),)
    return Change(result.cursor, notices, pushing.payload_bytes, clients_only=True)
