"""Who is there and what they say: `presence.set`, `presence.clear`, `event.send` (docs/protocol.md 8).

Being subscribed is what entitles to these; whatever ends a subscription ends the presence with it.
"""

from uuid import UUID

from less_sync.sync.call import Call
from less_sync.sync.protocol.messages import EventSendParams, PresenceClearParams, PresenceSetParams
from less_sync.sync.protocol.notifications import event_notification, presence_notification


def set_(call: Call, params: PresenceSetParams, space: UUID) -> None:
    """Show `data` to the other subscribers, and stay there."""
    elsewhere = call.services.elsewhere
    others = 0 if elsewhere is None else elsewhere.count(space)
    peer = call.services.presence.set(space, call.outbound.connection_id, params.data, elsewhere=others)
    if peer is None:
        return
    call.services.announce.publish(
        space,
        lambda text: presence_notification(text, peer=peer, data=params.data),
        exclude=call.outbound,
    )
    if elsewhere is not None:
        elsewhere.present(space, peer, params.data)


def clear(call: Call, params: PresenceClearParams, space: UUID) -> None:
    """Be there no more."""
    call.services.announce.leave(call.outbound, space)


def send(call: Call, params: EventSendParams, space: UUID) -> None:
    """One message to whoever listens now; nothing is kept."""
    if len(params.data) > call.services.limits.event_bytes:
        return
    peer = call.services.presence.peer(space, call.outbound.connection_id)
    call.services.announce.publish(
        space,
        lambda text: event_notification(text, peer=peer, data=params.data),
        exclude=call.outbound,
    )
    if call.services.elsewhere is not None:
        call.services.elsewhere.say(space, peer, params.data)
