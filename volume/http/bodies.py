"""Buffers that request bodies are received into, so that a record is completed around them without a copy.

A body takes memory as its bytes arrive, not as they are announced: a client that announces much and sends
nothing holds `FIRST_BYTES`, one that sends a little more `SMALL_BYTES`: a new buffer is cleared, and so takes
all its memory at once. Buffers of usual sizes are used again, which saves clearing them.
"""

from typing import Final

from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.needle import HEAD_BYTES, TAIL_BYTES_MAX
from less_sync.volume.http.request import Body

ROOM_BEFORE_BYTES: Final = HEAD_BYTES
FIRST_BYTES: Final = 16 << 10
"""What a body gets before more of it has arrived."""
SMALL_BYTES: Final = 128 << 10
MEDIUM_BYTES: Final = 1 << 20
STEP_BYTES: Final = 1 << 20
"""By how much a larger body grows."""
KEPT_MAX: Final = 64
"""Buffers of each size that wait for use; those that none comes for are freed within seconds."""

_ZEROS: Final = memoryview(bytes(STEP_BYTES))


AROUND_BYTES: Final = ROOM_BEFORE_BYTES + TAIL_BYTES_MAX


class BodyPool:
    """Buffers of two sizes that wait for the next body. Belongs to the event loop."""

    __slots__ = ("medium", "small")

    def __init__(self) -> None:
        self.small: Final = Buffers(SMALL_BYTES)
        self.medium: Final = Buffers(MEDIUM_BYTES)

    def give(self, buffer: bytearray) -> None:
        """Take a buffer back that nobody will use any more."""
        length = len(buffer)
        if length == self.small.length:
            self.small.give(buffer)
        elif length == self.medium.length:
            self.medium.give(buffer)

    def trim(self) -> None:
        """Free what nobody has needed since the last call."""
        self.small.trim()
        self.medium.trim()


class Buffers:
    """Buffers of one size: `capacity` bytes of body and room for what goes around it."""

    __slots__ = ("_kept", "_unneeded", "length")

    def __init__(self, capacity: int) -> None:
        self.length: Final = capacity + AROUND_BYTES
        self._kept: list[bytearray] = []
        self._unneeded = 0
        """So many have lain here all the time since the last `trim`."""

    def take(self) -> bytearray:
        """One that nobody looks at; its content is of no meaning."""
        kept = self._kept
        while kept:
            buffer = kept.pop()
            self._unneeded = min(self._unneeded, len(kept))
            try:
                # A buffer of which a view is left refuses to change its length, and is let go: what the view
                # shows must stay. That is asked here and not when it is given back, because a transport that
                # has just filled it looks at it a little longer.
                del buffer[-1:]
                buffer.append(0)
            except BufferError:
                continue
            return buffer
        return bytearray(self.length)

    def give(self, buffer: bytearray) -> None:
        """Keep it for the next body, if there are not too many."""
        if len(self._kept) < KEPT_MAX:
            self._kept.append(buffer)

    def trim(self) -> None:
        """Free those that were not needed since the last call."""
        del self._kept[: self._unneeded]
        self._unneeded = len(self._kept)


class Incoming:
    """A body that arrives: `bytes_expected` of it, or an unknown number (None), at most `bytes_max`.

    What comes beyond `bytes_max` is counted and thrown away, and so is all that was kept till then.
    """

    __slots__ = ("_capacity", "_pool", "body", "bytes_expected", "bytes_max", "bytes_received")

    def __init__(self, pool: BodyPool, bytes_expected: int | None, bytes_max: int) -> None:
        self._pool: Final = pool
        self.bytes_expected: Final = bytes_expected
        self.bytes_max: Final = bytes_max
        self.bytes_received = 0
        self._capacity = 0
        buffer = bytearray() if bytes_expected else bytearray(AROUND_BYTES)
        self.body: Final = Body(buffer, ROOM_BEFORE_BYTES, ROOM_BEFORE_BYTES)
        if bytes_expected is not None and bytes_expected > bytes_max:
            self._overflow()

    @property
    def bytes_missing(self) -> int:
        """Of those expected."""
        assert self.bytes_expected is not None
        return self.bytes_expected - self.bytes_received

    def room(self) -> memoryview | None:
        """Where the next bytes go, never more than are missing; None if they are thrown away."""
        body = self.body
        if body.too_large:
            return None
        free = self._capacity - self.bytes_received
        if not free:
            self._grow(self.bytes_received + 1)
            free = self._capacity - self.bytes_received
        return memoryview(body.buffer)[body.end : body.end + min(free, self.bytes_missing)]

    def advance(self, count: int) -> None:
        """So many bytes were put where `room` said, or thrown away."""
        self.bytes_received += count
        if not self.body.too_large:
            self.body.end += count

    def add(self, data: Bytes) -> None:
        """Copy bytes that arrived elsewhere."""
        body = self.body
        total = self.bytes_received + len(data)
        if total > self.bytes_max and not body.too_large:
            self._overflow()
        if not body.too_large:
            if total > self._capacity:
                self._grow(total)
            body.buffer[body.end : body.end + len(data)] = data
            body.end += len(data)
        self.bytes_received = total

    def _grow(self, capacity_min: int) -> None:
        """Get room for so many bytes, of which all but one at the most are here."""
        body, expected = self.body, self.bytes_expected
        former = body.buffer
        if capacity_min <= FIRST_BYTES and capacity_min != expected:
            body.buffer, self._capacity = bytearray(FIRST_BYTES + AROUND_BYTES), FIRST_BYTES
        elif capacity_min <= SMALL_BYTES:
            body.buffer, self._capacity = self._pool.small.take(), SMALL_BYTES
        elif capacity_min <= MEDIUM_BYTES:
            body.buffer, self._capacity = self._pool.medium.take(), MEDIUM_BYTES
        else:
            while self._capacity < capacity_min:
                body.buffer.extend(_ZEROS)
                self._capacity = len(body.buffer) - AROUND_BYTES
            return
        if body.end > body.start:
            body.buffer[body.start : body.end] = memoryview(former)[body.start : body.end]
            self._pool.give(former)

    def _overflow(self) -> None:
        body = self.body
        body.too_large = True
        self._pool.give(body.buffer)
        body.buffer = bytearray(AROUND_BYTES)
        body.end = body.start
