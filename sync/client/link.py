"""One connection of the client: handshake, requests by id, chunks, and what the server announces.

A `Link` never reconnects; `sync.client` makes the next one. One task reads. It waits only for a consumer of
chunks that is behind, which is how back-pressure reaches the server; announcements never make it wait. While
a call waits for its answer, which stands behind those chunks, it reads on and keeps more of them; and if even
that is not enough, the stream breaks, never the call.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Final, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.http11 import Response as HttpResponse
from websockets.typing import Subprotocol

from less_sync.sync.client.connection import ChunkBounds, Chunks, RawLink
from less_sync.sync.client.errors import (
    ConnectFailed,
    FrameTooLarge,
    NotThisProtocol,
    RequestFailed,
    RequestTimeout,
    SyncClientError,
    TokenRefused,
)
from less_sync.sync.protocol.codes import SUBPROTOCOLS, CloseCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import (
    FRAME_BYTES_MAX,
    Chunk,
    Notification,
    Response,
    encode_notification,
    encode_request,
)
from less_sync.sync.protocol.messages import AuthParams, ChunkedResult, decode_params

R = TypeVar("R", bound=Struct)

CLOCK_DIFFERENCE_MAX: Final = timedelta(seconds=60)
"""Less is not worth telling: the server's `Date` has whole seconds and was on its way."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Bounds of the client. The deadlines are those clients of this protocol use (docs/protocol.md 13.2)."""

    frame_bytes: int = FRAME_BYTES_MAX
    open_timeout_s: float = 10.0
    request_timeout_s: float = 30.0
    chunk_idle_timeout_s: float = 30.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 20.0
    close_timeout_s: float = 5.0
    chunks_buffered: int = 64
    chunk_bytes_buffered: int = 8 * 1024 * 1024
    chunks_buffered_for_others: int = 16_384
    """While another request waits for its answer: more than connections keep on their way."""
    chunk_bytes_buffered_for_others: int = 32 * 1024 * 1024
    notices_queued: int = 256
    notice_bytes_queued: int = 16 * 1024 * 1024
    backoff_first_s: float = 1.0
    backoff_max_s: float = 30.0
    backoff_jitter: float = 0.3
    pull_resumptions: int = 8
    settled_after_s: float = 5.0
    """A connection that lived so long is replaced at once when its token expired (4001)."""

    @property
    def chunk_bounds(self) -> ChunkBounds:
        """What of one request may wait for its consumer."""
        return ChunkBounds(
            self.chunks_buffered,
            self.chunk_bytes_buffered,
            self.chunks_buffered_for_others,
            self.chunk_bytes_buffered_for_others,
        )


class _Answer:
    """One request that is answered by a response alone."""

    def __init__(self) -> None:
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    async def put(self, frame: Chunk | Response, size_bytes: int) -> None:
        if isinstance(frame, Response) and not self.response.done():
            self.response.set_result(frame)

    def fail(self, error: SyncClientError) -> None:
        if not self.response.done():
            self.response.set_exception(error)
            self.response.exception()  # whoever gave up waiting is not told again


class Link(RawLink):
    """One authenticated-or-not-yet connection; made by `open_link`, ended by `close` or by the other side."""

    def __init__(
        self,
        socket: ClientConnection,
        limits: ClientLimits,
        on_notification: Callable[[Notification, int], None],
        clock_difference: timedelta | None = None,
    ) -> None:
        self.clock_difference = clock_difference
        """As of `TokenRefused`."""
        self._connection = socket
        self._limits = limits
        self._calls = 0
        self._streams: dict[str, Chunks] = {}
        self._next_id = 0
        super().__init__(socket, on_notification)

    async def call(self, method: str, params: Struct, kind: type[R], *, timeout_s: float) -> R:
        """Send a request and return its result.

        Raises:
            RequestFailed: an error response.
            RequestTimeout, ConnectionLost, TokenRefused, FrameTooLarge, NotThisProtocol: see there.
        """
        request_id = self._new_id()
        answer = _Answer()
        self.expect(request_id, answer)
        self._calls += 1
        for chunks in self._streams.values():
            chunks.hurry()
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(encode_request(request_id, method, params))
                response = await answer.response
        except TimeoutError:
            raise RequestTimeout(method, timeout_s) from None
        finally:
            self._calls -= 1
            self.forget(request_id)
        return _result(response, kind)

    async def stream(self, method: str, params: Struct) -> AsyncGenerator[Chunk, None]:
        """Send a request that is answered in chunks and yield them; the count is checked at the end.

        Raises: as `call`; RequestTimeout when no chunk comes for `chunk_idle_timeout_s`; StreamOverrun when
        too many come while a call waits.
        """
        request_id = self._new_id()
        chunks = self._streams[request_id] = Chunks(self._limits.chunk_bounds, lambda: self._calls > 0)
        self.expect(request_id, chunks)
        received = 0
        idle_s = self._limits.chunk_idle_timeout_s
        try:
            await self._send_within(encode_request(request_id, method, params), method, idle_s)
            while True:
                try:
                    async with asyncio.timeout(idle_s):
                        frame = await chunks.get()
                except TimeoutError:
                    if asyncio.get_running_loop().time() - self._discarded_at < idle_s:
                        continue
                    raise RequestTimeout(method, idle_s) from None
                if isinstance(frame, Response):
                    break
                received += 1
                yield frame
        finally:
            chunks.abandon()
            self.forget(request_id)
            del self._streams[request_id]
        if _result(frame, ChunkedResult).chunks != received:
            raise NotThisProtocol(f"{method}: {received} chunks came, the server sent others")

    async def notify(self, method: str, params: Struct) -> None:
        """Send a notification, which is never answered."""
        await self._send_within(encode_notification(method, params), method, self._limits.request_timeout_s)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, politely but not for long."""
        for chunks in self._streams.values():
            chunks.abandon()  # the reader must be free to see the other side's close frame
        await super().close(code, reason)

    def _new_id(self) -> str:
        self._next_id += 1
        return f"c{self._next_id}"

    async def _send_within(self, frame: bytes, method: str, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(frame)
        except TimeoutError:
            raise RequestTimeout(method, timeout_s) from None

    async def _send(self, frame: bytes) -> None:
        if len(frame) > self._limits.frame_bytes:
            raise FrameTooLarge(len(frame), self._limits.frame_bytes)
        if self._ended is not None:
            raise self._ended
        try:
            await self._connection.send(frame)
        except ConnectionClosed as error:
            raise self._ending_of(error) from None

    def _ending(self, code: int, reason: str) -> SyncClientError:
        """What a closed connection means: only 4000 and 4002 are for good (docs/protocol.md 13.4)."""
        if code in (CloseCode.AUTH_FAILED, CloseCode.FORBIDDEN):
            return TokenRefused(code, reason, self.clock_difference)
        return super()._ending(code, reason)


def is_this_machine(host: str | None) -> bool:
    """Whether a host is this machine by its name alone; no name is looked up."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


