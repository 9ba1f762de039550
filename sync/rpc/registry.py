"""The methods and notifications clients may send. Adding one is adding a row; there is no default rule."""

from typing import Final

from less_sync.sync.access.rules import (
    ANYBODY,
    EACH_SPACE_READ,
    SIGNED_IN,
    SPACE_ADMIN,
    SPACE_READ,
    SPACE_WRITE,
    SUBSCRIBED,
    SUBSCRIBED_WITHIN_RATE,
)
from less_sync.sync.protocol import messages as m
from less_sync.sync.rpc import (
    client_pushes,
    deks,
    epochs,
    invitations,
    membership,
    presence,
    pulls,
    spaces,
    subscriptions,
    tokens,
)
from less_sync.sync.rpc.dispatch import MethodTable, notice, push_rpc, rpc, table
from less_sync.sync.rpc.records import push_denied

_FILES_GET: Final = ("deks.getFiles",)
_FILES_REWRAP: Final = ("deks.rewrapFiles",)

# `label` is how error messages name the params where it is not the method's name.
# fmt: off
METHODS: Final = table(
    #        wire name            params                    who may call     handler
    rpc(     "token.refresh",     m.TokenRefreshParams,     SIGNED_IN,       tokens.refresh,
             label="token refresh"),
    rpc(     "session.info",      m.SessionInfoParams,      SIGNED_IN,       tokens.info,
             label="session info"),
    rpc(     "space.create",      m.SpaceCreateParams,      SIGNED_IN,       spaces.create,
             label="space create", writes=True),
    rpc(     "subscribe",         m.SubscribeParams,        EACH_SPACE_READ, subscriptions.subscribe,
             entries_max=lambda limits: limits.spaces_per_subscribe),
    push_rpc("push",              m.PushParams,             SPACE_WRITE,     client_pushes.push,
             denied_as=push_denied, forwards=True),
    rpc(     "pull",              m.PullParams,             EACH_SPACE_READ, pulls.pull,
             background=True, entries_max=lambda limits: limits.spaces_per_pull),
    rpc(     "membership.append", m.MembershipAppendParams, SPACE_WRITE,     membership.append,
             label="membership append", writes=True),
    rpc(     "membership.list",   m.MembershipListParams,   SPACE_READ,      membership.list_,
             label="membership list"),
    rpc(     "membership.revoke", m.MembershipRevokeParams, SPACE_ADMIN,     membership.revoke,
             label="membership revoke", writes=True),
    rpc(     "invitation.create", m.InvitationCreateParams, SIGNED_IN,       invitations.create,
             label="invitation create", writes=True),
    rpc(     "invitation.list",   m.InvitationListParams,   SIGNED_IN,       invitations.list_,
             label="invitation list"),
    rpc(     "invitation.get",    m.InvitationGetParams,    SIGNED_IN,       invitations.get,
             label="invitation get"),
    rpc(     "invitation.delete", m.InvitationDeleteParams, SIGNED_IN,       invitations.delete,
             label="invitation delete", writes=True),
    rpc(     "epoch.begin",       m.EpochBeginParams,       SPACE_ADMIN,     epochs.begin,
             label="epoch begin", writes=True),
    rpc(     "epoch.complete",    m.EpochCompleteParams,    SPACE_ADMIN,     epochs.complete,
             label="epoch complete", writes=True),
    rpc(     "deks.get",          m.DeksGetParams,          SPACE_READ,      deks.get,
             label="deks get", background=True),
    rpc(     "deks.rewrap",       m.DeksRewrapParams,       SPACE_WRITE,     deks.rewrap,
             label="deks rewrap", writes=True),
    rpc(     "file.deks.get",     m.DeksGetParams,          SPACE_READ,      deks.get_files,
             label="file deks get", background=True, aliases=_FILES_GET),
    rpc(     "file.deks.rewrap",  m.DeksRewrapParams,       SPACE_WRITE,     deks.rewrap_files,
             label="file deks rewrap", writes=True, aliases=_FILES_REWRAP),
)

NOTIFICATIONS: Final = {row.name: row for row in (
    notice(  "unsubscribe",       m.UnsubscribeParams,      ANYBODY,         subscriptions.unsubscribe),
    notice(  "presence.set",      m.PresenceSetParams,      SUBSCRIBED_WITHIN_RATE, presence.set_),
    notice(  "presence.clear",    m.PresenceClearParams,    SUBSCRIBED,      presence.clear),
    notice(  "event.send",        m.EventSendParams,        SUBSCRIBED_WITHIN_RATE, presence.send),
)}
# fmt: on

CLIENTS: Final = MethodTable(METHODS, NOTIFICATIONS)
"""What clients may say."""
