"""Sending bodies that are not in memory, no faster than the client takes them."""

import asyncio
from typing import Final, Protocol

from less_sync.volume.http.response import FilePart, Pieces, Response

PIECE_BYTES: Final = 256 << 10
"""Of a file that is in memory at once for one client."""


class Client(Protocol):
    """The connection that is written to."""

    transport: asyncio.Transport

    @property
    def is_head_only(self) -> bool:
        """Nothing of the body is to be sent."""
        ...

    async def drained(self) -> None:
        """Wait until everything written has left. Raises `ConnectionResetError`."""
        ...


async def send_file(client: Client, head: bytes, part: FilePart) -> None:
    """Send a part of a file behind a head, a piece at a time.

    Raises:
        OSError: the file could not be read, or is shorter than it was.
        ConnectionResetError: the client is gone.
    """
    start, left = part.start, 0 if client.is_head_only else part.length
    before = head
    if not left:
        client.transport.write(head)
        await client.drained()
    while left:
        piece = part.file.read(start, min(PIECE_BYTES, left))
        if not piece:
            raise OSError("the file ends within what was promised of it")
        client.transport.writelines((before, piece) if before else (piece,))
        before = b""
        start += len(piece)
        left -= len(piece)
        await client.drained()


async def send_pieces(client: Client, head: bytes, body: Pieces, *, chunked: bool) -> None:
    """Send pieces as they come behind a head; of unknown length, and if `chunked` is possible, as chunks.

    Raises:
        ConnectionResetError: the client is gone.
        OSError: there were fewer or more bytes than promised.
    """
    client.transport.write(head)
    if client.is_head_only:
        await close_pieces(body)
        await client.drained()
        return
    chunked = chunked and body.length is None
    sent = 0
    try:
        async for piece in body.pieces:
            if not len(piece):
                continue
            sent += len(piece)
            if body.length is not None and sent > body.length:
                raise OSError("more came than was promised")
            if chunked:
                client.transport.writelines((f"{len(piece):x}\r\n".encode(), piece, b"\r\n"))
            else:
                client.transport.write(piece)
            await client.drained()
    finally:
        await close_pieces(body)
    if body.length is not None and sent < body.length:
        raise OSError("less came than was promised")
    if chunked:
        client.transport.write(b"0\r\n\r\n")
    await client.drained()


async def close_pieces(body: Pieces) -> None:
    """Let go of what makes pieces, if it can be told so, whether or not it was ever asked for one."""
    close = getattr(body.pieces, "aclose", None)
    if close is not None:
        await close()


def let_go(response: Response) -> None:
    """Release what an answer held, and say that it was sent."""
    body, sent = response.body, response.sent
    response.body, response.sent = b"", None
    if isinstance(body, FilePart):
        body.file.release()
    if sent is not None:
        sent()
