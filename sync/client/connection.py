"""One connection to a server: what comes goes to whoever asked for it. Clients use it, and other servers.

Nothing is known here of tokens, or of what is asked; `sync.client.link` is what clients make of it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Protocol

from websockets.exceptions import ConnectionClosed

from less_sync.sync.client.errors import (
    NO_CLOSE_FRAME,
    ConnectionLost,
    NotThisProtocol,
    StreamOverrun,
    SyncClientError,
)
from less_sync.sync.protocol.codes import CloseCode
from less_sync.sync.protocol.errors import RemoteProtocolError
from less_sync.sync.protocol.frames import Chunk, Notification, Response, decode_server_frame


class LinkSocket(Protocol):
    """A WebSocket, as far as a link is concerned. websockets' own connection is one."""

    @property
    def close_code(self) -> int | None:
        """The code of the other side's close frame; None while there was none."""

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it."""

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Messages as they come, until the connection ends; an end without a close frame may be raised.

        Raises:
            ConnectionClosed: it ended.
        """

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it and wait until it is closed, but not for long."""


class Exchange(Protocol):
    """A request under way, as the reader of the connection sees it."""

    async def put(self, frame: Chunk | Response, size_bytes: int) -> None:
        """Take what came for it. While this waits, nothing more is read from the connection."""

    def fail(self, error: SyncClientError) -> None:
        """The connection ended: nothing more will come for it."""


class ChunkBounds(NamedTuple):
    """How many chunks of one request may wait for their consumer."""

    chunks: int
    bytes: int
    chunks_hurried: int
    """While others wait for the reader: beyond it the stream is over."""
    bytes_hurried: int


class Chunks:
    """Chunks of one request on their way from the reader to the consumer: bounded by count and bytes.

    Args:
        hurried: whether the reader is waited for by others.
    """

    def __init__(self, bounds: ChunkBounds, hurried: Callable[[], bool]) -> None:
        self._bounds = bounds
        self._hurried = hurried
        self._waiting: deque[tuple[Chunk | Response, int]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._error: SyncClientError | None = None
        self._abandoned = False

    async def put(self, frame: Chunk | Response, size_bytes: int) -> None:
        """Add a frame, waiting while the buffer is full; at once when nobody wants it, or others wait.

        Beyond the greater bounds that hold while others wait the stream is over, once what it has is taken.
        """
        bounds = self._bounds
        while (
            self._is_full(size_bytes, bounds.chunks, bounds.bytes)
            and not self._abandoned
            and not self._hurried()
        ):
            self._changed.clear()
            await self._changed.wait()
        if self._abandoned or self._error is not None:
            return
        if self._is_full(size_bytes, bounds.chunks_hurried, bounds.bytes_hurried):
            self.fail(StreamOverrun())
            return
        self._waiting.append((frame, size_bytes))
        self._bytes += size_bytes
        self._changed.set()

    def _is_full(self, size_bytes: int, count_max: int, bytes_max: int) -> bool:
        return len(self._waiting) >= count_max or (
            bool(self._waiting) and self._bytes + size_bytes > bytes_max
        )

    @property
    def empty(self) -> bool:
        """Whether nothing waits for the consumer."""
        return not self._waiting

    def hurry(self) -> None:
        """Others wait for the reader now."""
        self._changed.set()

    async def get(self) -> Chunk | Response:
        """The next frame; the connection's error once everything before it was taken."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        frame, size_bytes = self._waiting.popleft()
        self._bytes -= size_bytes
        self._changed.set()
        return frame

    def fail(self, error: SyncClientError) -> None:
        """The connection ended: no frame will follow."""
        self._error = error
        self._changed.set()

    def abandon(self) -> None:
        """The consumer went away: free the reader."""
        self._abandoned = True
        self._waiting.clear()
        self._changed.set()


class RawLink:
    """Reads one connection until it ends, in a task of its own, and hands out what comes by request ids.

    Args:
        on_notification: told frame and size in bytes, in order of arrival; must not raise.
        skip_undecodable: pass over a message that is no frame; otherwise it ends the connection.
    """

    def __init__(
        self,
        socket: LinkSocket,
        on_notification: Callable[[Notification, int], None],
        *,
        skip_undecodable: bool = False,
    ) -> None:
        self._socket = socket
        self._on_notification = on_notification
        self._skip_undecodable = skip_undecodable
        self._exchanges: dict[str, Exchange] = {}
        self._ended: SyncClientError | None = None
        self._discarded_at = float("-inf")
        """When a chunk came last that nobody wants any more: what was asked for later stands behind those."""
        self._reader = asyncio.create_task(self._read(), name="link-reader")

    @property
    def ended(self) -> bool:
        """Whether the connection is over."""
        return self._ended is not None

    @property
    def end(self) -> SyncClientError | None:
        """How it ended; None while it has not."""
        return self._ended

    def expect(self, request_id: str, exchange: Exchange) -> None:
        """Hand what comes under this id to `exchange`, until `forget`."""
        self._exchanges[request_id] = exchange

    def forget(self, request_id: str) -> None:
        """Nobody wants the answer to this request any more; of one never expected, nothing happens."""
        self._exchanges.pop(request_id, None)

    async def wait_ended(self) -> SyncClientError:
        """Wait until the connection is over and say why."""
        await asyncio.wait([self._reader])
        return self._ended or ConnectionLost(NO_CLOSE_FRAME, "")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, politely but not for long. The reader must not be held by an exchange."""
        await self._socket.close(code, reason)
        self._reader.cancel()
        await asyncio.wait([self._reader])

    def give_up(self, error: SyncClientError) -> None:
        """Let every exchange fail with `error`; `close` must follow."""
        if self._ended is None:
            self._ended = error
            for exchange in list(self._exchanges.values()):
                exchange.fail(error)

    async def _read(self) -> None:
        ended: SyncClientError = ConnectionLost(NO_CLOSE_FRAME, "")
        try:
            async for message in self._socket:
                if isinstance(message, bytes) and message:
                    await self._route(message)
            ended = self._ending(self._socket.close_code or NO_CLOSE_FRAME, self._socket.close_reason or "")
        except ConnectionClosed as error:
            ended = self._ending_of(error)
        except RemoteProtocolError:
            ended = NotThisProtocol("the server sent a frame that is none")
            await self._socket.close(CloseCode.PROTOCOL_VIOLATION)
        finally:
            self.give_up(ended)

    def _ending_of(self, error: ConnectionClosed) -> SyncClientError:
        if error.rcvd is None:
            return ConnectionLost(NO_CLOSE_FRAME, "")
        return self._ending(error.rcvd.code, error.rcvd.reason)

    def _ending(self, code: int, reason: str) -> SyncClientError:
        """What the other side's close frame means."""
        return ConnectionLost(code, reason)

    async def _route(self, message: bytes) -> None:
        try:
            frame = decode_server_frame(message)
        except RemoteProtocolError:
            if self._skip_undecodable:
                return
            raise
        if isinstance(frame, Notification):
            self._on_notification(frame, len(message))
        elif frame is not None:  # else a keepalive, or a type not known
            exchange = self._exchanges.get(frame.id)
            if exchange is not None:
                await exchange.put(frame, len(message))
            elif isinstance(frame, Chunk):
                self._discarded_at = asyncio.get_running_loop().time()
