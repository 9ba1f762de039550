"""One HTTP connection: requests in, answers out, in order.

    HEAD      between requests, or a part of a head is here
    BODY      a body of known length arrives, straight into its buffer
    CHUNKED   a chunked body arrives
    BUSY      a request is being answered; what the client sends meanwhile waits, bounded
    SKIP      the rest of a body that nobody read is thrown away, up to a bound
    CLOSING   the answer is the last one; whatever arrives is thrown away until the client closes

What a stranger can make a connection hold: a head of `HEAD_BYTES_MAX`, `PIPELINED_BYTES_MAX` of further
requests, a body as far as it has arrived (`bodies`), and an answer of which it takes nothing (`sending`).
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

from less_sync.volume.http.bodies import Incoming
from less_sync.volume.http.chunked import ChunkedBody
from less_sync.volume.http.handlers import Begun, Finished, Handler
from less_sync.volume.http.head import HEAD_BYTES_MAX, BadHead, HeadReader, find_end, too_long
from less_sync.volume.http.json_text import json_error
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import STREAMED, FilePart, Pieces, Response
from less_sync.volume.http.sending import close_pieces, let_go, send_file, send_pieces
from less_sync.volume.http.usual_heads import NOTHING
from less_sync.volume.http.writing import CONTINUE, encode_head
from less_sync.volume.logs import Logger

if TYPE_CHECKING:
    from less_sync.volume.http.listener import Listener

PIPELINED_BYTES_MAX: Final = 64 << 10
"""What may wait while a request is answered; then the connection is no longer read."""
SKIPPED_BYTES_MAX: Final = 256 << 10
"""Of a body that nobody read, for the connection to be kept."""
JOINED_BYTES_MAX: Final = 32 << 10
"""Up to here head and body are sent as one piece."""
TURN_REQUESTS_MAX: Final = 32
"""Of one connection that are answered before others have their turn."""
HEAD, BODY, CHUNKED, BUSY, SKIP, CLOSING = range(6)
_LINE_ENDS: Final = re.compile(rb"[\r\n]*")

_log = Logger(__name__)


class Connection(asyncio.BufferedProtocol):
    """A client's connection to a `Listener`, which it belongs to from the first byte to the last."""

    def __init__(self, listener: "Listener") -> None:
        self.listener: Final = listener
        self.state = HEAD
        self.seen = listener.tick
        """The listener's tick when bytes last moved."""
        self.unsent_bytes = 0
        """What the client had still to take when the listener last looked."""
        self.transport: asyncio.Transport
        self.peer_ip = ""
        self.heads: Final = HeadReader()
        self.known = NOTHING
        """What the last head says of the next (`usual`)."""
        self._pending = bytearray()
        self._searched = 0
        """So much of `_pending` holds no end of a head."""
        self._is_processing = False
        self._is_resting = False
        """Its turn is over; it goes on with what is pending in the next one."""
        self._reading = True
        self._ended = False
        """The client has closed its side."""
        self._lost = False
        self._request: Request | None = None
        self._handler: Handler | None = None
        self._incoming: Incoming | None = None
        self._chunked: ChunkedBody | None = None
        self._skip_bytes = 0
        self._response: Response | None = None
        self._task: asyncio.Task[None] | None = None
        self._closes = False
        self.closing_tick = 0
        """The listener's tick when the last answer was written."""
        self._drained: asyncio.Future[None] | None = None

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The listener may refuse it."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        peer = self.transport.get_extra_info("peername")
        self.peer_ip = peer[0] if peer else ""
        # An answer counts as sent when the client's system has it: everything is written at once as far as
        # it can be, and `resume_writing` means that the rest has left too.
        # Over TLS a bound of 0 would be reached by nothing at all, so that pauses and their ends would come
        # without anything written.
        is_tls = self.transport.get_extra_info("sslcontext") is not None
        self.transport.set_write_buffer_limits(high=1 if is_tls else 0, low=0)
        self.listener.add(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """A body's own buffer while one arrives, else one that all connections share."""
        if self.state == BODY:
            assert self._incoming is not None
            room = self._incoming.room()
            if room is not None:
                return room
        return self.listener.scratch_view

    def buffer_updated(self, count: int) -> None:
        """Bytes are where `get_buffer` said."""
        state = self.state
        if state == CLOSING:
            return
        self.seen = self.listener.tick
        if state == BODY:
            self._take_body(count)
        elif state == HEAD and not self._pending:
            listener = self.listener
            scratch, usual = listener.scratch, listener.usual
            if usual is not None and not listener.is_closing and usual.answer(self, scratch, count):
                return
            at = self._process(scratch, 0, count)
            if at < count and self.state != CLOSING:
                self._keep(self.listener.scratch_view[at:count])
        else:
            self._keep(self.listener.scratch_view[:count])
            self._process_pending()

    def eof_received(self) -> bool:
        """The client sends no more. What it asked for is still answered."""
        self._ended = True
        if self._is_resting:
            pass  # what is pending comes first
        elif self.state in (BODY, CHUNKED):
            self._body_broken("unexpected EOF")
        elif self.state == BUSY:
            self._tell_gone()
        else:
            self.transport.close()
        return self.state == BUSY or self._is_resting

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was under way is over, or will be when its coroutine ends."""
        self._lost = self._ended = True
        self._pending.clear()
        self.listener.remove(self)
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError("the client closed the connection"))
            self._drained.exception()  # whoever waits gets it; nobody else has to
        self._tell_gone()
        if self._request is not None and self._task is None:
            self._over()

    def pause_writing(self) -> None:
        """Nothing to do: whoever writes looks at the transport."""

    def resume_writing(self) -> None:
        """Everything written so far has left."""
        self.seen = self.listener.tick
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
        elif self._response is not None and self._task is None:
            self._over()
            self._process_pending()

    # Input

    def _keep(self, data: memoryview) -> None:
        """Put bytes behind those that wait; too many and the connection is not read for now."""
        self._pending += data
        waits = self.state == BUSY or self._is_resting
        if waits and len(self._pending) > PIPELINED_BYTES_MAX and self._reading:
            self._reading = False
            self.transport.pause_reading()

    def _process_pending(self) -> None:
        if self._is_processing or self._is_resting:
            return
        used = self._process(self._pending, 0, len(self._pending))
        if used:
            del self._pending[:used]
            self._searched = 0
        if not self._reading and len(self._pending) <= PIPELINED_BYTES_MAX and not self._lost:
            self._reading = True
            self.transport.resume_reading()
        if not self._is_resting:
            self._look_at_end()

    def _rest(self) -> None:
        """Let others have their turn before what is pending is read on.

        The system hands over 4 MiB at once. So many tiny requests or chunks would keep everybody else waiting
        for seconds.
        """
        self._is_resting = True
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_resting = False
        self._process_pending()

    def _process(self, buffer: bytearray, at: int, end: int) -> int:
        """Read what can be read of `buffer[at:end]` now, and say where the rest begins."""
        self._is_processing = True
        heads_left = TURN_REQUESTS_MAX
        try:
            while at < end:
                state = self.state
                if state == HEAD:
                    if not heads_left:
                        self._rest()
                        break
                    heads_left -= 1
                    start = at
                    at = self._read_head(buffer, at, end)
                    if at == start and self.state == HEAD:
                        break
                elif state == CHUNKED:
                    assert self._chunked is not None
                    at = self._chunked.feed(buffer, at, end)
                    self._look_at_chunks()
                    if at < end and self.state == CHUNKED:
                        self._rest()
                        break
                elif state == SKIP:
                    at = self._skip(buffer, at, end)
                    if at < end and self.state == SKIP:
                        self._rest()
                        break
                elif state == BODY:
                    at = self._copy_body(buffer, at, end)
                elif state == CLOSING:
                    return end
                else:
                    break
        finally:
            self._is_processing = False
        return at

    def _read_head(self, buffer: bytearray, at: int, end: int) -> int:
        if buffer[at] in b"\r\n":  # after a body some clients send a line end too much
            return _LINE_ENDS.match(buffer, at, end).end()  # type: ignore[union-attr]  # it matches nothing too
        head_end = find_end(buffer, max(at, self._searched - 3), end)
        self._searched = 0
        if head_end < 0:
            if end - at > HEAD_BYTES_MAX:
                self._refuse(too_long())
            elif buffer is self._pending:
                self._searched = end
            return at
        try:
            if head_end - at > HEAD_BYTES_MAX:
                raise too_long()
            request = self.heads.read(bytes(buffer[at:head_end]))
        except BadHead as bad:
            self._refuse(bad)
            return head_end
        request.peer_ip = self.peer_ip
        request.is_public = self.listener.is_public
        self._start(request)
        return head_end

    def _refuse(self, bad: BadHead) -> None:
        self.listener.counters.heads_refused += 1
        self.transport.write(bad.encode())
        self._close()

    # A request

    def _start(self, request: Request) -> None:
        listener = self.listener
        self._request = request
        listener.count_in(request)
        self.state = BUSY
        if request.unmet_expectation:
            request.keep_alive = False
            self._handler = listener.refusals
            self._answer(Response(417))
            return
        handler = self._handler = listener.route(request)
        try:
            begun = handler.begin(request)
        except Exception as fault:
            begun = self._failed(request, fault)
        self._take_begun(begun)

    def _take_begun(self, begun: Begun | Finished) -> None:
        if begun is None:
            self._read_body()
        elif isinstance(begun, Response):
            self._answer(begun)
        else:
            self._task = asyncio.get_running_loop().create_task(self._run(begun))

    async def _run(self, work: Coroutine[Any, Any, Response | None]) -> None:
        """Wait for an answer, and send it."""
        request = self._request
        assert request is not None
        try:
            response = await work
        except Exception as fault:
            response = self._failed(request, fault)
        self._task = None
        if response is not None:
            self._answer(response)
        elif self._lost:
            self._over()
        else:
            self._read_body()
        self._process_pending()

    def _failed(self, request: Request, fault: Exception) -> Response:
        _log.error("request failed", fault=fault, method=request.method, file=request.shown)
        return Response(500)

    def _read_body(self) -> None:
        """The handler wants the body: ask for it if the client waits for that, and take it as it comes."""
        request = self._request
        assert request is not None
        if request.expects_continue:
            request.expects_continue = False
            self.transport.write(CONTINUE)
        length = request.content_length
        incoming = self._incoming = Incoming(self.listener.pool, length, self.listener.body_bytes_max)
        if length is None:
            self._chunked = ChunkedBody(incoming)
            self.state = CHUNKED
        elif length == 0:
            self._finish(incoming)
        else:
            self.state = BODY
        if self._ended and not self._pending and self.state != BUSY:
            self._body_broken("unexpected EOF")

    def _take_body(self, count: int) -> None:
        """Bytes have arrived in the body's own buffer, or in the shared one to be thrown away."""
        incoming = self._incoming
        assert incoming is not None
        missing = incoming.bytes_missing
        if count > missing:  # only of a body that is thrown away
            self._keep(self.listener.scratch_view[missing:count])
            count = missing
        incoming.advance(count)
        if incoming.bytes_received == incoming.bytes_expected:
            self._finish(incoming)
            self._process_pending()

    def _copy_body(self, buffer: bytearray, at: int, end: int) -> int:
        incoming = self._incoming
        assert incoming is not None
        stop = min(end, at + incoming.bytes_missing)
        incoming.add(memoryview(buffer)[at:stop])
        if incoming.bytes_received == incoming.bytes_expected:
            self._finish(incoming)
        return stop

    def _look_at_chunks(self) -> None:
        chunked = self._chunked
        assert chunked is not None
        if chunked.error:
            self._body_broken(chunked.error)
        elif chunked.is_done and chunked.incoming is None:
            self._next()
        elif chunked.is_done and chunked.incoming is not None:
            self._finish(chunked.incoming)

    def _body_broken(self, error: str) -> None:
        """The body will never be whole: nothing that follows on this connection means anything."""
        request = self._request
        assert request is not None
        self.state = BUSY
        request.keep_alive = False
        if self._chunked is not None and self._chunked.incoming is None:  # it was thrown away, and answered
            self._close()
        else:
            self._answer(json_error(request, 400, error))

    def _finish(self, incoming: Incoming) -> None:
        request, handler = self._request, self._handler
        assert request is not None
        assert handler is not None
        self.state = BUSY
        request.body = incoming.body
        try:
            finished = handler.finish(request)
        except Exception as fault:
            finished = self._failed(request, fault)
        self._take_begun(finished)

    def _skip(self, buffer: bytearray, at: int, end: int) -> int:
        """Throw away what is left of a body that was answered unread."""
        chunked = self._chunked
        start = at
        at = min(end, at + self._skip_bytes) if chunked is None else chunked.feed(buffer, at, end)
        self._skip_bytes -= at - start
        if chunked is None:
            is_over = not self._skip_bytes
        elif chunked.error or self._skip_bytes < 0:
            self._close()
            return at
        else:
            is_over = chunked.is_done
        if is_over:
            self._next()
        return at

    # An answer

    def _answer(self, response: Response) -> None:
        """Write an answer, as much of it as the client takes now."""
        request = self._request
        assert request is not None
        self._response = response
        if self._lost:
            if isinstance(response.body, Pieces):
                self._task = asyncio.get_running_loop().create_task(self._drop(response.body))
            else:
                self._over()
            return
        closes = self._closes = (
            not request.keep_alive
            or self.listener.is_closing
            or (request.content_length != 0 and self._incoming is None and _is_long(request))
        )
        length = response.content_length()
        try:
            head = encode_head(request, response, length, closes=closes)
        except OSError as fault:  # the first bytes of a file could not be read
            let_go(response)
            self._response = response = self._failed(request, fault)
            length = 0
            head = encode_head(request, response, length, closes=closes)
        body = response.body
        transport = self.transport
        if isinstance(body, STREAMED):
            self._task = asyncio.get_running_loop().create_task(self._stream(request, head, body))
            return
        if not length or request.method == "HEAD":
            transport.write(head)
        elif length <= JOINED_BYTES_MAX:
            transport.write(b"".join((head, body)))
        else:
            transport.writelines((head, body))
        if self._response is response and not transport.get_write_buffer_size():
            self._over()

    def wait_until_sent(self, request: Request, response: Response, started_ns: int) -> None:
        """An answer was written of which the client has not taken all: till then its request is not over."""
        self._request, self._response, self._handler = request, response, self.listener.refusals
        self._closes = False
        self.listener.count_in(request)
        request.started_ns = started_ns
        self.state = BUSY

    async def _stream(self, request: Request, head: bytes, body: FilePart | Pieces) -> None:
        """Send a body that comes piece by piece. One that ends early cuts the connection."""
        try:
            if isinstance(body, FilePart):
                await send_file(self, head, body)
            else:
                await send_pieces(self, head, body, chunked=not request.is_http10)
        except Exception as fault:
            if not self._lost:
                _log.warning("answer cut short", file=request.shown, fault=str(fault) or type(fault).__name__)
                self.transport.abort()
        self._task = None
        self._over()
        self._process_pending()

    async def _drop(self, body: Pieces) -> None:
        """Nobody is left to send the pieces to."""
        try:
            await close_pieces(body)
        except Exception as fault:
            _log.error("pieces not closed", fault=fault)
        self._task = None
        self._over()

    @property
    def is_head_only(self) -> bool:
        """The answer under way has no body."""
        return self._request is not None and self._request.method == "HEAD"

    async def drained(self) -> None:
        """Wait until everything written so far has left this process.

        Raises:
            ConnectionResetError: the client is gone.
        """
        if self._lost:
            raise ConnectionResetError("the client closed the connection")
        if self.transport.get_write_buffer_size():
            self._drained = asyncio.get_running_loop().create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    def _over(self) -> None:
        """The answer has left, or nobody is there to take it: let go of everything that the request held."""
        request, handler, response, incoming = self._request, self._handler, self._response, self._incoming
        assert request is not None
        assert handler is not None
        self._request = self._handler = self._response = self._incoming = None
        if response is not None and (response.sent is not None or isinstance(response.body, FilePart)):
            let_go(response)
        self.listener.count_out(request, response)
        try:
            handler.end(request)
        except Exception as fault:
            _log.error("request not ended", fault=fault, file=request.shown)
        if incoming is not None:
            request.body = None
            self.listener.pool.give(incoming.body.buffer)
        if self._lost:
            return
        is_unread = request.content_length != 0 and incoming is None
        if self._closes:
            self._close(lingers=is_unread or not request.keep_alive)
        elif is_unread:
            self._skip_bytes = request.content_length or SKIPPED_BYTES_MAX
            self._chunked = ChunkedBody(None) if request.content_length is None else None
            self.state = SKIP
        else:
            self._next()

    def _next(self) -> None:
        self._chunked = None
        self.state = HEAD
        if self.listener.is_closing:
            self._close(lingers=False)

    def _look_at_end(self) -> None:
        """All that is here was read. If the client sends no more, what is not whole never will be."""
        if not self._ended or self._lost:
            return
        if self.state in (BODY, CHUNKED):
            self._body_broken("unexpected EOF")
        elif self.state in (HEAD, SKIP):
            self.transport.close()

    def _close(self, *, lingers: bool = True) -> None:
        """End the connection behind what was written.

        While a client still sends, closing would destroy what it has not read yet of the answer: such a
        connection `lingers` until the client closes it too, or the listener finds that it took too long.
        """
        self.state = CLOSING
        self.closing_tick = self.listener.tick
        self._pending.clear()
        if lingers and not self._ended and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _tell_gone(self) -> None:
        request = self._request
        if request is not None and not request.gone:
            request.gone = True
            if request.on_gone is not None:
                request.on_gone()

    # What the listener asks

    @property
    def is_idle(self) -> bool:
        """Nothing is under way: it waits for a head, or for the rest of one."""
        return self.state == HEAD

    @property
    def waits_for_handler(self) -> bool:
        """The client has done its part, and nothing of the answer is there yet."""
        return self.state == BUSY and self._response is None

    @property
    def pending_bytes(self) -> int:
        """What the client has sent that nobody has read."""
        return len(self._pending)


def _is_long(request: Request) -> bool:
    """Whether a body that nobody asked for is worth ending the connection: else its rest is thrown away."""
    length = request.content_length
    return request.expects_continue or (length is not None and length > SKIPPED_BYTES_MAX)
