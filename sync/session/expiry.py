"""What ends with time in one session: its token, where that is enforced, and what subscriptions rest on."""

import asyncio
from collections.abc import Callable
from typing import Final

from less_sync.auth import Identity
from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.notifications import resubscribe_notification
from less_sync.sync.services import Services
from less_sync.sync.session.outbound import Outbound

_LOOK_AGAIN_S: Final = 3600.0
"""The longest sleep: wall clocks are set."""


class ExpiryWatch:
    """Two timers of one session, each set only while there is something to wait for."""

    __slots__ = ("_out", "_retire", "_services", "_token_timer", "_ucan_timer")

    def __init__(self, services: Services, out: Outbound, retire: Callable[[Close], None]) -> None:
        self._services = services
        self._out = out
        self._retire = retire
        self._token_timer: asyncio.TimerHandle | None = None
        self._ucan_timer: asyncio.TimerHandle | None = None

    def token_changed(self, identity: Identity) -> None:
        """Close a while after this token expires, where a setting asks for it (docs/tokens.md 3.6)."""
        if self._token_timer is not None:
            self._token_timer.cancel()
            self._token_timer = None
        if self._services.enforce_token_expiry and identity.expires_at:
            left_s = identity.expires_at + self._services.limits.token_expiry_grace_s - self._services.now()
            loop = asyncio.get_running_loop()
            self._token_timer = loop.call_later(max(0.0, left_s), self._retire, codes.TOKEN_EXPIRED)

    def subscriptions_changed(self) -> None:
        """Wake when the first of the chains that subscriptions rest on expires."""
        if self._ucan_timer is not None:
            self._ucan_timer.cancel()
            self._ucan_timer = None
        holds = self._services.broker.holds(self._out)
        if holds:
            first = min(hold.expires_at for hold in holds.values())
            # One second late: a chain is good through the whole second it expires in.
            left_s = min(max(0.0, first + 1 - self._services.now()), _LOOK_AGAIN_S)
            self._ucan_timer = asyncio.get_running_loop().call_later(left_s, self._end_expired)

    def _end_expired(self) -> None:
        """Drop subscriptions whose chains have expired, and say so (docs/protocol.md 5.3)."""
        broker, now_s = self._services.broker, int(self._services.now())
        expired = [space for space, hold in broker.holds(self._out).items() if now_s > hold.expires_at]
        for space in expired:
            text = broker.spelling(self._out, space)
            self._services.announce.end_subscriptions(self._out, [space])
            self._out.notify(resubscribe_notification([text]))
        self.subscriptions_changed()

    def stop(self) -> None:
        """The session has ended."""
        for timer in (self._token_timer, self._ucan_timer):
            if timer is not None:
                timer.cancel()
