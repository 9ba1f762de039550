"""What a read sends: bytes in memory, a part of a data file, or pieces that are made on the way.

A content that is not sent is released; one that is sent is released by what `part` gave away.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from less_sync.volume.engine.data_file import FileSlice
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.format.checksums import Bytes
from less_sync.volume.http.ranges import ByteRange, Multipart
from less_sync.volume.http.response import Content as Body
from less_sync.volume.http.response import FilePart, Pieces

PIECE_BYTES: Final = 256 << 10
"""What is read from a file at once, in a thread, and lies in memory for a client that takes it slowly."""


class Content(Protocol):
    """`size` bytes."""

    @property
    def size(self) -> int:
        """All of them."""
        ...

    def part(self, start: int, length: int) -> Body:
        """A body of these bytes, which then releases the content."""
        ...

    def stream(self, start: int, length: int) -> AsyncGenerator[Bytes]:
        """These bytes, piece by piece; releases nothing."""
        ...

    def release(self) -> None:
        """Let go of what is held; call it once, and only if `part` was not called."""
        ...


class Owned(AsyncGenerator[Bytes]):
    """A generator that runs `release` when it is closed, even if nobody ever asked it for anything."""

    def __init__(self, pieces: AsyncGenerator[Bytes], release: Callable[[], Awaitable[None] | None]) -> None:
        self._pieces: Final = pieces
        self._release: Callable[[], Awaitable[None] | None] | None = release

    async def asend(self, value: None) -> Bytes:
        """As a generator does."""
        return await self._pieces.asend(value)

    async def athrow(self, *thrown: Any) -> Bytes:
        """As a generator does."""
        return await self._pieces.athrow(*thrown)

    async def aclose(self) -> None:
        """Close the pieces and let go of what they need; a second call does nothing."""
        release, self._release = self._release, None
        try:
            await self._pieces.aclose()
        finally:
            if release is not None and (released := release()) is not None:
                await released


class Held:
    """Bytes in memory."""

    __slots__ = ("_data", "size")

    def __init__(self, data: Bytes) -> None:
        self._data: Final = data
        self.size: Final = len(data)

    @property
    def data(self) -> Bytes:
        """All of them."""
        return self._data

    def first(self, length: int) -> Bytes:
        """Up to so many bytes from the start."""
        return self._data[:length]

    def part(self, start: int, length: int) -> Body:
        """A view, no copy."""
        return self._data if length == self.size else memoryview(self._data)[start : start + length]

    async def stream(self, start: int, length: int) -> AsyncGenerator[Bytes]:
        """One piece."""
        if length:
            yield memoryview(self._data)[start : start + length]

    def release(self) -> None:
        """Nothing is held."""


class Stored:
    """Bytes in a data file, which stays open meanwhile."""

    __slots__ = ("file", "size")

    def __init__(self, file: FileSlice) -> None:
        self.file: Final = file
        self.size: Final = file.length

    def first(self, length: int) -> Bytes:
        """Up to so many bytes from the start, read at once."""
        return self.file.read(0, length)

    def part(self, start: int, length: int) -> Body:
        """Where they lie; whoever sends them releases the file."""
        return FilePart(self.file, start, length)

    async def stream(self, start: int, length: int) -> AsyncGenerator[Bytes]:
        """Read in a thread, `PIECE_BYTES` at once."""
        end = start + length
        while start < end:
            piece = await to_the_end(asyncio.to_thread(self.file.read, start, min(PIECE_BYTES, end - start)))
            if not piece:
                raise EOFError("the data file ends before the record does")
            start += len(piece)
            yield piece

    def release(self) -> None:
        """Let go of the file."""
        self.file.release()


def several(content: Content, ranges: Sequence[ByteRange], framed: Multipart) -> Body:
    """A body of several ranges of `content`, which then is released by it."""
    if isinstance(content, Held):
        parts: list[Bytes] = []
        for head, one in zip(framed.heads, ranges, strict=True):
            parts += (head, memoryview(content.data)[one.start : one.start + one.length])
        return b"".join((*parts, framed.end))
    return Pieces(Owned(_parts(content, ranges, framed), _releaser(content)), framed.length)


def streamed(content: Content, start: int, length: int) -> Pieces:
    """A body of pieces, which releases `content`."""
    return Pieces(Owned(content.stream(start, length), _releaser(content)), length)


def _releaser(content: Content) -> Callable[[], None]:
    return content.release


async def _parts(content: Content, ranges: Sequence[ByteRange], framed: Multipart) -> AsyncGenerator[Bytes]:
    for head, one in zip(framed.heads, ranges, strict=True):
        yield head
        async for piece in content.stream(one.start, one.length):
            yield piece
    yield framed.end