async def open_link(
    url: str,
    token: str,
    *,
    did_proof: str = "",
    limits: ClientLimits,
    on_notification: Callable[[Notification, int], None],
    now: Callable[[], datetime],
) -> Link:
    """Connect and send the token. Whether it is accepted shows with the first answer (docs/protocol.md 2.2).

    Raises:
        ConnectFailed: no connection.
        NotThisProtocol: something else answers at `url`.
        ConnectionLost, TokenRefused, RequestTimeout: it ended at once.
    """
    host = urlsplit(url).hostname
    try:
        socket = await connect(
            url,
            subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
            compression=None,  # ciphertext does not compress
            proxy=None if is_this_machine(host) else True,
            open_timeout=limits.open_timeout_s,
            ping_interval=limits.ping_interval_s,
            ping_timeout=limits.ping_timeout_s,
            close_timeout=limits.close_timeout_s,
            max_size=limits.frame_bytes,
            max_queue=2,
        )
    except InvalidStatus as error:
        raise _refused_upgrade(error.response.status_code) from error
    except InvalidURI as error:
        raise NotThisProtocol(f"not a WebSocket address: {url}") from error
    except (InvalidMessage, ProxyError, InvalidProxyStatus) as error:
        raise ConnectFailed("the other end is no WebSocket server, or hung up") from error
    except InvalidHandshake as error:
        raise NotThisProtocol("the other end is no sync server") from error
    except TimeoutError as error:
        raise ConnectFailed(f"no answer within {limits.open_timeout_s:g} s") from error
    except OSError as error:
        raise ConnectFailed(error.strerror or str(error)) from error
    if socket.subprotocol not in SUBPROTOCOLS:
        await socket.close()
        raise NotThisProtocol("the other end speaks none of the protocol's versions")
    link = Link(socket, limits, on_notification, _clock_difference(socket.response, now()))
    try:
        await link.notify("auth", AuthParams(token, did_proof))
    except BaseException:
        await link.close()
        raise
    return link


def _clock_difference(response: HttpResponse | None, now: datetime) -> timedelta | None:
    return None if response is None else clock_difference(response.headers.get("Date"), now)


def clock_difference(date: str | None, now: datetime) -> timedelta | None:
    """How far `now` is ahead of a server's `Date` (RFC 9110 6.6.1), if that matters and can be known."""
    try:
        sent = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    difference = now - (sent if sent.tzinfo is not None else sent.replace(tzinfo=UTC))
    return difference if abs(difference) > CLOCK_DIFFERENCE_MAX else None


def _refused_upgrade(status: int) -> SyncClientError:
    if status in (429, 500, 502, 503, 504):
        return ConnectFailed(f"the server is not ready (HTTP {status})")
    return NotThisProtocol(f"the other end answers HTTP {status} instead of a sync connection")


def _result(response: Response, kind: type[R]) -> R:
    if response.error is not None:
        raise RequestFailed(response.error.code, response.error.message)
    try:
        return decode_params(kind, response.result)
    except ParamsError:
        raise NotThisProtocol(f"a result of another shape than {kind.__name__}") from None
