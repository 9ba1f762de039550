"""Who is there and what they say: `presence.set`, `presence.clear`, `event.send`, and everybody's leaving.

Being subscribed is what entitles to these; whatever ends a subscription therefore ends the presence with it,
and goes through `end_subscriptions`.
"""

from collections.abc import Iterable
from uuid import UUID

from less_sync.sync.call import Call
from less_sync.sync.live.broker import Subscriber
from less_sync.sync.protocol.frames import ws_frame
from less_sync.sync.protocol.messages import EventSendParams, PresenceClearParams, PresenceSetParams
from less_sync.sync.protocol.notifications import (
    event_notification,
    presence_leave_notification,
    presence_notification,
)
from less_sync.sync.services import Services


def set_(call: Call, params: PresenceSetParams, space: UUID) -> None:
    """Show `data` to the other subscribers, and stay there (protocol 10)."""
    peer = call.services.presence.set(space, call.outbound.connection_id, params.data)
    if peer is None:
        return
    call.services.broker.publish(
        space,
        lambda text: ws_frame(presence_notification(text, peer=peer, data=params.data)),
        exclude=call.outbound,
    )


def clear(call: Call, params: PresenceClearParams, space: UUID) -> None:
    """Be there no more."""
    _leave(call.services, call.outbound, space)


def send(call: Call, params: EventSendParams, space: UUID) -> None:
    """One message to whoever listens now; nothing is kept."""
    if len(params.data) > call.services.limits.event_bytes:
        return
    peer = call.services.presence.peer(space, call.outbound.connection_id)
    call.services.broker.publish(
        space,
        lambda text: ws_frame(event_notification(text, peer=peer, data=params.data)),
        exclude=call.outbound,
    )


def end_subscriptions(services: Services, subscriber: Subscriber, spaces: Iterable[UUID]) -> None:
    """Unsubscribe a session and tell the others where it was present."""
    ended = list(spaces)
    services.broker.unsubscribe(subscriber, ended)
    for space in ended:
        _leave(services, subscriber, space)


def _leave(services: Services, subscriber: Subscriber, space: UUID) -> None:
    peer = services.presence.clear(space, subscriber.connection_id)
    if peer is not None:
        announce_leave(services, space, peer, exclude=subscriber)


def announce_leave(services: Services, space: UUID, peer: str, *, exclude: Subscriber | None = None) -> None:
    """Tell a space's subscribers that somebody is there no more."""
    services.broker.publish(
        space, lambda text: ws_frame(presence_leave_notification(text, peer=peer)), exclude=exclude
    )
