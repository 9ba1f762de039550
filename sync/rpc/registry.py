"""The methods and notifications clients may send. Adding one is adding a row; there is no default rule."""

from collections.abc import Callable
from typing import Final

from sync.authz import EACH_SPACE_READ, SIGNED_IN, SPACE_WRITE
from sync.protocol.messages import (
    PullParams,
    PushParams,
    SpaceCreateParams,
    SubscribeParams,
    TokenRefreshParams,
)
from sync.rpc import pulls, records, spaces, subscriptions, tokens
from sync.rpc.call import Call
from sync.rpc.dispatch import push_rpc, rpc, table
from sync.rpc.records import push_denied

# fmt: off
METHODS: Final = table(
    #        wire name        params              who may call     handler
    rpc(     "token.refresh", TokenRefreshParams, SIGNED_IN,       tokens.refresh, label="token refresh"),
    rpc(     "space.create",  SpaceCreateParams,  SIGNED_IN,       spaces.create, label="space create"),
    rpc(     "subscribe",     SubscribeParams,    EACH_SPACE_READ, subscriptions.subscribe),
    push_rpc("push",          PushParams,         SPACE_WRITE,     records.push, denied_as=push_denied),
    rpc(     "pull",          PullParams,         EACH_SPACE_READ, pulls.pull, background=True),
)
# fmt: on

NOTIFICATIONS: Final[dict[str, Callable[[Call, object], None]]] = {
    "unsubscribe": subscriptions.unsubscribe,
}
"""Never answered: undecodable params and unknown methods are ignored in silence (protocol 10)."""
