"""Who is present, told in notifications: what did not fit into the answer of `subscribe`.

See docs/protocol.md 7.3.
"""

from collections.abc import Iterable
from uuid import UUID

from less_sync.sync.protocol.notifications import presence_notification
from less_sync.sync.services import Services
from less_sync.sync.session.outbound import Outbound


class PresenceRoll:
    """Spaces whose presence one session is still to be told. At most as many as it may subscribe to.

    What is sent is what is true when it is sent: of a space that was left meanwhile nothing, and nobody who
    has gone.
    """

    __slots__ = ("_out", "_services", "_spaces")

    def __init__(self, services: Services, out: Outbound) -> None:
        self._services = services
        self._out = out
        self._spaces: dict[UUID, None] = {}

    def add(self, spaces: Iterable[UUID]) -> None:
        """Tell of these as well."""
        self._spaces.update(dict.fromkeys(spaces))

    async def tell(self) -> None:
        """Send a space at a time (100 entries of 1 KiB by default), each when the peer has read the one
        before.
        """
        services, out = self._services, self._out
        while self._spaces:
            space = next(iter(self._spaces))
            del self._spaces[space]
            if not services.broker.is_subscribed(out, space):
                continue
            text = services.broker.spelling(out, space)
            entries = services.presence.others(space, out.connection_id)
            if services.elsewhere is not None:
                entries += services.elsewhere.others(space)
            for entry in entries:
                out.send(presence_notification(text, peer=entry.peer, data=entry.data))
            await out.drained()
