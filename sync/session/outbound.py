"""What one session sends: straight to the transport while it is writable, else queued within bounds.

Responses and chunks wait for room (`drained`); notifications never wait: they are queued up to a bound of
frames and of bytes, and beyond it the session is closed, because a client that reads too slowly is better
served by a reconnect and a pull than by an ever older queue (docs/protocol.md 4.4).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Protocol

from less_sync.sync.limits import Limits
from less_sync.sync.live.cork import CORKED_FRAMES_MAX, OPEN, Cork
from less_sync.sync.protocol.codes import Close


class Wire(Protocol):
    """The transport under a session, as `sync/http/socket.py` provides it: it alone knows how frames look."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Sends bytes that are one or more complete frames."""

    @property
    def frame(self) -> Callable[[bytes], bytes]:
        """Makes a complete frame of a payload."""

    @property
    def frame_header(self) -> Callable[[int], bytes]:
        """Makes the header of a frame with so many bytes of payload, for frames that are sent in pieces."""

    @property
    def heartbeat(self) -> bytes:
        """Frames that keep a connection alive and ask the peer for a sign of life."""

    def unsent_bytes(self) -> int:
        """How much the transport still buffers."""

    def abort(self) -> None:
        """Drop the connection without a close frame."""


class Owner(Protocol):
    """The session whose sending half an `Outbound` is."""

    @property
    def silent_s(self) -> float:
        """For how long nothing has come from the other end, in whole keepalive intervals."""

    def fell_behind(self) -> None:
        """The notification queue overflowed. Called from within a publish: must not call the broker."""

    def end_soon(self, close: Close) -> None:
        """Close the session a turn later. Called from within a publish too."""

    def writable_again(self) -> None:
        """The transport takes bytes again and the queue is empty."""


