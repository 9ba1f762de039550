"""The methods and notifications peers may send. Adding one is adding a row; there is no default rule."""

from dataclasses import replace
from functools import partial

from less_sync.federation.inbound import invitations, pulls, pushes, subscriptions
from less_sync.federation.inbound.access import TRUSTED_PEER, USER_MAY_READ_EACH, USER_MAY_WRITE
from less_sync.federation.inbound.homes import Homes
from less_sync.federation.inbound.invitations import FedInvitationParams
from less_sync.federation.inbound.notices import NoticeGate
from less_sync.federation.inbound.peers import Inbound
from less_sync.federation.outbound.relay import KINDS
from less_sync.sync.access.rules import ANYBODY
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol import messages as m
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.rpc.dispatch import Job, Method, MethodTable, notice, push_rpc, rpc, table
from less_sync.sync.rpc.records import push_denied
from less_sync.sync.rpc.subscriptions import unsubscribe
from less_sync.sync.services import Services


def peer_table(services: Services, inbound: Inbound) -> MethodTable:
    """What peers may say."""
    homes = Homes(services.spaces, lambda home: services.forwarder.is_foreign(home), services.clock)
    gate = NoticeGate(inbound.notices_from, homes)
    subscribe, push = partial(subscriptions.subscribe, inbound), partial(pushes.push, inbound)
    pull, invite = partial(pulls.pull, inbound), partial(invitations.invite, inbound)
    # fmt: off
    methods = table(
        #               wire name         params               who may call        handler
        rpc(            "subscribe",      m.SubscribeParams,   USER_MAY_READ_EACH, subscribe,
                        entries_max=lambda limits: limits.spaces_per_subscribe),
        push_rpc(       "push",           m.PushParams,        USER_MAY_WRITE,     push,
                        denied_as=push_denied),
        rpc(            "pull",           m.PullParams,        USER_MAY_READ_EACH, pull,
                        background=True, entries_max=lambda limits: limits.spaces_per_pull),
        _plain(rpc(     "fed.invitation", FedInvitationParams, TRUSTED_PEER,       invite,
                        writes=True)),
    )
    notices = {row.name: row for row in (
        notice(         "unsubscribe",    m.UnsubscribeParams, ANYBODY,            unsubscribe),
        *map(gate.row, KINDS),
    )}
    # fmt: on
    return MethodTable(methods, notices)


def _plain(row: Method) -> Method:
    """The same row, whose error names no method: `invalid params`, as existing servers say."""

    def prepare(call: Call, raw: object) -> Job:
        try:
            return row.prepare(call, raw)
        except ParamsError:
            raise RpcError(ErrorCode.INVALID_PARAMS, "invalid params") from None

    return replace(row, prepare=prepare)
