"""Requests on their way to one peer, in the order in which they were made.

A request waits for a place, of which people take turns; then, with a place, for the connection; then for its
answer. It is written when it is the first of its person's that wait for the connection, the person's turn has
come, and the connection takes it. When a connection ends, what was written and may be sent again goes back
before what was not written yet, so that the order outlives it.
"""

import asyncio

from less_sync.federation.outbound.calls import PeerFault, PeerLost, PeerUnreachable, Repeat
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.federation.outbound.socket import PeerSocket
from less_sync.storage import Turns
from less_sync.sync.client.connection import RawLink
from less_sync.sync.client.errors import SyncClientError
from less_sync.sync.protocol.frames import Chunk, Response

REQUEST_BYTES = 4096
"""What a request counts for beside its own bytes: its task, its future, its places in the tables."""

DIALS_FAILED_MAX = 2
"""So many in a row end a request that waits for the connection."""


class Line:
    """One open connection."""

    __slots__ = ("link", "socket")

    def __init__(self, socket: PeerSocket, link: RawLink) -> None:
        self.socket = socket
        self.link = link


class Waiting:
    """Whatever waits for the connection."""

    __slots__ = ("id", "lost", "missed", "person", "written")

    def __init__(self, request_id: str, person: str) -> None:
        self.id = request_id
        self.person = person
        self.written = False
        """At least once: what the peer did with it is unknown."""
        self.lost = False
        self.missed = 0

    def send(self, line: Line) -> None:
        """It is its turn on this connection."""
        raise AssertionError

    def end(self) -> None:
        """It has failed for good."""
        raise AssertionError

    def fault(self) -> PeerFault:
        """How it has failed."""
        return PeerLost() if self.written else PeerUnreachable()


class Request(Waiting):
    """One request, for as long as its caller waits.

    Args:
        tied: it ends with its connection; otherwise the outbox decides.
    """

    __slots__ = ("_tied", "answer", "frame", "repeat")

    def __init__(
        self, request_id: str, person: str, frame: bytes, repeat: Repeat, *, tied: bool = False
    ) -> None:
        super().__init__(request_id, person)
        self.frame = frame
        self.repeat = repeat
        self._tied = tied
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def send(self, line: Line) -> None:
        """Write it."""
        line.link.expect(self.id, self)
        self.written = True
        line.socket.write(self.frame)

    async def put(self, frame: Chunk | Response, size_bytes: int) -> None:
        """The response; a chunk of it is nobody's."""
        if isinstance(frame, Response) and not self.answer.done():
            self.answer.set_result(frame)

    def fail(self, error: SyncClientError) -> None:
        """The connection ended."""
        if self._tied:
            self.end()

    def end(self) -> None:
        """Tell the caller, if he still waits."""
        if not self.answer.done():
            self.answer.set_exception(self.fault())
            self.answer.exception()  # whoever was cancelled just now is not told


class Ticket(Waiting):
    """Waits for the connection to write something else on it."""

    __slots__ = ("line",)

    def __init__(self, request_id: str, person: str) -> None:
        super().__init__(request_id, person)
        self.line: asyncio.Future[Line] = asyncio.get_running_loop().create_future()

    def send(self, line: Line) -> None:
        """There it is."""
        if not self.line.done():
            self.line.set_result(line)

    def end(self) -> None:
        """There will be none."""
        if not self.line.done():
            self.line.set_exception(self.fault())
            self.line.exception()


