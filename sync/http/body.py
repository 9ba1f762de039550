"""Bodies as streams: one that comes in, bounded in length, memory and waiting, and one that goes out.

Both hold one piece at a time. What TCP still holds back is the connection's business (`http1`): it reads on
when the next piece is asked for, and takes the next one when enough of the former has left.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from starlette.types import Message, Receive, Send

from less_sync.storage import CHUNK_BYTES_MAX

T = TypeVar("T")


class Gone(Exception):
    """The client has hung up while its answer was made: nobody is left to answer."""


class BodyError(Exception):
    """A request's body is not what its head says. Base of all below."""


class BodyStalled(BodyError):
    """No byte came for too long."""


class BodyCut(BodyError):
    """The connection ended before the body did: nobody is left to answer."""


class BodyTooLong(BodyError):
    """More bytes came than were declared. Only a caller without HTTP below it can do that."""


class BodyTooShort(BodyError):
    """The body ended before the declared length. Only a caller without HTTP below it can do that."""


async def read_body(receive: Receive, *, length: int, stall_s: float) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes, 1 byte to `CHUNK_BYTES_MAX` at a time; nothing if it is empty.

    The first step asks for the body, and so sends the `100 Continue` that a client may wait for.

    Args:
        length: what `Content-Length` says, bytes.
        stall_s: bounds each wait for the client; the time in which nobody asks for a piece does not count.

    Raises:
        BodyStalled: no byte came for `stall_s`.
        BodyCut: the client went away.
        BodyTooLong: the body has more bytes than `length`; those up to it may have been yielded.
        BodyTooShort: the body has fewer.
    """
    left, more = length, True
    while more:
        message = await _next_message(receive, stall_s)
        if message["type"] == "http.disconnect":
            raise BodyCut
        data: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        left -= len(data)
        if left < 0:
            raise BodyTooLong
        if 0 < len(data) <= CHUNK_BYTES_MAX:
            yield data
            continue
        for start in range(0, len(data), CHUNK_BYTES_MAX):
            yield data[start : start + CHUNK_BYTES_MAX]
    if left:
        raise BodyTooShort


async def _next_message(receive: Receive, stall_s: float) -> Message:
    try:
        async with asyncio.timeout(stall_s):
            return await receive()
    except TimeoutError:
        raise BodyStalled from None


async def send_body(send: Send, receive: Receive, chunks: AsyncIterator[bytes]) -> bool:
    """Send the rest of a response, whose start was sent, and end it.

    The next piece is asked for when the client has taken enough of those before. How long a client may take
    nothing is the connection's bound: beyond it, the client is gone.

    Args:
        receive: tells when the client has gone. What it still sends of a body is discarded.
        chunks: whoever opened their source closes it once this has returned, or raised what they raised.

    Returns:
        False when the client went away: it has not got everything, and the source was not read to its end.
    """
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if gone.done():
                return False
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True
    finally:
        gone.cancel()


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled as soon as the client hangs up.

    Args:
        receive: nothing else may ask it meanwhile. What still comes of a body is discarded.

    Raises:
        Gone: the client hung up first.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        return working.result()
    finally:
        gone.cancel()
        if working.cancel():
            await asyncio.wait({working})
            if not working.cancelled():
                working.exception()  # nobody is told how it ended


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
