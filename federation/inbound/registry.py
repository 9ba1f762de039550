"""The methods and notifications peers may send. Adding one is adding a row; there is no default rule."""

from dataclasses import replace
from functools import partial
from typing import Final

from less_sync.federation.inbound import invitations, pulls, pushes, subscriptions
from less_sync.federation.inbound.access import PeerRules, trusted_peer
from less_sync.federation.inbound.homes import Homes
from less_sync.federation.inbound.invitations import FedInvitationParams
from less_sync.federation.inbound.notices import NoticeGate
from less_sync.federation.inbound.peers import Inbound
from less_sync.federation.relayed import RELAYED
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

TRUSTED_PEER: Final = trusted_peer


def peer_table(services: Services, inbound: Inbound) -> MethodTable:
    """What peers may say."""
    rules = PeerRules(inbound.is_foreign)
    reads_each, writes = rules.user_may_read_each, rules.user_may_write
    gate = NoticeGate(inbound.notices_from, Homes(services.spaces, inbound.is_foreign, services.clock))
    subscribe, push = partial(subscriptions.subscribe, inbound), partial(pushes.push, inbound)
    pull, invite = partial(pulls.pull, inbound), partial(invitations.invite, inbound)
    # fmt: off
    methods = table(
        #               wire name         params               who may call   handler
        rpc(            "subscribe",      m.SubscribeParams,   reads_each,    subscribe,
                        entries_max=lambda limits: limits.spaces_per_subscribe),
        push_rpc(       "push",           m.PushParams,        writes,        push,
                        denied_as=push_denied),
        rpc(            "pull",           m.PullParams,        reads_each,    pull,
                        background=True, entries_max=lambda limits: limits.spaces_per_pull),
        _plain(rpc(     "fed.invitation", FedInvitationParams, TRUSTED_PEER,  invite,
                        writes=True)),
    )
    notices = {row.name: row for row in (
        notice(         "unsubscribe",    m.UnsubscribeParams, ANYBODY,       unsubscribe),
        *map(gate.row, RELAYED),
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
