"""Files that are stored compressed and sent as they were (RFC 1952).

A gzip stream of a megabyte can hold a gigabyte. What it holds is therefore counted first, and only kept if
it is short; the rest is inflated once more while it is sent, a piece at a time. What takes more than
`SLICE_BYTES` takes turns, and no thread is kept from others for longer than a slice.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Final, NamedTuple

from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.format.checksums import Bytes
from less_sync.volume.http.content import Content, Held, Stored, streamed
from less_sync.volume.http.heavy import BusyError, HeavyWork
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Content as Body

INFLATED_BYTES_MAX: Final = 4 << 30
"""More than that is not inflated at all."""
HELD_BYTES_MAX: Final = 4 << 20
"""More than that is not kept in memory."""
AT_ONCE_BYTES_MAX: Final = 256 << 10
"""As much is inflated on the event loop, some 0.5 ms; more in a thread."""
STORED_AT_ONCE_BYTES_MAX: Final = 32 << 10
SLICE_BYTES: Final = 16 << 20
"""What a thread inflates before others may have it, some 40 ms."""
_STORED_PIECE_BYTES: Final = 16 << 10
_INFLATED_PIECE_BYTES: Final = 256 << 10
_PIECE_COSTS_BYTES: Final = 1 << 10
"""So much is inflated in the time that every piece costs, an empty one too."""
_GZIP: Final = 16 + zlib.MAX_WBITS

Read = Callable[[int, int], Bytes]
"""Bytes of the stored stream: where, how many."""


class DamagedGzipError(Exception):
    """What is stored is no whole gzip stream."""


class TooLongError(Exception):
    """It holds more than may be inflated."""


class Measured(NamedTuple):
    """What a stream holds: how many bytes, and the bytes if they are few."""

    size: int
    data: bytes | None


def is_gzip(start: Bytes) -> bool:
    """Whether bytes begin like a gzip stream."""
    return bytes(start[:2]) == b"\x1f\x8b"


def inflate(read: Read, stored_bytes: int) -> Iterator[bytes]:
    """What a gzip stream of one or more members holds, in pieces of at most 256 KiB; some may be empty.

    Raises:
        DamagedGzipError: at the place where it is damaged, or at its end if it is cut short.
    """
    decoder = zlib.decompressobj(_GZIP)
    at, waiting = 0, b""
    while True:
        if not waiting and at < stored_bytes:
            waiting = bytes(read(at, min(_STORED_PIECE_BYTES, stored_bytes - at)))
            at += len(waiting)
        if decoder.eof:
            if not waiting:
                return
            decoder = zlib.decompressobj(_GZIP)
        try:
            piece = decoder.decompress(waiting, _INFLATED_PIECE_BYTES)
        except zlib.error as error:
            raise DamagedGzipError(str(error)) from None
        if piece or decoder.eof:
            yield piece
        elif not waiting and not decoder.eof:
            # Neither input nor output is left, and the member has not ended.
            raise DamagedGzipError("the stream is cut short")
        waiting = decoder.unused_data if decoder.eof else decoder.unconsumed_tail


class Measuring:
    """Inflates a stream and keeps what is in it up to `held_bytes_max`. A damaged one holds nothing."""

    def __init__(self, read: Read, stored_bytes: int, held_bytes_max: int, bytes_max: int) -> None:
        self._pieces: Final = inflate(read, stored_bytes)
        self._held_bytes_max: Final = held_bytes_max
        self._bytes_max: Final = bytes_max
        self._size = 0
        self._kept: list[bytes] | None = []

    def go_on(self, count: int) -> Measured | None:
        """Inflate some `count` bytes more, or members that cost as much; None if that was not all.

        Raises:
            TooLongError: it holds more than `bytes_max`.
        """
        try:
            for piece in self._pieces:
                self._take(piece)
                count -= len(piece) + _PIECE_COSTS_BYTES
                if count <= 0:
                    return None
        except DamagedGzipError:
            return Measured(0, b"")
        return Measured(self._size, None if self._kept is None else b"".join(self._kept))

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise TooLongError(f"more than {self._bytes_max} bytes")
        if self._size > self._held_bytes_max:
            self._kept = None
        elif self._kept is not None:
            self._kept.append(piece)


def measure(read: Read, stored_bytes: int, held_bytes_max: int, bytes_max: int) -> Measured:
    """The same at once, for what is short."""
    measuring = Measuring(read, stored_bytes, held_bytes_max, bytes_max)
    while (found := measuring.go_on(SLICE_BYTES)) is None:
        pass
    return found


class Inflated:
    """What a stored gzip stream holds, inflated while it is sent."""

    __slots__ = ("_request", "_stored", "_work", "size")

    def __init__(self, stored: Held | Stored, size: int, work: HeavyWork, request: Request) -> None:
        self._stored: Final = stored
        self._work: Final = work
        self._request: Final = request
        self.size: Final = size

    def part(self, start: int, length: int) -> Body:
        """Pieces, which let go of the stored stream."""
        return streamed(self, start, length)

    async def stream(self, start: int, length: int) -> AsyncGenerator[Bytes]:
        """Inflated in a thread, piece by piece, from the start of the stream whatever `start` is.

        Raises:
            BusyError: `start` is far behind, and too many others wait for what takes long.
        """
        pieces = inflate(_reader(self._stored), self._stored.size)
        before, missing = start, length
        if missing and before > SLICE_BYTES:
            async with self._work.turn(self._request):
                while before > SLICE_BYTES:
                    if self._request.gone:
                        raise BusyError
                    before -= await to_the_end(asyncio.to_thread(_skip, pieces, SLICE_BYTES))
        while missing:
            piece = await to_the_end(asyncio.to_thread(_next_behind, pieces, before))
            if piece is None:
                raise EOFError("a gzip stream has become shorter")
            before = 0
            wanted = piece[:missing]
            missing -= len(wanted)
            yield wanted

    def release(self) -> None:
        """Let go of the stored stream."""
        self._stored.release()


def inflate_at_once(stored: Held | Stored) -> Held | None:
    """What a short stream in memory holds, if that is short too; otherwise `inflated` has to be asked."""
    if isinstance(stored, Stored) or stored.size > STORED_AT_ONCE_BYTES_MAX:
        return None
    try:
        found = measure(_reader(stored), stored.size, AT_ONCE_BYTES_MAX, AT_ONCE_BYTES_MAX)
    except TooLongError:
        return None
    return Held(found.data or b"")


async def inflated(
    stored: Held | Stored,
    work: HeavyWork,
    request: Request,
    *,
    held_bytes_max: int = HELD_BYTES_MAX,
    bytes_max: int = INFLATED_BYTES_MAX,
) -> Content:
    """What a stream holds, whether it is damaged or not; `stored` is released or belongs to the answer.

    Raises:
        TooLongError: more than `bytes_max`.
        BusyError: it is long, and too many others wait already, or the client has left.
    """
    measuring = Measuring(_reader(stored), stored.size, held_bytes_max, bytes_max)
    try:
        found = await to_the_end(asyncio.to_thread(_go_on, measuring, request))
        if found is None:
            async with work.turn(request):
                while found is None:
                    found = await to_the_end(asyncio.to_thread(_go_on, measuring, request))
    except BaseException:
        stored.release()
        raise
    if found.data is None:
        return Inflated(stored, found.size, work, request)
    stored.release()
    return Held(found.data)


def _reader(stored: Held | Stored) -> Read:
    if isinstance(stored, Stored):
        return stored.file.read
    view = memoryview(stored.data)
    return lambda start, length: view[start : start + length]


def _go_on(measuring: Measuring, request: Request) -> Measured | None:
    if request.gone:  # perhaps since it waits for a thread
        raise BusyError
    return measuring.go_on(SLICE_BYTES)


def _skip(pieces: Iterator[bytes], count: int) -> int:
    """Throw pieces away until there were some `count` bytes, at most one piece more; tells how many.

    Raises:
        EOFError: there were none left.
    """
    skipped = 0
    while skipped < count - _INFLATED_PIECE_BYTES:
        piece = next(pieces, None)
        if piece is None:
            raise EOFError("a gzip stream has become shorter")
        skipped += len(piece)
    return skipped


def _next_behind(pieces: Iterator[bytes], before: int) -> bytes | None:
    """The next piece behind `before` bytes that are thrown away."""
    for piece in pieces:
        if before < len(piece):
            return piece[before:]
        before -= len(piece)
    return None