class _Lane:
    """Requests of one person that have no place yet."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Outbox:
    """All requests of a link, and the connection they go over while there is one."""

    def __init__(self, limits: LinkLimits) -> None:
        self._limits = limits
        self._turns = Turns(limits.calls_in_flight)
        self._lanes: dict[str, _Lane] = {}
        self._unwritten: dict[str, dict[str, Waiting]] = {}
        """By person, the one whose turn it is first; each in the order of his requests."""
        self._written: dict[str, Request] = {}
        self._held: dict[str, int] = {}
        self._held_bytes = 0
        self._line: Line | None = None

    @property
    def busy(self) -> bool:
        """Whether anybody waits for anything."""
        return bool(self._held)

    @property
    def line(self) -> Line | None:
        """The connection, once everything wanted was subscribed to again, and until it ends."""
        line = self._line
        return None if line is None or line.link.ended else line

    # What callers do.

    def take_room(self, person: str, size_bytes: int) -> None:
        """Count the bytes of a request, until `leave_room`.

        Nobody may hold more than what is free besides: one person gets half, the next half of the rest. So
        there is always room for somebody who has nothing here.

        Raises:
            PeerUnreachable: there is no room.
        """
        size_bytes += REQUEST_BYTES
        held = self._held.get(person, 0)
        if held + size_bytes > self._limits.held_bytes - self._held_bytes:
            raise PeerUnreachable
        self._held[person] = held + size_bytes
        self._held_bytes += size_bytes

    def leave_room(self, person: str, size_bytes: int) -> None:
        """A request of so many bytes is over."""
        size_bytes += REQUEST_BYTES
        self._held_bytes -= size_bytes
        self._held[person] -= size_bytes
        if not self._held[person]:
            del self._held[person]

    async def take_place(self, person: str) -> None:
        """Wait for a place. Whoever has one adds the request before awaiting anything else: order is kept."""
        if not person:
            return
        lane = self._lanes.get(person)
        if lane is None:
            if self._turns.take_now(person):
                return
            lane = self._lanes[person] = _Lane()
        lane.users += 1
        try:
            # One request of a person at a time asks for a turn: who has got one resumes only later, and
            # meanwhile the next one could find a free place and be written first.
            async with lane.lock:
                await self._turns.acquire(person)
        finally:
            lane.users -= 1
            if not lane.users:
                del self._lanes[person]

    def leave_place(self, person: str) -> None:
        """Give a place back."""
        if person:
            self._turns.release(person)

    def add(self, request: Waiting) -> None:
        """Send a request, or let it wait behind those that do."""
        self._unwritten.setdefault(request.person, {})[request.id] = request
        self.flush()

    def forget(self, request: Waiting) -> None:
        """Nobody waits for it any more."""
        self._take(request)
        if self._written.pop(request.id, None) is not None and self._line is not None:
            self._line.link.forget(request.id)

    # What the link does.

    def attach(self, line: Line) -> None:
        """The connection is there: write what waits."""
        self._line = line
        line.socket.on_writable = self.flush
        self.flush()

    def flush(self) -> None:
        """Write what waits, as long as the connection takes it: one of each person's, round and round.

        Otherwise whoever has megabytes there would hold up everybody else by all of them.
        """
        line = self.line
        while self._unwritten and line is not None and line.socket.writable and not line.link.ended:
            person, own = next(iter(self._unwritten.items()))
            request = own.pop(next(iter(own)))
            del self._unwritten[person]
            if own:
                self._unwritten[person] = own
            request.send(line)
            if isinstance(request, Request):
                self._written[request.id] = request

    def detach(self) -> None:
        """The connection ended: what may be sent again is, by the next."""
        again: dict[str, dict[str, Waiting]] = {}
        for request in self._written.values():
            if request.answer.done():
                continue  # its caller resumes in a moment
            if request.lost or request.repeat is Repeat.IF_UNWRITTEN:
                request.end()
            else:
                request.lost = True
                again.setdefault(request.person, {})[request.id] = request
        for person, own in self._unwritten.items():
            again[person] = again.get(person, {}) | own
        self._unwritten = again
        self._written = {}
        self._line = None

    def put_off(self, next_s: float, *, dial_failed: bool) -> None:
        """There is no connection, and the next dial is so far away: whoever has waited enough is told."""
        for request in self._waiting():
            request.missed += dial_failed
            if request.missed >= DIALS_FAILED_MAX or next_s > self._limits.retry_within_s:
                self._take(request)
                request.end()

    def end_all(self) -> None:
        """The link stops: everybody is told."""
        for request in (*self._written.values(), *self._waiting()):
            request.end()
        self._written.clear()
        self._unwritten.clear()
        self._line = None

    def _waiting(self) -> list[Waiting]:
        return [request for own in self._unwritten.values() for request in own.values()]

    def _take(self, request: Waiting) -> None:
        own = self._unwritten.get(request.person)
        if own is not None and own.pop(request.id, None) is not None and not own:
            del self._unwritten[request.person]
