"""The connections by which a server watches itself: sessions like those of clients, for one space alone.

Nobody who comes from outside becomes this identity: it has no token, and its route is none of those that are
listened for.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

from less_sync.auth import Identity, SignedRequest
from less_sync.sync.access.grants import Access, Grant
from less_sync.sync.access.rules import EACH_SPACE_READ, SPACE_WRITE
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.http.socket import GuardedRoute, Route
from less_sync.sync.metrics import Recorder
from less_sync.sync.protocol import messages as m
from less_sync.sync.protocol.codes import Close, ErrorCode
from less_sync.sync.rpc import pulls, subscriptions
from less_sync.sync.rpc.dispatch import MethodTable, push_rpc, rpc, table
from less_sync.sync.rpc.records import PushInFlight, push_denied, submit_push
from less_sync.sync.services import Services
from less_sync.sync.session.conduct import Conduct
from less_sync.sync.session.open_sessions import Sessions
from less_sync.sync.session.outbound import Outbound
from less_sync.sync.session.session import Session

CANARY_PATH: Final = "/canary"
_CLIENT_ID: Final = "less-sync-watchdog"
"""What the space's row names as its owner."""


def canary_identity(space: UUID) -> Identity:
    """Who owns this space and may do nothing else. No issuer of tokens has an empty name."""
    return Identity(
        issuer="",
        user_id=_CLIENT_ID,
        client_id=_CLIENT_ID,
        personal_space_id=str(space),
        personal_space=space,
        scope="sync",
    )


def apart(services: Services) -> Services:
    """The same server, with sessions and requests that are not counted among those of its clients."""
    return dataclasses.replace(services, sessions=Sessions(), metrics=Recorder())


def canary_routes(services: Services, space: UUID) -> Mapping[bytes, Route]:
    """The one WebSocket that is served to this server itself, by `services` that are `apart`."""
    conduct = Conduct(_METHODS, _NoPlaces(), services.limits, reads_mailbox=False)
    route = GuardedRoute(
        _OpenGate(canary_identity(space)),
        lambda wire, identity: Session(services, wire, conduct, identity=identity),
    )
    return {CANARY_PATH.encode(): route}


class _OpenGate:
    """Whoever comes is the canary: only this process can come."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def admit(self, request: SignedRequest) -> Identity:
        return self._identity


class _NoPlaces:
    """There are two connections at most, and nobody else's place is taken by them."""

    def take(self, person: str, out: Outbound) -> Close | None:
        return None

    def give_back(self, person: str, out: Outbound) -> None:
        pass


def _push(call: Call, params: m.PushParams, access: Access, reply: Callable[[bytes], None]) -> None:
    """Write here or nowhere: the record must not travel to another server if somebody says that this space
    has its home there."""
    decision = access.decide()
    if not isinstance(decision, Grant):
        raise RpcError(ErrorCode.FORBIDDEN)
    submit_push(PushInFlight(call, params, decision.space, reply), decision, local_only=True)


_METHODS: Final = MethodTable(
    table(
        rpc("subscribe", m.SubscribeParams, EACH_SPACE_READ, subscriptions.subscribe),
        push_rpc("push", m.PushParams, SPACE_WRITE, _push, denied_as=push_denied),
        rpc("pull", m.PullParams, EACH_SPACE_READ, pulls.pull, background=True),
    ),
    {},
)
