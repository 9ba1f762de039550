"""`push` of a peer: as a client's, for a space whose home is here, within the peer's quota.

A push that is not allowed costs nothing, and one that fails otherwise does. Whether it is allowed is decided
by the statement that writes it, under the lock of the space's row; so what was counted before is given back
after a refusal. Only when the quota says no is the space read first: `forbidden` comes before `rate_limited`.
"""

from collections.abc import Callable
from typing import Final

from less_sync.federation.inbound.access import PeerAccess
from less_sync.federation.inbound.peers import Inbound, domain_of
from less_sync.federation.quotas import PushCharge
from less_sync.storage import PushStatus, StorageError
from less_sync.sync.access.grants import Grant, Refused, Seen, Unread
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import encode_error
from less_sync.sync.protocol.messages import PushParams
from less_sync.sync.rpc.dispatch import Work, log_storage_fault, reply_refused
from less_sync.sync.rpc.records import PushInFlight, refuse_push, submit_push

Reply = Callable[[bytes], None]

OVER_QUOTA: Final = "record push quota exceeded"
_NOT_ALLOWED: Final = frozenset(
    {PushStatus.REVOKED, PushStatus.NO_SPACE, PushStatus.NOT_PERSONAL, PushStatus.REMOTE_HOME}
)
"""Why a push was not the peer's to make."""


def push(inbound: Inbound, call: Call, params: PushParams, access: PeerAccess, reply: Reply) -> Work | None:
    """Queue one push; `reply` is called with the encoded response once its fate is known.

    Returns:
        What must run first, alone, when the space has to be read; None when the push is queued.

    Raises:
        RpcError: the peer may not write there.
    """
    one = _Push(inbound, call, params, access, reply)
    decision = access.decide()
    if isinstance(decision, Refused):
        raise RpcError(decision.code)
    if isinstance(decision, Unread):
        return one.once_read
    charge = one.charge()
    if charge is None:
        return one.once_read
    one.submit(decision, charge)
    return None


class _Push:
    """One push of a peer, before it is in flight."""

    __slots__ = ("access", "call", "inbound", "params", "reply")

    def __init__(
        self, inbound: Inbound, call: Call, params: PushParams, access: PeerAccess, reply: Reply
    ) -> None:
        self.inbound = inbound
        self.call = call
        self.params = params
        self.access = access
        self.reply = reply

    def charge(self) -> PushCharge | None:
        """Count it; None when it is too much."""
        changes = self.params.changes
        payload_bytes = sum(len(change.blob or b"") + len(change.dek or b"") for change in changes)
        return self.inbound.quotas.take_push(
            domain_of(self.call.identity), records=len(changes), payload_bytes=payload_bytes
        )

    def submit(self, grant: Grant, charge: PushCharge) -> None:
        """Hand it to its lane."""
        submit_push(_InFlight(self, grant, charge), grant, local_only=self.access.local_only)

    async def once_read(self) -> None:
        """Decide by what the database says now, and only then count it."""
        decision = await self._read()
        if decision is None:
            return
        charge = self.charge()
        if charge is None:
            self._answer_over_quota()
        else:
            self.submit(decision, charge)

    async def again(self, charge: PushCharge) -> None:
        """Its space has a home, as the statement found: if that is this server, write it all the same."""
        decision = await self._read()
        if decision is None:
            self.inbound.quotas.give_push_back(charge)
        else:
            self.submit(decision, charge)

    async def _read(self) -> Grant | None:
        """The grant by the row and the revocations of now; None when it was refused, and answered."""
        access, services = self.access, self.call.services
        space, pairs = access.check_id(), access.pairs
        try:
            read = await services.spaces.read_spaces([space], pairs)
        except StorageError as error:
            log_storage_fault("push", error)
            refuse_push(self.call, ErrorCode.INTERNAL, self.reply)
            return None
        decision = access.decide(Seen(read.spaces.get(space), read.revoked, pairs))
        if isinstance(decision, Grant):
            return decision
        code = decision.code if isinstance(decision, Refused) else ErrorCode.INTERNAL
        refuse_push(self.call, code, self.reply)
        return None

    def _answer_over_quota(self) -> None:
        call = self.call
        payload = encode_error(call.request_id, ErrorCode.RATE_LIMITED, OVER_QUOTA)
        reply_refused(call, "push", ErrorCode.RATE_LIMITED, payload, self.reply)


class _InFlight(PushInFlight):
    """A push that was counted."""

    __slots__ = ("_charge", "_push")

    def __init__(self, push: _Push, grant: Grant, charge: PushCharge) -> None:
        super().__init__(push.call, push.params, grant.space, push.reply)
        self._push = push
        self._charge = charge

    def refused(self, status: PushStatus) -> None:
        """The database did not write it: what was not the peer's to write costs nothing."""
        if status is PushStatus.REMOTE_HOME and self._push.access.local_only:
            self.call.services.announce.own(lambda: self._push.again(self._charge))
            return
        if status in _NOT_ALLOWED:
            self._push.inbound.quotas.give_push_back(self._charge)
        super().refused(status)
