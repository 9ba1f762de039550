"""GET and HEAD of a file whose home is another server: passed on as it comes (docs/federation.md 10).

Nothing is stored here, and no more than a piece is held: the next one is asked of the home when the client
has taken enough of those before, and so TCP holds the home back.
"""

from contextlib import AsyncExitStack
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Send

from less_sync.sync.forwarding import (
    FileAsked,
    Forwarder,
    HomeFault,
    HomeRefused,
    HomeUnreachable,
    RemoteFile,
)
from less_sync.sync.http.body import Gone, unless_gone
from less_sync.sync.http.file_heads import RequestRefused
from less_sync.sync.http.file_reads import NO_FILE, begin_file, file_headers
from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE, ErrorCode

_REFUSALS: Final = {
    ErrorCode.NOT_FOUND: (404, NO_FILE),
    ErrorCode.FORBIDDEN: (403, "access denied"),
    ErrorCode.METHOD_NOT_FOUND: (409, HOSTED_ELSEWHERE),
}
"""What the home says of a file, as our own routes say it."""


async def relay_file(
    forwarder: Forwarder, asked: FileAsked, receive: Receive, send: Send, *, person: str
) -> Response | None:
    """Answer a GET or HEAD of somebody who may, as far as this server knows; None once something was sent.

    A client that hangs up ends the request to the home at once, whatever is waited for.

    Raises:
        RequestRefused: the home refuses, has no route for this, or cannot be reached.
        TooManyWaiting: of this person's requests.
        HomeFault: it failed in the middle. The client must not take what it has for the whole.
    """
    try:
        return await unless_gone(receive, _relay(forwarder, asked, send, person))
    except Gone:
        return None


async def _relay(forwarder: Forwarder, asked: FileAsked, send: Send, person: str) -> Response | None:
    async with AsyncExitStack() as stack:
        file = await _opened(forwarder, asked, person, stack)
        headers = file_headers(asked.file, file.wrapped_dek, file.size_bytes)
        if not asked.content:
            return Response(headers=headers)
        await begin_file(send, headers)
        async for piece in file.chunks:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    return None


async def _opened(forwarder: Forwarder, asked: FileAsked, person: str, stack: AsyncExitStack) -> RemoteFile:
    try:
        return await stack.enter_async_context(forwarder.file(asked, person=person))
    except HomeUnreachable:
        raise RequestRefused(503, "home server unavailable", may_pass=True) from None
    except HomeFault:
        raise RequestRefused(502, "invalid answer of the home server", may_pass=True) from None
    except HomeRefused as refused:
        raise RequestRefused(*_REFUSALS[ErrorCode(refused.code)]) from None