class Outbound:
    """The sending half of a session; the subscriber the broker knows."""

    __slots__ = (
        "_connection_id",
        "_cork",
        "_corked",
        "_deadline",
        "_drained",
        "_frame",
        "_limits",
        "_new_id",
        "_owner",
        "_queue",
        "_queue_bytes",
        "_unsent_bytes",
        "_wire",
        "_writable",
        "_write",
        "closed",
        "dropped",
        "frame_header",
        "ready",
    )

    is_peer: ClassVar[bool] = False
    """Another server is at the other end."""

    def __init__(
        self, wire: Wire, owner: Owner, limits: Limits, *, new_id: Callable[[], str], cork: Cork = OPEN
    ) -> None:
        self._connection_id = ""
        self._cork = cork
        self._corked: list[bytes] | None = None
        """Notices that wait for the end of the turn, all of them newer than what was sent or is queued. While
        there are any, `_write` writes them first."""
        self._new_id = new_id
        self._frame = wire.frame
        self.frame_header = wire.frame_header
        self._wire = wire
        self._owner = owner
        self._limits = limits
        self._write = wire.write
        self.ready = True
        """What is sent goes straight to the transport: it is open and writable, and there is no queue."""
        self._writable = True
        self._queue: deque[bytes] | None = None
        self._queue_bytes = 0
        self._drained: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self.closed = False
        self.dropped = 0
        """Frames that were to be sent and never will be."""

    @property
    def connection_id(self) -> str:
        """Random text that names this connection to the presence registry; made when first asked for."""
        if not self._connection_id:
            self._connection_id = self._new_id()
        return self._connection_id

    @property
    def silent_s(self) -> float:
        """For how long nothing has come from the other end, in whole keepalive intervals."""
        return self._owner.silent_s

    @property
    def named(self) -> bool:
        """Whether `connection_id` was ever asked for: the presence registry may know this connection."""
        return self._connection_id != ""

    def send(self, payload: bytes) -> None:
        """Send a response; callers hold back more until `ready`."""
        if self.ready:
            self._write(self._frame(payload))
        else:
            self.send_raw(self._frame(payload))

    def send_raw(self, frame: bytes) -> None:
        """Send complete frames; callers hold back more until `ready`."""
        if self._queue:
            self._enqueue(frame)
        elif not self.closed:
            self._write(frame)

    def notify(self, payload: bytes) -> None:
        """Send one notification that is for this peer alone, as `deliver` does."""
        self.deliver(self._frame(payload))

    def deliver(self, frame: bytes) -> None:
        """Send one notification frame, or queue it; over the bounds the owner is told."""
        if self.ready:
            self._write(frame)
        elif not self.closed:
            if self._corked is not None:
                self.uncork()
            frames = len(self._queue) if self._queue else 0
            limits = self._limits
            if frames >= limits.queue_frames or self._queue_bytes + len(frame) > limits.queue_bytes:
                self.overflow()
            else:
                self._enqueue(frame)

    def deliver_soon(self, frame: bytes) -> None:
        """Send one notification frame at the end of the turn, behind those that wait for it already."""
        if self._corked is not None:
            self._corked.append(frame)
            if len(self._corked) >= CORKED_FRAMES_MAX:
                self.uncork()
        elif self.ready:
            self._corked = [frame]
            self._write = self._write_behind
            self._cork.add(self)
        else:
            self.deliver(frame)

    def uncork(self) -> None:
        """Send what waits for the end of the turn, if it still does."""
        frames, self._corked = self._corked, None
        if frames is None:
            return
        self._write = self._wire.write
        if self.ready:
            self._write(frames[0] if len(frames) == 1 else b"".join(frames))
        else:  # somebody wrote past us meanwhile, and we were paused
            for frame in frames:
                self.deliver(frame)

    def _write_behind(self, frame: bytes) -> None:
        self.uncork()
        if self._queue:
            self._enqueue(frame)
        else:
            self._write(frame)

    def overflow(self) -> None:
        """Drop what is queued, and what there was no room for, and tell the owner."""
        self.dropped += 1
        self.discard()
        self._owner.fell_behind()

    def end(self, close: Close) -> None:
        """Have the session closed a turn later."""
        self._owner.end_soon(close)

    def discard(self) -> None:
        """Drop what is queued and send nothing more: the way of a close frame is free."""
        if self.ready:
            self.uncork()  # as if it had not waited
        self.closed = True
        self.ready = False
        self.dropped += len(self._queue or ()) + len(self._corked or ())
        self._queue = self._corked = None
        self._queue_bytes = 0

    def _enqueue(self, frame: bytes) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(frame)
        self._queue_bytes += len(frame)

    async def drained(self) -> None:
        """Return once the transport takes bytes again; at once while it does.

        Bounded by the write deadline: a peer that stops reading is aborted, and the waiting task with it.
        """
        while not self.ready and not self.closed:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def paused(self) -> None:
        """The transport's buffer is full: queue from now on, and give the peer a deadline to read on."""
        self._writable = self.ready = False
        self._give_deadline()

    def _give_deadline(self) -> None:
        if self._deadline is None and not self._writable:
            self._unsent_bytes = self._wire.unsent_bytes()
            self._arm()

    def _arm(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(
            self._limits.write_timeout_s, self._deadline_passed
        )

    def _deadline_passed(self) -> None:
        # A peer on a slow line makes progress and is let live; one that stopped reading is not.
        unsent = self._wire.unsent_bytes()
        if self._unsent_bytes - unsent >= self._limits.write_progress_bytes:
            self._unsent_bytes = unsent
            self._arm()
            return
        self._deadline = None
        self._wire.abort()

    def resumed(self) -> None:
        """The transport takes bytes again: send what waited, oldest first."""
        self._writable = True
        self._disarm()
        while self._queue and self._writable:
            frame = self._queue.popleft()
            self._queue_bytes -= len(frame)
            self._write(frame)  # may pause us again before it returns
        if self._writable and not self.closed:
            self.ready = True
            self._wake()
            self._owner.writable_again()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _wake(self) -> None:
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    def lost(self) -> None:
        """The connection is gone: forget everything, release whoever waits."""
        self.ready = False
        self.discard()
        self._disarm()
        self._wake()
