"""The sending half towards another server, which may read nothing for minutes while it waits for nothing.

Existing servers read a connection that they opened only while a call of theirs is under way. What is
announced meanwhile fills the buffers in between, and beyond their bounds the connection is closed as
anybody's is. So the write deadline holds from when an answer waits to be sent, or a close frame does: whoever
asked, reads.
"""

from collections.abc import Callable
from typing import ClassVar

from less_sync.sync.limits import Limits
from less_sync.sync.live.cork import OPEN, Cork
from less_sync.sync.session.outbound import Outbound, Owner, Wire


class PatientOutbound(Outbound):
    """An `Outbound` whose deadline begins with the first answer that has to wait."""

    __slots__ = ("_owes",)

    is_peer: ClassVar[bool] = True

    def __init__(
        self, wire: Wire, owner: Owner, limits: Limits, *, new_id: Callable[[], str], cork: Cork = OPEN
    ) -> None:
        super().__init__(wire, owner, limits, new_id=new_id, cork=cork)
        self._owes = False
        """An answer waits to be sent."""

    def send(self, payload: bytes) -> None:
        """Send a response; callers hold back more until `ready`."""
        self.send_raw(self._frame(payload))

    def send_raw(self, frame: bytes) -> None:
        """Send complete frames of an answer; callers hold back more until `ready`."""
        super().send_raw(frame)
        self._look_for_debt()

    async def drained(self) -> None:
        """Return once the transport takes bytes again; at once while it does."""
        self._look_for_debt()
        await super().drained()

    def _look_for_debt(self) -> None:
        """An answer was written or is about to be: if it cannot leave, the peer has to read on."""
        if not self.ready and not self.closed:
            self._owes = True
            self._give_deadline()

    def paused(self) -> None:
        """The transport's buffer is full: queue from now on."""
        self._writable = self.ready = False
        if self.closed or self._owes:
            self._give_deadline()

    def resumed(self) -> None:
        """The transport takes bytes again: send what waited, oldest first."""
        super().resumed()
        if self.ready:
            self._owes = False

    def discard(self) -> None:
        """Drop what is queued and send nothing more but a close frame, for which the deadline holds."""
        super().discard()
        self._give_deadline()
